"""The rings of a recorder as long as its interface is there, each with its thread, and where their packets go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import trio

from appliance.config import Recorder
from appliance.errors import ApplianceError
from appliance.native import FlowTable, Ring, RingStatus, RingTap
from appliance.runtime.packets import Gap

from .files import FileShelf
from .interface import find_interface, open_rings
from .member import Member
from .memory import MemoryShelf
from .opener import Opener
from .segment import GrowingSegment
from .settings import FileSettings

__all__ = ["Group", "Watcher"]


class Watcher(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told what happens; each is called in a ring's thread and must not wait."""

    noticed: Callable[[Gap], None]
    """Packets were lost."""
    ticked: Callable[[], None]
    """Figures are new."""
    went: Callable[[RingStatus], None]
    """The interface is down, or gone."""
    ended: Callable[[FileShelf, GrowingSegment], None]
    """A segment is to be finished."""
    troubled: Callable[[Exception], None]
    """Packets have nowhere to go for now, or a filter was refused."""


class Group:
    """See the module. `open` makes one.

    Args:
        table: of the recorder.
        rings: that hear already.
        settings: of the files.
        watcher: is told everything.
        clock_ns: wall time.
    """

    def __init__(
        self,
        table: Recorder,
        rings: list[Ring],
        settings: FileSettings,
        watcher: Watcher,
        *,
        clock_ns: Callable[[], int],
    ) -> None:
        self.table, self._watcher = table, watcher
        self.linktype = rings[0].linktype
        found = find_interface(table.interface)
        self.interface_number = found.number if found is not None else 0
        self.taps: list[RingTap] = []
        self.files: list[FileShelf] = []
        self.memories: list[MemoryShelf] = []
        self.members: list[Member] = []
        for number, ring in enumerate(rings):
            tap = self._make_tap(ring)
            shelf: FileShelf | MemoryShelf
            if table.write == "triggered":
                shelf = self._make_memory(number, ring, tap, watcher)
            else:
                shelf = self._make_files(number, ring, tap, settings, watcher, clock_ns)
            member = Member(
                number,
                ring,
                shelf,
                clock_ns=clock_ns,
                noticed=watcher.noticed,
                ticked=watcher.ticked,
                went=watcher.went,
            )
            if isinstance(shelf, MemoryShelf):
                shelf.order = member.order
            self.members.append(member)

    @classmethod
    def open(cls, table: Recorder, settings: FileSettings, watcher: Watcher, *, clock_ns: Callable[[], int]) -> Group:
        """Open the rings and their first segments, and then begin to hear. Blocks.

        Raises:
            ApplianceError: see `open_rings`; `MemoryError` becomes one.
        """
        rings = open_rings(table)
        try:
            group = cls(table, rings, settings, watcher, clock_ns=clock_ns)
            for member in group.members:
                member.shelf.begin()
            for ring in rings:
                ring.listen()
        except BaseException as exc:
            for ring in rings:
                ring.close()
            if isinstance(exc, MemoryError):
                text = f"recorder {table.name}: there is no memory for {table.memory} and {table.fanout} rings"
                raise ApplianceError(text, hint="smaller ones") from exc
            raise
        return group

    def _make_tap(self, ring: Ring) -> RingTap | None:
        cutoff = self.table.cutoff.bytes
        if not self.table.index and cutoff is None:
            return None
        tap = RingTap(FlowTable(cutoff=cutoff))
        tap.begin(None, linktype=ring.linktype)
        ring.attach(tap)
        self.taps.append(tap)
        return tap

    def _make_memory(self, number: int, ring: Ring, tap: RingTap | None, watcher: Watcher) -> MemoryShelf:
        shelf = MemoryShelf(
            number,
            int(self.table.memory) // self.table.fanout,
            tap=tap if self.table.index else None,
            linktype=ring.linktype,
            snaplen=self.table.snaplen,
            troubled=watcher.troubled,
        )
        self.memories.append(shelf)
        return shelf

    def _make_files(
        self,
        number: int,
        ring: Ring,
        tap: RingTap | None,
        settings: FileSettings,
        watcher: Watcher,
        clock_ns: Callable[[], int],
    ) -> FileShelf:
        opener = Opener(
            number,
            settings,
            tap=tap,
            with_index=self.table.index,
            linktype=ring.linktype,
            snaplen=self.table.snaplen,
            clock_ns=clock_ns,
        )
        shelf = FileShelf(
            opener,
            settings,
            tap=tap,
            ended=lambda segment: watcher.ended(shelf, segment),
            troubled=watcher.troubled,
        )
        self.files.append(shelf)
        return shelf

    async def run(self, begun: Callable[[], None]) -> None:
        """Record until `stop`, or until the interface is gone; then the rings are closed.

        Args:
            begun: called when all threads run, so that the loop is not needed any more.

        Raises:
            OSError: a socket is broken; all rings have ended.

        Cancellation: as `stop`; it waits for the threads, which takes a fraction of a second.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_if_cancelled)
                async with trio.open_nursery() as threads:
                    for member in self.members:
                        await threads.start(self._run_member, member)
                    begun()
                nursery.cancel_scope.cancel()
        finally:
            for member in self.members:
                member.ring.close()

    async def _stop_if_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    async def _run_member(self, member: Member, *, task_status: trio.TaskStatus[None]) -> None:
        soon = trio.lowlevel.current_trio_token().run_sync_soon

        def work() -> None:
            soon(task_status.started)
            member.run()

        async with trio.open_nursery() as nursery:
            opener = member.shelf.opener if isinstance(member.shelf, FileShelf) else None
            if opener is not None:
                nursery.start_soon(partial(trio.to_thread.run_sync, opener.run, limiter=trio.CapacityLimiter(1)))
            try:
                await trio.to_thread.run_sync(work, limiter=trio.CapacityLimiter(1))
            finally:
                self.stop()
                if opener is not None:
                    opener.end()

    def stop(self) -> None:
        """Hear no more; `run` returns when all that came is in its segment."""
        for member in self.members:
            member.stop()

    def lift_cutoff(self, lift: Callable[[RingTap], None]) -> None:
        """Do something with the flow table of each ring."""
        for tap in self.taps:
            lift(tap)

    def rotate(self) -> None:
        """End the segments that hold packets, each between two blocks of its ring."""
        for member in self.members:
            if isinstance(member.shelf, FileShelf):
                member.order(member.shelf.rotate)

    def set_filter(self, program: bytes | None) -> None:
        """Change the filter of all rings, each between two of its blocks."""
        for member in self.members:
            member.order(partial(self._set_filter, member.ring, program))

    def _set_filter(self, ring: Ring, program: bytes | None) -> None:
        try:
            ring.set_filter(program)
        except (OSError, ValueError) as exc:
            self._watcher.troubled(exc)
