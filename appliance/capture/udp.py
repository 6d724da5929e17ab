"""The UDP capturer: one socket, its datagrams into PCAP segments without a Python object for any of them.

This task only receives; `SegmentWriter` writes. What the kernel drops, because both blocks are full or the loop was
busy, is read from the socket and booked.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import msgspec
import trio

from appliance.config import Capture, Handler
from appliance.model import Segment
from appliance.native import DatagramReceiver, PcapBlock, Received
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.rotation import Rotation

from .segments import BLOCK_BYTES, FILE_HEADER, Load, Plan, SegmentFigures, SegmentWriter, pattern_of
from .sockets import UdpSocket

__all__ = ["CaptureFigures", "UdpCapture"]

FLUSH_BYTES = 1 << 20
FLUSH_EVERY_S = 1.0
ROUND = 4096
"""Datagrams before other tasks get their turn."""
COALESCE_S = 0.001
BUSY = 16
RECORD_HEADER = 16
LONGEST_RECORD = RECORD_HEADER + 65535


class CaptureFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One capturer at one moment."""

    address: str
    """As bound; empty if it is not."""
    packets: int
    bytes: int
    truncated: int
    kernel_drops: int
    untimed: int
    receive_buffer: int
    """Bytes that the kernel granted."""
    last_packet_ns: int
    """Kernel time of the last packet; 0 if there was none."""
    segments: int
    """Finished files."""
    open_file: str
    writer: SegmentFigures


def _rotation(handler: Handler) -> Rotation:
    size = None if handler.rotate_size is None else int(handler.rotate_size)
    if not handler.rotate_log:
        return Rotation.never(max_bytes=size, max_items=handler.rotate_packets or None)
    return Rotation.calendar(
        handler.rotate_log_index,
        handler.rotate_log_delta,
        aligned=handler.align,
        max_bytes=size,
        max_items=handler.rotate_packets or None,
    )


