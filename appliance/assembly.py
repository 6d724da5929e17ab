"""The running units and the three things that happen to all of them: start, change (a transaction), drain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog
import trio

from appliance.config import Api, CaptureGroup, Cluster, Consumer, Metrics, Peering, ProxyPlan, Uids, Zmq
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.reloads import Done, How
from appliance.runtime.supervisor import Supervisor, describe

from .cluster_parts import places_of
from .parts import CONSUMERS, DOORS, Parts, Prepared, Table, Unit

__all__ = ["Assembly"]

log = structlog.get_logger("appliance")

Undo = list[Callable[[], Awaitable[None]]]
"""Steps back, to be taken last one first."""

SWAP_TIMEOUT_S = 5.0
"""How long a replaced consumer may take to finish what it holds; the rest goes to its successor."""


def _addresses(table: object) -> set[str]:
    """What a service occupies, so that two generations do not fight for it: ports, whatever the host, and paths."""
    if isinstance(table, Zmq):
        return {b.removeprefix("ipc://") if b.startswith("ipc:") else f"tcp:{b.rpartition(':')[2]}" for b in table.bind}
    if isinstance(table, Cluster):
        return {f"tcp:{table.zeromq.log_bind.rpartition(':')[2]}"}
    if isinstance(table, ProxyPlan):
        return places_of(table)
    if isinstance(table, CaptureGroup):
        first = table.first
        if first.conn_type == "udp" or (first.conn_type == "tcp" and first.mode == "listen"):
            return {f"{first.conn_type}:{first.address[1]}"}
        return set()  # connections and frames are nobody's alone
    if isinstance(table, Peering):
        return {f"tcp:{listen.rpartition(':')[2]}" for listen in table.broker.listen}
    if isinstance(table, Metrics):
        return {f"tcp:{table.listen.rpartition(':')[2]}"}
    if isinstance(table, Api):
        return {
            each.removeprefix("unix:") if each.startswith("unix:") else f"tcp:{each.rpartition(':')[2]}"
            for each in table.listen
        }
    return set()


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

        Cancellation: what runs already runs on until `drain`.
        """
        self._parts.announce(prepared)
        for key, table in self._parts.tables(prepared).items():
            await self._open(self._parts.make(key, table, prepared))

    async def _open(self, unit: Unit) -> None:
        try:
            unit.handle = await self._supervisor.start(unit.key, unit.service)
        except BaseException:
            if unit.queue is not None:
                unit.queue.retire("reload")
            self._release(unit)
            raise
        self.units[unit.key] = unit
        self._subscribe(unit)

    def _subscribe(self, unit: Unit) -> None:
        if isinstance(unit.table, Consumer | Uids) and unit.queue is not None:
            self._dispatcher.subscribe(unit.key, unit.queue, on=unit.table.on, sources=unit.table.from_)

    async def _close(self, unit: Unit, timeout_s: float, reason: str) -> None:
        """Take a unit out: nothing new for it, it finishes what it has, the rest is dropped for `reason`. One that says
        how long its end takes has that time.
        """
        assert unit.handle is not None
        self._dispatcher.unsubscribe(unit.key)
        await unit.handle.stop(max(timeout_s, getattr(unit.service, "closing_s", 0.0)))
        if unit.queue is not None:
            unit.queue.retire(reason)
        if reason == "reload":
            self._release(unit)
        del self.units[unit.key]

    def _release(self, unit: Unit) -> None:
        """A service that comes and goes while running gives its accounts back; at the end all of them are shown."""
        if (release := getattr(unit.service, "release", None)) is not None:
            release()

    # ── change ──

    async def change(self, old: Prepared, new: Prepared) -> Done:
        """Make what runs what `new` says, or leave it as `old` says.

        Units whose table did not change are not touched. A changed consumer is replaced under its queue. A changed door
        takes the change over while it runs if it can; else it is stopped first, because its address cannot be bound
        twice. What should run already and does not, because an earlier way back failed, is started.

        Raises:
            Exception: why it failed; everything is then as it was.

        Cancellation: at once, without the way back; whatever runs then is in `units`.
        """
        undo: Undo = []
        done: dict[str, How] = {}
        self._parts.announce(old, new)
        try:
            gone = await self._change(old, new, undo, done)
        except Exception:
            for step in reversed(undo):
                await self._step_back(step)
            self._parts.announce(old)
            raise
        timeout_s = new.config.appliance.drain_timeout.seconds
        packages = [u for u in gone if u.kind == "sites"]
        await self._close_all((u for u in gone if u.queue is None and u not in packages), timeout_s, "reload")
        await self._close_all((u for u in gone if u.queue is not None), timeout_s, "reload")
        await self._close_all(packages, timeout_s, "reload")
        self._parts.announce(new)
        removed: dict[str, How] = dict.fromkeys((unit.key for unit in gone), "removed")
        return Done(done | removed, await self._read_again())

    async def _read_again(self) -> dict[str, tuple[str, ...]]:
        """Let services whose table is the same look at the files that it names: certificates, tokens. Returns the keys
        of those that have changed, by unit.
        """
        found = {}
        for unit in self.units.values():
            read = getattr(unit.service, "read_again", None)
            if read is not None and (keys := await read()):
                found[unit.key] = keys
        return found

    async def _change(self, old: Prepared, new: Prepared, undo: Undo, done: dict[str, How]) -> list[Unit]:
        """Everything that can fail; returns the units that are left to be closed, and says in `done` what it did."""
        tables = self._parts.tables(new)
        self._rename(tables, undo)
        changed = [key for key, table in tables.items() if key in self.units and self.units[key].table != table]
        added = [key for key in tables if key not in self.units]
        timeout_s = new.config.appliance.drain_timeout.seconds
        consumers = [k for k in changed if self.units[k].queue is not None]
        for key in consumers:
            await self._replace(key, new, undo, back=old)
        # Consumers first, which occupy nothing: then the doors are closed for the shortest time.
        for key in (k for k in added if k.startswith(CONSUMERS)):
            await self._add(key, new, undo, timeout_s)
        doors = [k for k in changed if k not in consumers and not self._apply(k, tables[k], undo)]
        for key in changed:
            done[key] = "restarted" if key in consumers or key in doors else "applied"
        for key in added:
            done[key] = "added"
        for key in [k for k in doors if getattr(self.units[k].service, "hands_over", False)]:
            await self._hand_over(key, new, undo, timeout_s, back=old)
            doors.remove(key)
        opening = [k for k in tables if k in doors or (k in added and not k.startswith(CONSUMERS))]
        wanted = set().union(*(_addresses(tables[k]) for k in opening))
        freed = [k for k, unit in self.units.items() if k not in tables and _addresses(unit.table) & wanted]
        for key in (*doors, *freed):
            await self._halt(key, timeout_s, undo, back=old)
        for key in opening:
            await self._add(key, new, undo, timeout_s)
        return [unit for key, unit in self.units.items() if key not in tables]

    async def _step_back(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Exception as exc:  # noqa: BLE001 - the other steps are no less needed
            log.error("cannot go back to what ran before the reload; the next one tries again", error=describe(exc))

    async def _add(self, key: str, new: Prepared, undo: Undo, timeout_s: float) -> None:
        unit = self._parts.make(key, self._parts.tables(new)[key], new)
        await self._open(unit)
        undo.append(lambda: self._close(unit, timeout_s, "reload"))

    def _rename(self, tables: dict[str, Table], undo: Undo) -> None:
        """Let a socket that another capture is the first of now stay open: its unit has that one's name."""
        for key, table in tables.items():
            if key in self.units or not isinstance(table, CaptureGroup):
                continue
            for unit in self.units.values():
                if isinstance(unit.table, CaptureGroup) and unit.table.has_socket_of(table):
                    undo.append(partial(self._move_back, unit, unit.key))
                    self._move(unit, key)
                    break

    def _move(self, unit: Unit, key: str) -> None:
        assert unit.handle is not None
        self.units = {key if each is unit else name: each for name, each in self.units.items()}
        unit.key = unit.handle.name = key

    async def _move_back(self, unit: Unit, key: str) -> None:
        self._move(unit, key)

    def _apply(self, key: str, table: Table, undo: Undo) -> bool:
        """Let a door take over its new table while it runs; False if it cannot."""
        unit = self.units[key]
        before = unit.table
        apply = getattr(unit.service, "apply", None)
        if apply is None or not apply(table):
            return False
        unit.table = table

        async def back() -> None:
            apply(before)
            unit.table = before

        undo.append(back)
        return True

    async def _replace(self, key: str, new: Prepared, undo: Undo, *, back: Prepared) -> None:
        """Start the successor of a consumer, give it the queue's content, let the predecessor finish what it holds."""
        predecessor = self.units[key]
        successor = self._parts.make(key, self._parts.tables(new)[key], new)
        assert predecessor.queue is not None
        assert predecessor.handle is not None
        assert successor.queue is not None
        await self._open(successor)
        successor.queue.adopt(predecessor.queue)
        undo.append(lambda: self._replace(key, back, [], back=new))
        # Nobody else knows the predecessor now, so nobody else would wait for it.
        with trio.CancelScope(shield=True):
            await predecessor.handle.stop(SWAP_TIMEOUT_S)
        predecessor.queue.retire("reload")

    async def _hand_over(self, key: str, new: Prepared, undo: Undo, timeout_s: float, *, back: Prepared) -> None:
        """Start the successor of a door that occupies nothing, then stop the door: no packet is missing."""
        predecessor = self.units[key]
        successor = self._parts.make(key, self._parts.tables(new)[key], new)
        assert predecessor.handle is not None
        await self._open(successor)
        undo.append(lambda: self._hand_over(key, back, [], timeout_s, back=new))
        with trio.CancelScope(shield=True):
            await predecessor.handle.stop(timeout_s)
        self._release(predecessor)

    async def _halt(self, key: str, timeout_s: float, undo: Undo, *, back: Prepared) -> None:
        """Stop a door whose address is needed; undone by starting it again from its old table."""
        table = self.units[key].table
        await self._close(self.units[key], timeout_s, "reload")

        async def restart() -> None:
            await self._open(self._parts.make(key, table, back))

        undo.append(restart)

    # ── the end ──

    async def _close_all(self, units: Iterable[Unit], timeout_s: float, reason: str) -> None:
        async with trio.open_nursery() as nursery:
            for unit in list(units):
                nursery.start_soon(self._close, unit, timeout_s, reason)

    async def drain(self, timeout_s: float) -> None:
        """Stop the doors, let the consumers finish, stop the rest; what is left after `timeout_s` is dropped for
        ``shutdown``. A door through which consumers publish takes in nothing more and stays open until they are done.
        """
        deadline = trio.current_time() + timeout_s

        def left_s(share: float = 1.0) -> float:
            return max(0.0, deadline - trio.current_time()) * share

        units = list(self.units.values())
        outlets = [u for u in units if hasattr(u.service, "stop_intake")]
        # What doors still take in is of use only if consumers have time for it, and likewise what those publish.
        async with trio.open_nursery() as nursery:
            for unit in outlets:
                nursery.start_soon(self._stop_intake, unit, left_s(0.5))
            await self._close_all([u for u in units if u.kind in DOORS and u not in outlets], left_s(0.5), "shutdown")
        await self._close_all([u for u in units if u.kind in CONSUMERS], left_s(0.75 if outlets else 1.0), "shutdown")
        await self._close_all([u for u in units if u.kind == "sites"], left_s(), "shutdown")
        await self._close_all([u for u in units if u.kind == "store"], left_s(), "shutdown")
        await self._close_all(outlets, left_s(), "shutdown")
        await self._close_all([u for u in units if u.kind in ("api", "metrics", "proxy")], left_s(), "shutdown")

    async def _stop_intake(self, unit: Unit, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s):
            await unit.service.stop_intake()
