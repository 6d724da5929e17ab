"""From ``[[evidence]]`` and ``[uids]`` to services, and what all generations of them share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config import Evidence, Uids
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queues import Queues
from appliance.runtime.supervisor import Service

from .preparation import Prepared

if TYPE_CHECKING:
    from appliance.evidence.build import EvidenceMaker
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

    @cached_property
    def _maker(self) -> EvidenceMaker:
        from appliance.evidence.build import EvidenceMaker

        return EvidenceMaker(
            ledger=self._ledger, dispatcher=self._dispatcher, outlet=self._outlet, recorders=self._recorders
        )

    def make(
        self, key: str, table: Evidence | Uids, prepared: Prepared, queues: Queues
    ) -> tuple[Service, ConsumerQueue]:
        """A service that is not running yet, and the queue that feeds it."""
        state_dir = Path(prepared.config.appliance.state_dir)
        if isinstance(table, Uids):
            records = queues.make_uids_queue(key, table)
            return self._maker.uids(table, queue=records, state_dir=state_dir), records
        queue = queues.make_evidence_queue(key, table, prepared.config)
        return self._maker.evidence(table, queue=queue, where=prepared.filters[key], state_dir=state_dir), queue
