"""What a capturer needs from a socket of any kind, and the loop of those that the kernel gives whole packets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self

import trio

from appliance.native.pcap import Received
from appliance.native.receivers import DatagramReceiver, EthernetReceiver

from .batch import Batch, NativeBatch, SocketView
from .figures import SocketFigures
from .pause import Pause

__all__ = ["SLOTS", "Customer", "PacketLoop", "Transport", "add_counts"]

SLOTS = 256
"""Packets of a batch."""


class Customer(Protocol):
    """Takes what a transport receives."""

    async def take(self, batch: Batch) -> None:
        """Take packets; waits as long as nobody has room for them. One call at a time."""
        ...

    async def draw(self, view: SocketView) -> bool:
        """Take packets from the socket, or say that they have to come as a batch; waits as `take` does."""
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

    def want_addresses(self, *, wanted: bool) -> None:
        """Whether packets that have no headers must come with both ends; before, they need not."""
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
    """Receives packets from a socket, over and over.

    Args:
        receiver: of the socket.
        fd: the socket.
        slot_bytes: longest packet.
    """

    def __init__(self, receiver: DatagramReceiver | EthernetReceiver, fd: int, *, slot_bytes: int) -> None:
        self._receiver = receiver
        self._fd = fd
        self._slot_bytes = slot_bytes
        self._view = SocketView(receiver, longest=slot_bytes)
        self._pause = Pause()
        self._stopped_ns: int | None = None
        self._waiting: trio.CancelScope | None = None

    def stop(self) -> None:
        if self._stopped_ns is None:
            self._stopped_ns = time.time_ns()
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self, customer: Customer, failed: Callable[[OSError], None]) -> None:
        """Receive until `stop`.

        Args:
            customer: gets the packets.
            failed: judges an error of the socket; raises it if nothing can come any more.
        """
        batch = NativeBatch(slots=SLOTS, slot_bytes=self._slot_bytes)
        try:
            while not await self._round(batch, customer, failed):
                pass
        finally:
            batch.close()

    async def _round(self, batch: NativeBatch, customer: Customer, failed: Callable[[OSError], None]) -> bool:
        """Returns whether it was the last one."""
        try:
            is_empty = await self._receive(batch, customer)
        except OSError as exc:
            failed(exc)
            await trio.lowlevel.checkpoint()
            return False
        if self._stopped_ns is not None and (is_empty or self._receiver.counts().last_ns > self._stopped_ns):
            return True
        if not is_empty:
            await trio.lowlevel.checkpoint()
            return False
        pause_s = self._pause.next_s(trio.current_time(), self._receiver.packets)
        with trio.CancelScope() as self._waiting:
            if self._stopped_ns is None:
                if pause_s:
                    await trio.sleep(pause_s)
                else:
                    await trio.lowlevel.wait_readable(self._fd)
                self._pause.look(trio.current_time(), *self._receiver.memory())
        return False

    async def _receive(self, batch: NativeBatch, customer: Customer) -> bool:
        """Returns whether the socket is empty.

        Raises:
            OSError: its error.
        """
        if await customer.draw(self._view):
            if self._view.error is not None:
                raise self._view.error
            return self._view.is_empty
        outcome = self._receiver.fill(batch)
        if len(batch):
            await customer.take(batch)
        return outcome is Received.EMPTY
