"""The UDP capturer: one socket, its datagrams into PCAP segments without a Python object for any of them.

This task only receives; `SegmentWriter` writes. What the kernel drops, because both blocks are full or the loop was
busy, is read from the socket and booked.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import struct
import time
from collections.abc import Callable

import msgspec
import structlog
import trio

from appliance.config import Capture, Handler
from appliance.errors import ApplianceError
from appliance.model import Segment
from appliance.native import DatagramReceiver, PcapBlock, Received
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.rotation import Rotation
from appliance.units import Size

from .segments import BLOCK_BYTES, Load, Plan, SegmentFigures, SegmentWriter, pattern_of

__all__ = ["CaptureFigures", "UdpCapture"]

log = structlog.get_logger("capture")

SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8  # linux/sock_diag.h
FLUSH_BYTES = 1 << 20
FLUSH_EVERY_S = 1.0
ROUND = 4096
"""Datagrams before other tasks get their turn."""
SIZED_ROUND = 64
"""The same where a size limit must not be overshot by much."""
COALESCE_S = 0.001
BUSY = 16


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
        self._stopping = False
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
        self._stopping = True
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
        await trio.to_thread.run_sync(self._writer.recover, self._pattern)
        with self._open() as sock:
            receiver = DatagramReceiver(sock.fileno())
            self._counts = receiver.counts()
            put_free, free = trio.open_memory_channel[PcapBlock](2)
            loads, get_loads = trio.open_memory_channel[Load](2)
            blocks = [PcapBlock(BLOCK_BYTES), PcapBlock(BLOCK_BYTES)]
            for block in blocks:
                put_free.send_nowait(block)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._writer.run, get_loads, put_free)
                    task_status.started()
                    async with loads:
                        await self._receive(sock, receiver, free, loads)
            finally:
                self._account.drop("shutdown", self._block_packets)
                self._block_packets, self._plan, self._bound = 0, None, ""
                trio.lowlevel.notify_closing(sock)
                receiver.close()
                for block in blocks:
                    block.close()

    def _open(self) -> socket.socket:
        """The bound socket.

        Raises:
            ApplianceError: the address cannot be bound; the text says why.
        """
        host, port = self.config.address
        wanted = int(self.config.receive_buffer)
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host or "0.0.0.0",  # noqa: S104 - an empty host means every address, as in the file
                port,
                type=socket.SOCK_DGRAM,
                flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
            )[0]
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as exc:
            raise ApplianceError(f"cannot open {host}:{port}/udp: {exc.strerror}") from exc
        try:
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)  # beyond rmem_max, with CAP_NET_ADMIN
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
            sock.bind(address)
        except OSError as exc:
            sock.close()
            raise ApplianceError(
                f"cannot bind {host}:{port}/udp: {exc.strerror}",
                hint="another program uses it" if exc.errno == errno.EADDRINUSE else "",
            ) from exc
        # The kernel doubles the request for its own bookkeeping and reports the doubled value. Source: socket(7).
        self._granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        if self._granted < wanted:
            log.warning("the kernel granted a smaller receive buffer; packets may be lost in a burst",
                        door=self.source, wanted=str(Size(wanted)), granted=str(Size(self._granted)),
                        hint=f"sysctl -w net.core.rmem_max={wanted}")  # fmt: skip
        name = sock.getsockname()
        self._bound = f"[{name[0]}]:{name[1]}" if family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
        return sock

    async def _receive(
        self,
        sock: socket.socket,
        receiver: DatagramReceiver,
        free: trio.MemoryReceiveChannel[PcapBlock],
        loads: trio.MemorySendChannel[Load],
    ) -> None:
        """Receive until `stop`, and then until the socket is empty once."""
        block = await free.receive()
        base_drops = self._kernel_drops
        while True:
            before = self._packets
            outcome = self._take(receiver, block)
            is_last = self._stopping and outcome is Received.EMPTY
            ends = self._plan is not None and (is_last or self._is_complete(self._plan))
            is_due = trio.current_time() - self._block_since_s >= FLUSH_EVERY_S
            is_worth = free.statistics().current_buffer_used and (is_due or block.used >= FLUSH_BYTES)
            if self._plan is not None and (ends or outcome is Received.FULL or is_worth):
                await self._pass_on(self._plan, block, loads, ends=ends)
                self._book_drops(base_drops + self._dropped_by(sock, receiver))
                block = await free.receive()
            if self._next_handler is not None and self._plan is None:
                self._use(self._next_handler)
                self._next_handler = None
            if is_last:
                self._book_drops(base_drops + self._dropped_by(sock, receiver))
                return
            if outcome is Received.EMPTY:
                await self._wait(sock, is_busy=self._packets - before >= BUSY)
            else:
                await trio.lowlevel.checkpoint()

    async def _wait(self, sock: socket.socket, *, is_busy: bool) -> None:
        """Wait for a datagram, `stop`, or the time when the block or the segment is due."""
        if is_busy:
            # At high rates one wake-up for each datagram would cost more than the datagrams; the kernel holds them.
            await trio.sleep(COALESCE_S)
        due_s = self._plan.due_s if self._plan is not None and self._plan.due_s is not None else math.inf
        with trio.move_on_at(min(due_s, self._block_since_s + FLUSH_EVERY_S)) as self._waiting:
            if self._stopping or self._next_handler is not None:
                return
            await trio.lowlevel.wait_readable(sock)
        self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    # ── segments ──

    def _use(self, handler: Handler) -> None:
        self._pattern = pattern_of(handler)
        self._rotation = _rotation(handler)
        self._writer.set_name(handler.name)

    def _take(self, receiver: DatagramReceiver, block: PcapBlock) -> Received:
        """Receive one round into `block`; opens a segment's plan with its first packet."""
        limit = ROUND if self._rotation.max_bytes is None else SIZED_ROUND
        if self._rotation.max_items is not None:
            limit = min(limit, self._rotation.max_items - (self._plan.packets if self._plan else 0))
        used, was = block.used, self._counts
        outcome = receiver.receive(block, limit)
        now = self._counts = receiver.counts()
        count = now.packets - was.packets
        if not count:
            return outcome
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
        plan.size += block.used - used
        plan.first_ns = min(plan.first_ns or now.first_ns, now.first_ns)
        plan.last_ns = max(plan.last_ns, now.last_ns)
        receiver.clear_span()
        return outcome

    def _open_plan(self) -> Plan:
        self._seq += 1
        wall_ns = self._clock_ns()
        due_ns = self._rotation.monotonic_deadline_ns(wall_ns=wall_ns, mono_ns=int(trio.current_time() * 1e9))
        due_s = None if due_ns is None else due_ns / 1e9
        return Plan(pattern=self._pattern, opened_ns=wall_ns, due_s=due_s, seq=self._seq)

    def _is_complete(self, plan: Plan) -> bool:
        is_due = plan.due_s is not None and plan.due_s <= trio.current_time()
        is_full = self._rotation.is_full(plan.size, plan.packets, 1)
        return is_due or is_full or self._next_handler is not None

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

    # ── what the kernel dropped ──

    def _dropped_by(self, sock: socket.socket, receiver: DatagramReceiver) -> int:
        """Drops of this socket. SO_RXQ_OVFL tells them with the next datagram, SO_MEMINFO also without."""
        known = receiver.counts().kernel_drops
        words = struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
        return known + ((words[SK_MEMINFO_DROPS] - known) & 0xFFFFFFFF)

    def _book_drops(self, total: int) -> None:
        more, self._kernel_drops = total - self._kernel_drops, total
        self._account.received += more
        self._account.drop("kernel", more)
