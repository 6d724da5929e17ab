"""The receiving end of a channel: puts events into their order, asks for those that are missing, acknowledges.

Time is in ticks of 100 ms, one for each call of `Consumer.tick`.

Source: Broker, ``internal/channel.hh``.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from .commands import Command, CumulativeAck, Nack

__all__ = ["NACK_TIMEOUT", "Consumer"]

T = TypeVar("T")

NACK_TIMEOUT = 2
"""Ticks without progress after which what is missing is asked for."""
_MAX_AHEAD = 1 << 16
"""Events that are kept until those before them come; what is further ahead has to come again."""
_MAX_NACKED = 1024


class Consumer(Generic[T]):
    """See the module."""

    def __init__(self) -> None:
        self.is_attached = False
        self.lost = 0
        """Events that the producer could not send again."""
        self._next = self._last = 0
        self._heartbeat = 0
        self._early: dict[int, T | None] = {}
        """Events by number; None: lost."""
        self._idle = self._since_ack = 0

    @property
    def acked(self) -> int:
        """Everything up to this event has come."""
        return self._next - 1

    @property
    def is_complete(self) -> bool:
        """Whether everything has come that we know of."""
        return self.is_attached and self._next >= self._last

    def on_handshake(self, offset: int, heartbeat: int) -> list[T]:
        """The producer has told where we are; returns the events that follow and have come already.

        The caller acknowledges at once, with `acked`.
        """
        if self.is_attached:
            return []
        self.is_attached = True
        self._next = self._last = offset + 1
        self._heartbeat = heartbeat
        self._early = {seq: event for seq, event in self._early.items() if seq > offset}
        self._last = max(self._early, default=offset) + 1
        return self._drain()

    def on_event(self, seq: int, event: T) -> list[T]:
        """Returns the events whose turn it is now."""
        if self.is_attached and seq == self._next and not self._early:  # nearly always
            self._next += 1
            self._last = max(self._last, self._next)
            self._idle = 0
            return [event]
        return self._on_early(seq, event)

    def on_lost(self, seq: int) -> list[T]:
        """The producer cannot send an event again; the same."""
        if self.is_attached and self._next <= seq < self._last and self._early.get(seq) is None:
            return self._on_early(seq, None)
        return []

    def on_keepalive(self, seq: int) -> None:
        """The producer's last event has that number."""
        self._last = max(self._last, seq + 1)

    def tick(self) -> Command | None:
        """A tick has passed; returns what is to be sent."""
        self._idle += 1
        self._since_ack += 1
        if not self.is_attached:
            if self._idle >= NACK_TIMEOUT:
                self._idle = 0
                return Nack((0,))
            return None
        if self._next < self._last and self._idle >= NACK_TIMEOUT:
            self._idle = 0
            return Nack(self._missing())
        if self._heartbeat and self._since_ack >= self._heartbeat:
            return self.acknowledge()
        return None

    def acknowledge(self) -> CumulativeAck:
        """What tells the producer how far we are."""
        self._since_ack = 0
        return CumulativeAck(self.acked)

    def _on_early(self, seq: int, event: T | None) -> list[T]:
        if self.is_attached and seq < self._next:
            return []
        self._last = max(self._last, seq + 1 if self.is_attached else seq)
        if len(self._early) >= _MAX_AHEAD and seq != self._next:
            return []
        self._early[seq] = event
        return self._drain() if self.is_attached else []

    def _drain(self) -> list[T]:
        ready: list[T] = []
        while self._next in self._early:
            event = self._early.pop(self._next)
            self._next += 1
            self._idle = 0
            if event is None:
                self.lost += 1
            else:
                ready.append(event)
        return ready

    def _missing(self) -> tuple[int, ...]:
        found: list[int] = []
        seq = self._next
        while seq < self._last and len(found) < _MAX_NACKED:
            if seq not in self._early:
                found.append(seq)
            seq += 1
        return tuple(found)
