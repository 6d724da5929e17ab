"""What waits to be sent to one peer: bounded in messages and in bytes, and every message accounted for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from appliance.units import Size

from .ledger import Account

__all__ = ["Bounds", "PeerQueue"]

_MAX_CONTROLS = 256
"""Pings, pongs and filters that may wait. Broker itself sends a ping only when it leaves."""
_MAX_CONTROL_BYTES = 1 << 20


class Bounds(Protocol):
    """The part of a door's table that says how much may wait."""

    @property
    def queue(self) -> int:
        """Messages."""
        ...

    @property
    def queue_bytes(self) -> Size: ...

    @property
    def overflow(self) -> str:
        """``drop_oldest``, ``drop_newest`` or ``disconnect``."""
        ...


class _Control(bytes):
    """Frames that are no messages: never dropped, and not in the ledger."""


class PeerQueue:
    """The frames for one peer in their order. What waits beyond the bound is decided by ``overflow``.

    One message always fits into an empty queue, however large. What is being written does not count for the bound.

    Args:
        account: where each copy of a message is booked; the queue becomes its holder.
        table: of `queue`, `queue_bytes` and `overflow`.
        cut: called when the peer must be disconnected, with the reason; the queue is to be closed then.
    """

    def __init__(self, account: Account, table: Bounds, *, cut: Callable[[str], None]) -> None:
        self._account = account
        self._cut = cut
        self._frames: deque[bytes] = deque()
        self._waiting = self._bytes = 0
        self._controls = self._control_bytes = 0
        self._leased: list[bytes] = []
        self._leased_messages = 0
        self._closed_for = ""
        self._takers = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self.dropped = 0
        """Copies that overflow has cost this peer."""
        account.add_holder(self._count)
        self.configure(table)

    def configure(self, table: Bounds) -> None:
        """Change bounds and policy; what waits beyond a smaller bound stays."""
        self._policy, self._max_messages, self._max_bytes = table.overflow, table.queue, int(table.queue_bytes)

    @property
    def messages(self) -> int:
        """Messages that wait or are being written."""
        return self._waiting + self._leased_messages

    @property
    def leased_messages(self) -> int:
        """Messages that are being written."""
        return self._leased_messages

    @property
    def size(self) -> int:
        """Their bytes, without those that are being written."""
        return self._bytes

    def _count(self) -> int:
        return self.messages

    # ── whoever publishes ──

    def put(self, frames: Iterable[bytes]) -> None:
        """Queue messages, one frame each; what does not fit is booked."""
        for frame in frames:
            self._account.received += 1
            if self._closed_for:
                self._account.drop(self._closed_for, 1)
            elif not self._waiting or not self._is_full(len(frame)) or self._make_room(len(frame)):
                self._frames.append(frame)
                self._waiting += 1
                self._bytes += len(frame)
        self._takers.unpark_all()

    def put_control(self, frames: bytes) -> None:
        """Queue what the protocol itself has to say, behind everything that waits already."""
        if not frames or self._closed_for:
            return
        if self._controls and (
            self._controls >= _MAX_CONTROLS or self._control_bytes + len(frames) > _MAX_CONTROL_BYTES
        ):
            self._cut("it asks and asks, and does not take the answers")
            return
        self._frames.append(_Control(frames))
        self._controls += 1
        self._control_bytes += len(frames)
        self._takers.unpark_all()

    def _is_full(self, size: int) -> bool:
        return self._waiting >= self._max_messages or self._bytes + size > self._max_bytes

    def _make_room(self, size: int) -> bool:
        """Drop what the policy says; returns whether the new message fits now."""
        if self._policy == "drop_oldest":
            while self._waiting and self._is_full(size):
                self._drop_oldest()
            return True
        self.dropped += 1
        self._account.drop("overflow", 1)
        if self._policy == "disconnect":
            self._cut("its queue is full")
        return False

    def _drop_oldest(self) -> None:
        kept = []
        while type(frame := self._frames.popleft()) is _Control:
            kept.append(frame)
        self._frames.extendleft(reversed(kept))
        self._waiting -= 1
        self._bytes -= len(frame)
        self.dropped += 1
        self._account.drop("overflow", 1)

    # ── whoever writes ──

    async def lease(self, max_bytes: int) -> list[bytes]:
        """Wait for frames and take the next ones, `max_bytes` or one. Call `settle` before the next lease.

        Cancellation: nothing is taken.
        """
        while not self._frames:
            await self._takers.park()
        size = 0
        while self._frames and (not size or size + len(self._frames[0]) <= max_bytes):
            frame = self._frames.popleft()
            self._leased.append(frame)
            size += len(frame)
            if type(frame) is _Control:
                self._controls -= 1
                self._control_bytes -= len(frame)
            else:
                self._leased_messages += 1
                self._waiting -= 1
                self._bytes -= len(frame)
        return self._leased

    def settle(self) -> None:
        """What was leased is written."""
        self._account.delivered += self._leased_messages
        self._release()
        if not self._frames:
            self._idle.unpark_all()

    def _release(self) -> None:
        self._leased, self._leased_messages = [], 0

    async def wait_idle(self) -> None:
        """Wait until everything is written, or the queue is closed."""
        while (self._frames or self._leased) and not self._closed_for:
            await self._idle.park()

    def close(self, reason: str) -> None:
        """Drop everything for `reason`, and what is put from now on."""
        if self._closed_for:
            return
        self._closed_for = reason
        self._account.drop(reason, self.messages)
        self._frames.clear()
        self._waiting = self._bytes = self._controls = self._control_bytes = 0
        self._release()
        self._account.remove_holder(self._count)
        self._takers.unpark_all()
        self._idle.unpark_all()
