"""What a capturer needs from a socket of any kind, and the loop of those that the kernel gives whole packets."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

import structlog
import trio

from appliance.native.pcap import Received
from appliance.native.receivers import DatagramReceiver, EthernetReceiver

from .batch import Batch, NativeBatch
from .figures import SocketFigures

__all__ = ["SLOTS", "Customer", "PacketLoop", "Transport", "add_counts"]

log = structlog.get_logger("capture")

SLOTS = 256
"""Packets for each system call."""
COALESCE_S = 0.004
"""At high rates one wake-up for each packet would cost more than the packets; the kernel holds them so long, if its
buffer is large enough."""
COALESCE_MIN_S = 0.0005
BUSY = 16
OVERHEAD = 1024
"""Bytes of the kernel's buffer for each packet besides twice its own, at most."""


class Customer(Protocol):
    """Takes what a transport receives."""

    async def take(self, batch: Batch) -> None:
        """Take packets; waits as long as nobody has room for them. One call at a time."""
        ...

    def end_segments(self) -> None:
        """The stream is over for now."""
        ...

    def refuse(self, reason: str) -> None:
        """Something came that is no packet."""
        ...


class Transport(Protocol):
    """A socket, or several, as an async context."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def run(self, customer: Customer) -> None:
        """Receive until `stop`, and then what had come before it."""
        ...

    def stop(self) -> None:
        """Ask `run` to end. May be called more than once, and before `run`."""
        ...

    def statistics(self) -> SocketFigures:
        """Counts since it was made, and what is open now."""
        ...

    @property
    def kernel_drops(self) -> int:
        """As in `statistics`; cheap."""
        ...


def add_counts(
    before: SocketFigures, receiver: DatagramReceiver | EthernetReceiver, *, kernel_drops: int
) -> SocketFigures:
    """Counts of earlier sockets and those of one that is open."""
    counts = receiver.counts()
    return SocketFigures(
        packets=before.packets + counts.packets,
        bytes=before.bytes + counts.bytes,
        truncated=before.truncated + counts.truncated,
        last_packet_ns=counts.last_ns or before.last_packet_ns,
        kernel_drops=kernel_drops,
        untimed=before.untimed + counts.untimed,
    )


class PacketLoop:
    """Receives packets from a socket into a batch, over and over.

    Args:
        receiver: of the socket.
        fd: the socket.
        slot_bytes: longest packet.
        buffer_bytes: what the kernel holds.
    """

    def __init__(
        self, receiver: DatagramReceiver | EthernetReceiver, fd: int, *, slot_bytes: int, buffer_bytes: int
    ) -> None:
        self._receiver = receiver
        self._fd = fd
        self._slot_bytes = slot_bytes
        self._buffer_bytes = buffer_bytes
        self._emptied_s = math.inf
        self._bytes = self._packets = 0
        self._stopped_ns: int | None = None
        self._waiting: trio.CancelScope | None = None

    def stop(self) -> None:
        if self._stopped_ns is None:
            self._stopped_ns = time.time_ns()
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self, take: Callable[[Batch], Awaitable[None]], failed: Callable[[OSError], None]) -> None:
        """Receive until `stop`.

        Args:
            take: gets each batch.
            failed: judges an error of the socket; raises it if nothing can come any more.
        """
        batch = NativeBatch(slots=SLOTS, slot_bytes=self._slot_bytes)
        try:
            while not await self._round(batch, take, failed):
                pass
        finally:
            batch.close()

    async def _round(
        self, batch: NativeBatch, take: Callable[[Batch], Awaitable[None]], failed: Callable[[OSError], None]
    ) -> bool:
        """Returns whether it was the last one."""
        try:
            outcome = self._receiver.fill(batch)
        except OSError as exc:
            failed(exc)
            await trio.lowlevel.checkpoint()
            return False
        count = len(batch)
        if count:
            await take(batch)
        if self._stopped_ns is not None and (
            outcome is Received.EMPTY or self._receiver.counts().last_ns > self._stopped_ns
        ):
            return True
        if outcome is not Received.EMPTY:
            await trio.lowlevel.checkpoint()
            return False
        pause_s = self._pause_s()
        with trio.CancelScope() as self._waiting:
            if self._stopped_ns is None:
                if pause_s:
                    await trio.sleep(pause_s)
                await trio.lowlevel.wait_readable(self._fd)
        return False

    def _pause_s(self) -> float:
        """How long the kernel may collect packets: for an eighth of its buffer, if they come as since the last time."""
        now_s, counts = trio.current_time(), self._receiver.counts()
        packets, size, span_s = counts.packets - self._packets, counts.bytes - self._bytes, now_s - self._emptied_s
        self._emptied_s, self._packets, self._bytes = now_s, counts.packets, counts.bytes
        if packets < BUSY:
            return 0.0
        pause_s = min(COALESCE_S, span_s * self._buffer_bytes / (8 * (2 * size + packets * OVERHEAD)))
        return pause_s if pause_s >= COALESCE_MIN_S else 0.0
