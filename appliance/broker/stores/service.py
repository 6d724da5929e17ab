"""A ``[[store]]``: a master, clone or frontend that hooks and the API can ask, and whose changes are items. A site
that has only masters does not import what clones need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from appliance.config import Duration, StorePlan
from appliance.model import StoreEvent
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.stores import Stores
from appliance.wire.names import endpoint_text
from appliance.wire.stores.commands import Entity
from appliance.wire.stores.outputs import StoreChange

from .access import StoreAccess
from .backend import MemoryBackend, SqliteBackend
from .figures import StoreFigures
from .hub import StoreHub
from .master import MasterService

if TYPE_CHECKING:
    from appliance.wire.stores.clone import CloneOptions

    from .clone import CloneService

__all__ = ["StoreService"]

PATIENCE_S = 5.0
"""How long a consumer with policy ``block`` may take nothing."""
_TICK_NS = 100_000_000


class StoreService:
    """See the module. A service of the supervisor.

    Args:
        plan: what it is.
        hub: the way to the peers.
        stores: where it is to be found.
        account: of its changes.
        dispatcher: takes those.
        clock_ns: wall time.
    """

    def __init__(
        self,
        plan: StorePlan,
        *,
        hub: StoreHub,
        stores: Stores,
        account: Account,
        dispatcher: Dispatcher,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.plan = plan
        self.source = f"store.{plan.name}"
        self._hub, self._stores, self._account, self._dispatcher = hub, stores, account, dispatcher
        self._clock_ns = clock_ns
        self._inner = self._make()

    def _make(self) -> MasterService | CloneService:
        plan = self.plan
        if plan.role == "master":
            return MasterService(
                plan.name,
                SqliteBackend(Path(plan.path)) if plan.path else MemoryBackend(),
                hub=self._hub,
                expire_after_ns=plan.expire_after,
                max_snapshot=plan.max_snapshot,
                told=self._tell,
                clock_ns=self._clock_ns,
            )
        from .clone import CloneService

        return CloneService(
            plan.name,
            hub=self._hub,
            options=_options(plan),
            is_frontend=plan.role == "frontend",
            told=self._tell,
        )

    def statistics(self) -> StoreFigures:
        return self._inner.statistics()

    def stop(self) -> None:
        self._inner.stop()

    def apply(self, plan: StorePlan) -> bool:
        """Take over lifetimes and intervals; False if it is another store or somewhere else."""
        if (plan.role, plan.name, plan.path) != (self.plan.role, self.plan.name, self.plan.path):
            return False
        self.plan = plan
        if isinstance(self._inner, MasterService):
            self._inner.configure(expire_after_ns=plan.expire_after, max_snapshot=plan.max_snapshot)
        else:
            self._inner.configure(_options(plan))
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be there until `stop`.

        Raises:
            OSError: the file cannot be used.
        """
        inner = self._inner
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: inner.run(task_status=task_status))
            with self._stores.joined(self.plan.name, StoreAccess(inner)):
                task_status.started()
                await inner.wait_closed()

    async def _tell(self, changes: Sequence[StoreChange]) -> None:
        """Hand on what has happened."""
        account, now_ns, me = self._account, self._clock_ns(), self._hub.me
        account.received += len(changes)
        if not self._dispatcher.route(self._make_item(changes[0], now_ns, me)):
            account.drop("unwanted", len(changes))
            return
        for number, change in enumerate(changes):
            if number % 100 == 99:
                await trio.lowlevel.checkpoint()
            await self._dispatcher.dispatch(self._make_item(change, now_ns, me), account, patience_s=PATIENCE_S)

    def _make_item(self, change: StoreChange, now_ns: int, me: bytes) -> StoreEvent:
        return StoreEvent(
            store=self.plan.name,
            source=self.source,
            change=str(change.kind),
            key=change.key,
            value=change.value,
            old=change.old,
            expiry_ns=change.expiry_ns,
            publisher=_publisher(change.publisher, me),
            received_ns=now_ns,
        )


def _publisher(who: Entity, me: bytes) -> str:
    if who.is_nobody or who.endpoint == me:
        return ""
    return f"{endpoint_text(who.endpoint)}/{who.number}"


def _ticks(span: Duration) -> int:
    return -(-span // _TICK_NS)


def _options(plan: StorePlan) -> CloneOptions:
    from appliance.wire.stores.clone import CloneOptions

    return CloneOptions(
        resync=max(1, _ticks(plan.resync_interval)),
        stale=_ticks(plan.stale_interval) or None,
        mutation_buffer=_ticks(plan.mutation_buffer_interval),
    )
