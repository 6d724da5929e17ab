"""The services of this room, from tables. What all generations of one share is kept here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trio

from appliance.config import Evidence, Uids
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.packets import PacketStore
from appliance.runtime.queue import ItemQueue

from .feed import UidFeed
from .service import EvidenceService, Filter
from .surroundings import Surroundings

__all__ = ["EvidenceMaker"]


class EvidenceMaker:
    """Makes services that are not running yet.

    Args:
        ledger: where accounts are opened.
        dispatcher: what finished files are handed to.
        outlet: through which requests are answered.
        recorders: those that run, whenever that is.
    """

    def __init__(
        self, *, ledger: Ledger, dispatcher: Dispatcher, outlet: Outlet, recorders: Mapping[str, PacketStore]
    ) -> None:
        self._ledger, self._dispatcher, self._outlet, self._recorders = ledger, dispatcher, outlet, recorders
        self._turns: dict[str, trio.Lock] = {}

    def evidence(self, table: Evidence, *, queue: ConsumerQueue, where: Filter, state_dir: Path) -> EvidenceService:
        around = Surroundings(self._recorders, self._dispatcher, self._ledger, self._outlet, state_dir)
        turn = self._turns.setdefault(f"evidence.{table.name}", trio.Lock())
        return EvidenceService(table, where=where, queue=queue, around=around, turn=turn)

    def uids(self, table: Uids, *, queue: ItemQueue, state_dir: Path) -> UidFeed:
        return UidFeed(table, queue=queue, state_dir=state_dir, turn=self._turns.setdefault("uids", trio.Lock()))
