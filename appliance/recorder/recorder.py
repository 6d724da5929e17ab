"""The service of one ``[[recorder]]``: it opens the rings, finishes their segments, and tells what there is.

The threads of the rings never wait for this task. What they tell is passed on by `run_sync_soon`, which does not block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Recorder as Table
from appliance.native import FlowKey, RingStatus, RingTap
from appliance.runtime.behind import run_behind
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.held_accounts import HeldAccounts
from appliance.runtime.ledger import Ledger
from appliance.runtime.logs import Throttle
from appliance.runtime.packets import Gap, PacketStore, Source
from appliance.runtime.rates import RateMeter
from appliance.runtime.shares import DiskShares

from .books import Books
from .figures import MemberFigures, RecorderFigures
from .files import FileShelf
from .finisher import Finisher
from .group import Group, Watcher
from .holdings import Holdings
from .interface import MissingInterfaceError, compile_program, find_interface
from .keeper import Keeper
from .member import TICK_S
from .segment import Finished, GrowingSegment
from .settings import FileSettings

__all__ = ["Recorder", "Surroundings"]

log = structlog.get_logger("recorder")

RETRY_S = 1.0
"""Between two looks whether the interface is there."""
COMPARE_EVERY_S = 60.0
SUCCESSOR_COMPARES_S = 5.0
LIVE = frozenset({"filter", "segment_size", "segment_every", "budget", "min_free", "cutoff", "compress"})
"""Keys that a reload changes without touching a ring."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a recorder finds around it."""

    ledger: Ledger
    dispatcher: Dispatcher
    shares: DiskShares
    recorders: dict[str, PacketStore]
    """Those that run, by name."""
    clock_ns: Callable[[], int] = time.time_ns
    """Wall time; that of the packets."""


