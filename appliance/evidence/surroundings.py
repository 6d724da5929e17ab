"""What a service of this room works with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.packets import PacketStore

__all__ = ["Surroundings"]


class Surroundings(NamedTuple):
    """See the module."""

    recorders: Mapping[str, PacketStore]
    """Those that run now, by name."""
    dispatcher: Dispatcher
    ledger: Ledger
    outlet: Outlet
    state_dir: Path