class UdpCapture:
    """See the module. A service of the supervisor.

    Args:
        account: counts packets.
        segments: counts finished segments handed to consumers.
        host: value of ``{host}`` in paths.
        clock_ns: wall time.
    """

    def __init__(
        self,
        config: Capture,
        *,
        account: Account,
        segments: Account,
        dispatcher: Dispatcher,
        host: str,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config = config
        self.source = f"capture.{config.name}"
        self._account, self._segments, self._dispatcher = account, segments, dispatcher
        self._host = host
        self._clock_ns = clock_ns
        names = {"capture": config.name, "host": host, "pid": str(os.getpid())}
        self._writer = SegmentWriter(names=names, source=self.source, account=account, finished=self._announce)
        self._use(config.handler[0])
        self._next_handler: Handler | None = None
        self._plan: Plan | None = None
        self._seq = 0
        self._block_packets = 0
        self._block_since_s = math.inf
        self._packets = self._bytes = self._truncated = self._untimed = self._kernel_drops = self._last_ns = 0
        self._granted = 0
        self._bound = ""
        self._stopped_ns: int | None = None
        self._waiting: trio.CancelScope | None = None
        account.add_holder(lambda: self._block_packets + self._writer.in_hand)

    # ── what others may call ──

    def statistics(self) -> CaptureFigures:
        writer = self._writer.statistics()
        return CaptureFigures(
            address=self._bound,
            packets=self._packets,
            bytes=self._bytes,
            truncated=self._truncated,
            kernel_drops=self._kernel_drops,
            untimed=self._untimed,
            receive_buffer=self._granted,
            last_packet_ns=self._last_ns,
            segments=writer.finished,
            open_file=writer.open_file,
            writer=writer,
        )

    def stop(self) -> None:
        if self._stopped_ns is None:
            self._stopped_ns = time.time_ns()
        self._wake()

    def apply(self, config: Capture) -> bool:
        """Take over a changed handler without closing the socket; the next segment is the new one's."""
        if msgspec.structs.replace(self.config, handler=config.handler) != config:
            return False
        self.config = config
        self._next_handler = config.handler[0]
        self._wake()
        return True

    # ── the service ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        host, port = self.config.address
        with UdpSocket(host, port, buffer=int(self.config.receive_buffer), door=self.source) as sock:
            self._bound, self._granted = sock.address, sock.granted
            receiver = DatagramReceiver(sock.fileno())
            self._counts = receiver.counts()
            await trio.to_thread.run_sync(self._writer.recover, self._pattern)
            put_free, free = trio.open_memory_channel[PcapBlock](2)
            loads, get_loads = trio.open_memory_channel[Load](2)
            blocks = [PcapBlock(BLOCK_BYTES), PcapBlock(BLOCK_BYTES)]

            def give_back(block: PcapBlock) -> None:
                put_free.send_nowait(block)
                self._wake()

            for block in blocks:
                give_back(block)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._writer.run, get_loads, give_back)
                    task_status.started()
                    async with loads:
                        await self._receive(sock, receiver, free, loads)
            finally:
                self._book_drops(sock)
                self._account.drop("shutdown", self._block_packets + self._writer.in_hand)
                self._block_packets = self._writer.in_hand = 0
                self._block_since_s = math.inf
                self._plan, self._bound = None, ""
                trio.lowlevel.notify_closing(sock)
                receiver.close()
                for block in blocks:
                    block.close()

    async def _receive(
        self,
        sock: UdpSocket,
        receiver: DatagramReceiver,
        free: trio.MemoryReceiveChannel[PcapBlock],
        loads: trio.MemorySendChannel[Load],
    ) -> None:
        """Receive until `stop`, and then what had come before it."""
        block = await free.receive()
        while True:
            before = self._packets
            outcome = self._take(sock, receiver, block)
            is_last = self._stopped_ns is not None and (outcome is Received.EMPTY or self._last_ns > self._stopped_ns)
            ends = self._plan is not None and (is_last or self._is_complete(self._plan, sock))
            has_spare = bool(free.statistics().current_buffer_used)
            is_due = trio.current_time() - self._block_since_s >= FLUSH_EVERY_S
            is_worth = has_spare and (is_due or block.used >= FLUSH_BYTES)
            if self._plan is not None and (ends or outcome is Received.FULL or is_worth):
                await self._pass_on(self._plan, block, loads, ends=ends)
                self._book_drops(sock)
                block = await free.receive()
            if self._next_handler is not None and self._plan is None:
                self._use(self._next_handler)
                self._next_handler = None
            if is_last:
                return
            if outcome is Received.EMPTY:
                await self._wait(sock, is_busy=self._packets - before >= BUSY, has_spare=has_spare)
            else:
                await trio.lowlevel.checkpoint()

    async def _wait(self, sock: UdpSocket, *, is_busy: bool, has_spare: bool) -> None:
        """Wait for a datagram, `stop`, or the time when the block or the segment is due."""
        if is_busy:
            # At high rates one wake-up for each datagram would cost more than the datagrams; the kernel holds them.
            await trio.sleep(COALESCE_S)
        # Without a spare block nothing can be flushed; the one that is given back wakes us.
        flush_s = self._block_since_s + FLUSH_EVERY_S if has_spare else math.inf
        due_s = self._plan.due_s if self._plan is not None and self._plan.due_s is not None else math.inf
        with trio.move_on_at(min(due_s, flush_s)) as self._waiting:
            if self._stopped_ns is not None or self._next_handler is not None:
                return
            await trio.lowlevel.wait_readable(sock)

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    # ── segments ──

    def _use(self, handler: Handler) -> None:
        self._handler = handler
        self._pattern = pattern_of(handler)
        self._rotation = _rotation(handler)

    def _room(self, sock: UdpSocket, packets: int, size: int) -> int:
        """How many datagrams a segment of that size surely takes; 0: not even the next one."""
        room = ROUND
        if self._rotation.max_items is not None:
            room = min(room, self._rotation.max_items - packets)
        if self._rotation.max_bytes is not None:
            # As many as fit whatever their sizes are; close to the limit one by one, by the next one's size.
            surely = (self._rotation.max_bytes - size) // LONGEST_RECORD
            is_full = surely < 1 and self._rotation.is_full(size, packets, RECORD_HEADER + sock.next_size())
            room = min(room, 0 if is_full else max(1, surely))
        return room

    def _take(self, sock: UdpSocket, receiver: DatagramReceiver, block: PcapBlock) -> Received:
        """Receive one round into `block`, as much as the segment takes."""
        packets, size = (self._plan.packets, self._plan.size) if self._plan else (0, FILE_HEADER)
        used, left = block.used, ROUND
        outcome = Received.MORE
        try:
            while outcome is Received.MORE and left and (room := min(left, self._room(sock, packets, size))):
                before = block.used
                outcome = receiver.receive(block, room)
                packets, left, size = packets + room, left - room, size + block.used - before
        finally:
            self._count(receiver, block.used - used)
        return outcome

    def _count(self, receiver: DatagramReceiver, size: int) -> None:
        """Book what came, `size` bytes in the block; opens a segment's plan with its first packet."""
        was, now = self._counts, receiver.counts()
        count = now.packets - was.packets
        if not count:
            return
        self._counts = now
        self._account.received += count
        self._packets += count
        self._bytes += now.bytes - was.bytes
        self._truncated += now.truncated - was.truncated
        self._untimed += now.untimed - was.untimed
        self._last_ns = now.last_ns
        if not self._block_packets:
            self._block_since_s = trio.current_time()
        self._block_packets += count
        plan = self._plan = self._plan or self._open_plan()
        plan.packets += count
        plan.size += size
        plan.first_ns = min(plan.first_ns or now.first_ns, now.first_ns)
        plan.last_ns = max(plan.last_ns, now.last_ns)
        receiver.clear_span()

    def _open_plan(self) -> Plan:
        self._seq += 1
        wall_ns = self._clock_ns()
        due_ns = self._rotation.monotonic_deadline_ns(wall_ns=wall_ns, mono_ns=int(trio.current_time() * 1e9))
        return Plan(
            handler=self._handler.name,
            pattern=self._pattern,
            opened_ns=wall_ns,
            due_s=None if due_ns is None else due_ns / 1e9,
            seq=self._seq,
        )

    def _is_complete(self, plan: Plan, sock: UdpSocket) -> bool:
        is_due = plan.due_s is not None and plan.due_s <= trio.current_time()
        return is_due or self._next_handler is not None or not self._room(sock, plan.packets, plan.size)

    async def _pass_on(self, plan: Plan, block: PcapBlock, loads: trio.MemorySendChannel[Load], *, ends: bool) -> None:
        load = Load(plan=plan, block=block, packets=self._block_packets, ends=ends)
        self._writer.in_hand += self._block_packets
        self._block_packets, self._block_since_s = 0, math.inf
        if ends:
            self._plan = None
        await loads.send(load)

    async def _announce(self, segment: Segment) -> None:
        self._segments.received += 1
        await self._dispatcher.dispatch(segment, self._segments, patience_s=1.0)

    def _book_drops(self, sock: UdpSocket) -> None:
        more = sock.take_drops()
        self._kernel_drops += more
        self._account.received += more
        self._account.drop("kernel", more)
