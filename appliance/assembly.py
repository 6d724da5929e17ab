"""The running units and the three things that happen to all of them: start, change (a transaction), drain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
import trio

from appliance.config import Capture, Hook, Sink, Zmq, diff
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.supervisor import Supervisor

from .parts import CONSUMERS, DOORS, Parts, Prepared, Unit, tables_of

__all__ = ["Assembly"]

log = structlog.get_logger("appliance")

SWAP_TIMEOUT_S = 5.0
"""How long a replaced consumer may take to finish what it holds; the rest goes to its successor."""


def _addresses(unit_key: str, table: object) -> set[str]:
    """What a door occupies, so that two generations of doors do not fight for it."""
    if isinstance(table, Zmq):
        return set(table.bind)
    if isinstance(table, Capture):
        return {f"{table.conn_type}:{table.address}"}
    return {unit_key}


class Assembly:
    """See the module.

    Args:
        supervisor: runs the services.
        dispatcher: carries items from doors to consumers.
        parts: builds units.
    """

    def __init__(self, *, supervisor: Supervisor, dispatcher: Dispatcher, parts: Parts) -> None:
        self._supervisor = supervisor
        self._dispatcher = dispatcher
        self._parts = parts
        self.units: dict[str, Unit] = {}

    async def start(self, prepared: Prepared) -> None:
        """Start everything.

        Raises:
            Exception: what the first failing service raised; the others run on until `drain`.
        """
        for key, table in tables_of(prepared.config).items():
            await self._open(self._parts.make(key, table, prepared))

    async def _open(self, unit: Unit) -> None:
        unit.handle = await self._supervisor.start(unit.key, unit.service)
        self.units[unit.key] = unit
        self._subscribe(unit)

    def _subscribe(self, unit: Unit) -> None:
        if isinstance(unit.table, Hook | Sink) and unit.queue is not None:
            self._dispatcher.subscribe(unit.key, unit.queue, on=unit.table.on, sources=unit.table.from_)

    async def _close(self, unit: Unit, timeout_s: float, reason: str) -> None:
        """Take a unit out: nothing new for it, it finishes what it has, the rest is dropped for `reason`."""
        self._dispatcher.unsubscribe(unit.key)
        if unit.handle is not None:
            await unit.handle.stop(timeout_s)
        if unit.queue is not None:
            unit.queue.retire(reason)
        if self.units.get(unit.key) is unit:
            del self.units[unit.key]

    # ── change ──

    async def change(self, old: Prepared, new: Prepared) -> None:
        """Apply the difference between two configurations, or nothing of it.

        Unchanged units are not touched. A changed consumer is replaced under its queue. A changed door takes the change
        over while it runs if it can; else it is stopped first, because its address cannot be bound twice.

        Raises:
            Exception: why it failed; everything is then as it was.
        """
        before, after = tables_of(old.config), tables_of(new.config)
        difference = diff(old.config, new.config)
        timeout_s = new.config.appliance.drain_timeout.seconds
        gone, added, changed = difference.removed, difference.added, difference.changed
        undo: list[Callable[[], Awaitable[None]]] = []
        try:
            for key in (k for k in changed if self.units[k].queue is not None):
                await self._replace(key, old, new, undo)
            doors = [k for k in changed if self.units[k].queue is None and not self._apply(k, old, new, undo)]
            wanted = set().union(*(_addresses(k, after[k]) for k in (*doors, *added)))
            freed = [k for k in gone if _addresses(k, before[k]) & wanted]
            for key in (*doors, *freed):
                await self._halt(key, old, timeout_s, undo)
            for key in sorted((*doors, *added), key=list(after).index):
                unit = self._parts.make(key, after[key], new)
                await self._open(unit)
                undo.append(lambda unit=unit: self._close(unit, timeout_s, "reload"))  # type: ignore[misc]
        except BaseException as exc:
            with trio.CancelScope(shield=not isinstance(exc, trio.Cancelled)):
                for step in reversed(undo):
                    await step()
            raise
        leaving = [unit for key in gone if (unit := self.units.get(key)) is not None]
        await self._close_all((u for u in leaving if u.queue is None), timeout_s, "reload")
        await self._close_all((u for u in leaving if u.queue is not None), timeout_s, "reload")

    def _apply(self, key: str, old: Prepared, new: Prepared, undo: list[Callable[[], Awaitable[None]]]) -> bool:
        """Let a door take over its new table while it runs; False if it cannot."""
        unit = self.units[key]
        table, before = tables_of(new.config)[key], unit.table
        apply = getattr(unit.service, "apply", None)
        if apply is None or not apply(table):
            return False
        unit.table = table

        async def back() -> None:
            apply(before)
            unit.table = before

        undo.append(back)
        return True

    async def _replace(
        self, key: str, old: Prepared, new: Prepared, undo: list[Callable[[], Awaitable[None]]] | None
    ) -> None:
        """Start the successor of a consumer, give it the queue's content, let the predecessor finish what it holds."""
        predecessor = self.units[key]
        successor = self._parts.make(key, tables_of(new.config)[key], new)
        assert predecessor.queue is not None
        assert predecessor.handle is not None
        assert successor.queue is not None
        try:
            await self._open(successor)
        except BaseException:
            successor.queue.retire("reload")
            raise
        successor.queue.adopt(predecessor.queue)
        await predecessor.handle.stop(SWAP_TIMEOUT_S)
        successor.queue.adopt(predecessor.queue)  # what it gave back
        predecessor.queue.retire("reload")
        if undo is not None:
            undo.append(lambda: self._replace(key, new, old, None))

    async def _halt(self, key: str, old: Prepared, timeout_s: float, undo: list[Callable[[], Awaitable[None]]]) -> None:
        """Stop a door whose address is needed; undone by starting it again from its old table."""
        await self._close(self.units[key], timeout_s, "reload")

        async def restart() -> None:
            await self._open(self._parts.make(key, tables_of(old.config)[key], old))

        undo.append(restart)

    # ── the end ──

    async def _close_all(self, units: Iterable[Unit], timeout_s: float, reason: str) -> None:
        async with trio.open_nursery() as nursery:
            for unit in list(units):
                nursery.start_soon(self._close, unit, timeout_s, reason)

    async def drain(self, timeout_s: float) -> None:
        """Stop the doors, let the consumers finish, stop the rest; what is left after `timeout_s` is dropped for
        ``shutdown``.
        """
        deadline = trio.current_time() + timeout_s
        for kinds in (DOORS, CONSUMERS, ("api",)):
            left_s = max(0.0, deadline - trio.current_time())
            await self._close_all([u for u in self.units.values() if u.kind in kinds], left_s, "shutdown")
