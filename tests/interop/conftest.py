"""The counterparts of every test in here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.broker.conftest import certificates

from .sides import Side, open_appliance, open_zeek_side
from .zeek_process import require_zeek

__all__ = ["OpenZ", "certificates", "slow"]

OpenZ = Callable[..., AbstractAsyncContextManager[Side]]
"""`open_zeek_side` or `open_appliance` but for where and with which TLS."""


def slow(what: str) -> Any:
    """A parameter whose tests take longer than a moment: a Zeek needs one to start."""
    return pytest.param(what, marks=pytest.mark.slow)


def _open(folder: Path, what: str, *, tls: bool) -> OpenZ:
    if what == "zeek":
        require_zeek()
    open_side: OpenZ = open_zeek_side if what == "zeek" else open_appliance
    return partial(open_side, folder / "z", tls=tls)


@pytest.fixture(params=["appliance-plain", "appliance-tls", slow("zeek-plain"), slow("zeek-tls")])
def open_z(request: pytest.FixtureRequest, tmp_path: Path) -> OpenZ:
    """Starts Z: each kind of counterpart, without TLS and with Broker's default."""
    what, _, tls = request.param.partition("-")
    return _open(tmp_path, what, tls=tls == "tls")


@pytest.fixture(params=["appliance", slow("zeek")])
def open_plain_z(request: pytest.FixtureRequest, tmp_path: Path) -> OpenZ:
    """Starts Z without TLS."""
    return _open(tmp_path, request.param, tls=False)


@pytest.fixture(params=["appliance", slow("zeek")])
def open_tls_z(request: pytest.FixtureRequest, tmp_path: Path) -> OpenZ:
    """Starts Z with Broker's default TLS."""
    return _open(tmp_path, request.param, tls=True)
