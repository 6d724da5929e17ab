"""From ``[[evidence]]`` and ``[uids]`` to services, and what all generations of them share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from appliance.config import Evidence, Uids
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queues import Queues
from appliance.runtime.supervisor import Service

from .preparation import Prepared

if TYPE_CHECKING:
    from appliance.runtime.packets import PacketStore

__all__ = ["EvidenceParts"]


class EvidenceParts:
    """Builds evidence.

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
        """By key: a generation begins when the one before has ended."""

    def make(
        self, key: str, table: Evidence | Uids, prepared: Prepared, queues: Queues
    ) -> tuple[Service, ConsumerQueue]:
        """A service that is not running yet, and the queue that feeds it."""
        from appliance.evidence.feed import UidFeed
        from appliance.evidence.service import EvidenceService
        from appliance.evidence.surroundings import Surroundings

        state_dir = Path(prepared.config.appliance.state_dir)
        turn = self._turns.setdefault(key, trio.Lock())
        if isinstance(table, Uids):
            records = queues.make_uids_queue(key, table)
            return UidFeed(table, queue=records, state_dir=state_dir, turn=turn), records
        queue = queues.make_evidence_queue(key, table, prepared.config)
        around = Surroundings(self._recorders, self._dispatcher, self._ledger, self._outlet, state_dir)
        return EvidenceService(table, where=prepared.filters[key], queue=queue, around=around, turn=turn), queue
