"""The tables themselves."""

from __future__ import annotations

import re
import socket

import msgspec
import pytest

from appliance.config import Appliance, Capture, Config, Handler, Hook, Sink, Table, Zmq
from appliance.config.table_parts import NAME_PATTERN


def test_tables_are_frozen_and_compared_by_value() -> None:
    """A configuration that is in use does not change under anybody."""
    assert Config(appliance=Appliance(name="a")) == Config(appliance=Appliance(name="a"))
    with pytest.raises(AttributeError, match="immutable"):
        Appliance(name="a").name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("table", [Config, Appliance, Zmq, Capture, Handler, Hook, Sink])
def test_msgspec_refuses_unknown_keys_too(table: type[Table]) -> None:
    """Should a table ever be converted without the loader."""
    assert table.__struct_config__.forbid_unknown_fields
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"xyzzy": 1}, table)


@pytest.mark.parametrize(
    ("host", "name"), [("rec-1.example.org", "rec-1"), ("a b", "a-b"), ("_x", "appliance"), ("", "appliance")]
)
def test_the_node_is_named_after_its_host(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    """The short name, made fit where it is not."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert Appliance().name == name
    assert re.fullmatch(NAME_PATTERN, name)