class Recorder:
    """See the module. A service of the supervisor, and a `PacketStore`.

    Args:
        table: its table, with an absolute directory.
        around: what is around it.
    """

    def __init__(self, table: Table, *, around: Surroundings) -> None:
        self.table = table
        self.name, self.directory = table.name, Path(table.directory)
        self.source = f"recorder.{table.name}"
        self.state = "starting"
        self._around = around
        self._account = around.ledger.account(self.source, unit="packets")
        segments = around.ledger.account(f"{self.source}.segments", unit="segments")
        self._accounts = HeldAccounts(around.ledger, self._account, segments)
        self._throttle = Throttle(clock=time.monotonic)
        self._keeper = Keeper(table, around.shares, self._throttle)
        self._books = Books(self._account)
        self._settings = FileSettings(
            table.name, self.directory, segment_bytes=int(table.segment_size), segment_ns=int(table.segment_every)
        )
        self._finisher = Finisher(
            table.name,
            account=segments,
            dispatcher=around.dispatcher,
            catalogue=self._keeper.catalogue,
            finished=self._on_finished,
            is_compressing=lambda: self.table.compress != "none",
            throttle=self._throttle,
        )
        self._group: Group | None = None
        self._holdings = Holdings(self._keeper.catalogue, lambda: self._group)
        self._stopped = trio.Event()
        self._look_wanted = trio.Event()
        self._looked = trio.lowlevel.ParkingLot()
        self._silence: tuple[int, str] | None = None
        """Since when nobody hears the interface, and why."""
        self._began_ns = 0
        self._watcher: Watcher | None = None
        self._takes_over = False
        self._directory_made = self._write_errors = 0
        now_s = trio.current_time()
        self._packets, self._bytes = RateMeter(now_s), RateMeter(now_s)

    # ── a service ──

    hands_over = True
    """A successor may run before it stops: then no packet is missing, and those that came meanwhile are in both."""

    def stop(self) -> None:
        """See `Service.stop`."""
        self._stopped.set()
        if self._group is not None:
            self._group.stop()

    def release(self) -> None:
        """It does not run, and will not run again: its accounts have their last figures."""
        self._accounts.release()

    def apply(self, table: Table) -> bool:
        """Take over what a reload changes, if the rings can stay as they are; they lose nothing meanwhile.

        Returns:
            Whether they can; if not, nothing has changed.

        Raises:
            ApplianceError: the filter is none for that interface; nothing has changed.
        """
        before = self.table
        changed = {key for key in Table.__struct_fields__ if getattr(before, key) != getattr(table, key)}
        if changed - LIVE or ("cutoff" in changed and (self._group is None or not self._group.taps)):
            return False
        group = self._group
        if "filter" in changed and group is not None:
            try:
                # This opens the interface and may look up names, and the rings go on meanwhile.
                group.set_filter(compile_program(table))
            except MissingInterfaceError:
                return False
        if "cutoff" in changed and group is not None:
            group.lift_cutoff(lambda tap: tap.set_cutoff(table.cutoff.bytes))
        self.table = self._keeper.table = table
        self._settings.segment_bytes, self._settings.segment_ns = int(table.segment_size), int(table.segment_every)
        if group is not None and changed & {"segment_size", "segment_every"}:
            group.rotate()
        self._look_wanted.set()
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Service.run`."""
        self._accounts.hold()
        self._watcher = self._make_watcher(trio.lowlevel.current_trio_token())
        # Another one of that name records until this one does: no time is missing between the two.
        self._takes_over = self.name in self._around.recorders
        self._account.add_holder(self._count_queued)
        try:
            if self.table.memory and self.table.write == "all":
                log.warning('memory has no use with write = "all": all packets are on the disk', recorder=self.name)
            repaired, until_ns = await trio.to_thread.run_sync(self._keeper.start)
            self._silence = None if self._takes_over or until_ns is None else (until_ns, "stopped")
            async with trio.open_nursery() as nursery:
                looking = await nursery.start(self._run_keeper)
                await nursery.start(self._finisher.run)
                await self._finisher.recover(repaired)
                try:
                    await self._record(task_status)
                finally:
                    # Also when it is cancelled: what the rings have written is whole, and gets its name.
                    with trio.CancelScope(shield=True):
                        await self._finisher.drain()
                    self._finisher.end()
                    self._forget_group()
                    self._hear_again()
                    self.state = "stopped"
                looking.cancel()
            await trio.to_thread.run_sync(self._look_last)
        finally:
            if self._around.recorders.get(self.name) is self:
                del self._around.recorders[self.name]
            self._account.remove_holder(self._count_queued)
            self._looked.unpark_all()

    def _make_watcher(self, token: trio.lowlevel.TrioToken) -> Watcher:
        """Passes on what the rings' threads tell; it never waits for the loop."""
        soon = token.run_sync_soon
        return Watcher(
            noticed=self._keeper.gaps.add,
            ticked=lambda: soon(self._looked.unpark_all),
            went=lambda status: soon(self._on_went, status),
            ended=self._finisher.put,
            troubled=lambda exc: soon(self._on_troubled, exc),
        )

    def _look_last(self) -> None:
        self._keeper.look(self._around.clock_ns(), 0)
        self._keeper.rest()

    async def _record(self, task_status: trio.TaskStatus[None]) -> None:
        """Record whenever the interface is there, until told to stop."""
        while not self._stopped.is_set():
            try:
                group = await trio.to_thread.run_sync(self._open)
            except MissingInterfaceError as exc:
                if self.state != "waiting":
                    log.warning("waiting for the interface", recorder=self.name, why=str(exc))
                self.state = "waiting"
                self._hear_no_more()
                # Who asks is told that nothing is heard; one that this takes over from is asked until it has stopped.
                self._around.recorders.setdefault(self.name, self)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                with trio.move_on_after(RETRY_S):
                    await self._stopped.wait()
                continue
            self._began_ns = self._hear_again()
            self._group, self._holdings.linktype = group, group.linktype
            self._around.recorders[self.name] = self
            if self._stopped.is_set():
                group.stop()
            self.state = "recording"
            log.info("recording", recorder=self.name, interface=self.table.interface, directory=str(self.directory))
            await group.run(task_status.started)
            task_status = trio.TASK_STATUS_IGNORED
            await self._finisher.drain()
            self._forget_group()
            if not self._stopped.is_set():
                log.warning("the interface is gone", recorder=self.name, interface=self.table.interface)

    def _open(self) -> Group:
        assert self._watcher is not None
        return Group.open(self.table, self._settings, self._watcher, clock_ns=self._around.clock_ns)

    def _forget_group(self) -> None:
        self._look()
        group, self._group = self._group, None
        if group is not None:
            self._books.forget(group)
        self._look()

    # ── what the threads tell, in the loop ──

    def _on_finished(self, shelf: FileShelf, segment: GrowingSegment, outcome: Finished) -> None:
        shelf.forget(segment)
        self._books.finished(outcome)
        found = outcome.segment
        if outcome.path is None and found.packets:
            lost = found.packets + found.lost_packets
            self._keeper.gaps.add(Gap(found.first_ns, found.last_ns, outcome.reason, lost, found.wire_bytes))
        elif found.lost_packets:
            now_ns = self._around.clock_ns()
            self._keeper.gaps.add(Gap(found.last_ns or now_ns, now_ns, "disk", found.lost_packets, found.lost_bytes))
        self._look()
        self._look_wanted.set()

    def _on_went(self, status: RingStatus) -> None:
        if status is RingStatus.DOWN and self.state != "down":
            self.state = "down"
            self._hear_no_more()
            log.warning("the interface is down; it goes on when it is up again", recorder=self.name,
                        interface=self.table.interface)  # fmt: skip
        elif status is RingStatus.GONE:
            self.state = "gone"
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        if self._silence is None:
            self._silence = (self._around.clock_ns(), "down")

    def _hear_again(self) -> int:
        """What was not heard until now is a gap; returns the present."""
        silence, self._silence = self._silence, None
        now_ns = self._around.clock_ns()
        if silence is not None and silence[0] < now_ns:
            self._keeper.gaps.add(Gap(silence[0], now_ns, silence[1]))
        return now_ns

    def _heard_ns(self, now_ns: int) -> int:
        """Until when everything that came is with the readers: a crash takes nothing of it."""
        silence, group = self._silence, self._group  # of the loop, and this is called in another thread
        if silence is not None:
            return min(now_ns, silence[0])
        recorded = [max(self._began_ns, member.recorded_ns) for member in group.members] if group is not None else []
        return min(now_ns, *recorded) if recorded else now_ns

    def _on_troubled(self, exc: Exception) -> None:
        if isinstance(exc, FileNotFoundError):
            self._directory_made += 1
            event = "the directory was gone and is made again"
        else:
            self._write_errors += 1
            event = "cannot open a segment; packets are lost until that is possible"
        if (held := self._throttle.admit(event)) is not None:
            log.error(event, recorder=self.name, directory=str(self.directory), error=str(exc), more=held)
        self._look_wanted.set()

    # ── looking after everything ──

    async def _run_keeper(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            made = self._directory_made
            # Whoever it takes over from finishes some segments yet.
            compare_s = trio.current_time() + (SUCCESSOR_COMPARES_S if self._takes_over else COMPARE_EVERY_S)
            while True:
                with trio.move_on_after(TICK_S):
                    await self._look_wanted.wait()
                    self._look_wanted = trio.Event()
                self._look()
                if trio.current_time() >= compare_s or self._directory_made != made:
                    made = self._directory_made
                    compare_s = trio.current_time() + COMPARE_EVERY_S
                    await trio.to_thread.run_sync(self._keeper.compare)
                growing = self._holdings.growing_bytes
                now_ns = self._around.clock_ns()
                await run_behind(partial(self._keep, now_ns, growing), name=f"keep {self.name}")

    def _keep(self, now_ns: int, growing: int) -> None:
        self._keeper.look(self._heard_ns(now_ns), growing, self._holdings.reserved_bytes)

    def _look(self) -> None:
        """Book, and see whether the interface is up again."""
        self._books.look([self._group] if self._group is not None else [])
        now_s, totals = trio.current_time(), self._books.totals
        self._packets.sample(now_s, totals.packets + totals.kernel_drops)
        self._bytes.sample(now_s, totals.bytes)
        if self.state == "down" and self._group is not None:
            self._look_at_interface(self._group)
        self._looked.unpark_all()

    def _look_at_interface(self, group: Group) -> None:
        """It was down: the kernel does not tell when it is up again, nor, after that, when it is removed."""
        found = find_interface(self.table.interface)
        if found is None or found.number != group.interface_number:
            self.state = "gone"
            group.stop()
        elif found.is_up:
            self.state = "recording"
            self._hear_again()
            log.info("the interface is up again", recorder=self.name, interface=self.table.interface)

    def _count_queued(self) -> int:
        return self._books.queued

    # ── a store of packets ──

    @property
    def oldest_ns(self) -> int | None:
        """See `PacketStore`."""
        return self._holdings.oldest_ns

    def sources(self) -> Sequence[Source]:
        """See `PacketStore`."""
        return self._holdings.sources()

    def gaps(self, from_ns: int, to_ns: int) -> list[Gap]:
        """See `PacketStore`."""
        gaps = self._keeper.gaps.between(from_ns, to_ns)
        if self.table.write == "triggered":
            begin_ns, end_ns = self._holdings.forgotten(self._around.clock_ns())
            if max(from_ns, begin_ns) <= min(to_ns, end_ns):
                gaps.append(Gap(max(from_ns, begin_ns), min(to_ns, end_ns), "memory"))
        if (silence := self._silence) is not None:
            gaps.append(Gap(silence[0], max(silence[0], self._around.clock_ns()), silence[1]))
        return gaps

    async def wait_recorded(self, until_ns: int) -> None:
        """See `PacketStore`."""
        while (group := self._group) is not None and any(m.recorded_ns < until_ns for m in group.members):
            await self._looked.park()
        left_s = (until_ns - self._around.clock_ns()) / 1e9
        await trio.sleep(max(0.0, left_s))

    def lift(self, key: FlowKey, now_ns: int) -> None:
        """See `PacketStore`."""
        if self._group is not None:
            self._group.lift_cutoff(partial(_lift, key=key, now_ns=now_ns))

    async def rotate_all(self) -> None:
        """End the segments that hold packets, and begin others."""
        await trio.lowlevel.checkpoint()
        if self._group is not None:
            self._group.rotate()

    # ── what it says ──

    def statistics(self) -> RecorderFigures:
        self._look()
        totals, catalogue, finisher = self._books.totals, self._keeper.catalogue, self._finisher
        now_s, group = trio.current_time(), self._group
        oldest_ns, newest_ns = self._holdings.oldest_ns or 0, self._holdings.newest_ns or 0
        growing = self._holdings.unfinished()
        return RecorderFigures(
            interface=self.table.interface,
            state=self.state,
            directory=str(self.directory),
            linktype=self._holdings.linktype,
            packets=totals.packets + totals.kernel_drops,
            bytes=totals.bytes,
            packets_per_s=self._packets.rates(now_s, totals.packets + totals.kernel_drops),
            bytes_per_s=self._bytes.rates(now_s, totals.bytes),
            stored=totals.stored - self._books.lost,
            kernel_drops=totals.kernel_drops,
            disk_drops=totals.discarded + self._books.lost,
            cutoff_packets=totals.cut,
            cutoff_bytes=totals.cut_bytes,
            truncated=totals.truncated,
            hardware_times=totals.hardware_times,
            segments=finisher.segments,
            recovered=finisher.recovered,
            write_errors=self._write_errors + finisher.errors,
            index_errors=finisher.index_errors,
            directory_made=self._directory_made,
            disk_segments=len(catalogue),
            disk_bytes=catalogue.bytes + self._holdings.growing_bytes,
            disk_limit=self._keeper.limit,
            deleted_segments=catalogue.deleted_files,
            deleted_bytes=catalogue.deleted_bytes,
            memory_bytes=int(self.table.memory) if group is not None and group.memories else 0,
            oldest_ns=oldest_ns,
            newest_ns=newest_ns,
            span_s=max(0, newest_ns - oldest_ns) / 1e9,
            gaps=len(self._keeper.gaps),
            flows=sum(tap.counts().flows for tap in group.taps) if group is not None else 0,
            members=tuple(
                MemberFigures(
                    number=member.number,
                    open_file=next((str(s.path) for s in growing if s.name.member == member.number), ""),
                    packets=member.counts.packets,
                    kernel_drops=member.counts.kernel_drops,
                    freezes=member.counts.freezes,
                )
                for member in (group.members if group is not None else ())
            ),
        )


def _lift(tap: RingTap, key: FlowKey, now_ns: int) -> None:
    tap.lift(key, now_ns)
