"""The sending end of a channel: numbers events, keeps them until all consumers have them, repeats what is missing.

Time is in ticks of 100 ms, one for each call of `Producer.tick`.

Source: Broker, ``internal/channel.hh``.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Generic, TypeVar

import msgspec

from .commands import Entity

__all__ = ["CONNECTION_TIMEOUT", "FIRST_SEQ", "HEARTBEAT", "Producer", "Repeat"]

T = TypeVar("T")

FIRST_SEQ = 1
"""The number before the first event."""
HEARTBEAT = 5
"""Ticks between two signs of life."""
CONNECTION_TIMEOUT = 500
"""Ticks after which a silent consumer is forgotten."""


class _Path:
    """One consumer."""

    __slots__ = ("acked", "offset", "seen")

    def __init__(self, offset: int, seen: int) -> None:
        self.offset = offset
        self.acked = 0
        self.seen = seen


class Repeat(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What a consumer has asked for."""

    seq: int
    """0: the handshake."""
    event: T | None
    """None: it is not there any more."""


class Producer(Generic[T]):
    """See the module.

    Args:
        heartbeat: ticks of silence.
        timeout: ticks after which a silent consumer is forgotten.
        max_events: how many are kept at most; if there are more, the slowest consumer is forgotten.
    """

    def __init__(
        self, *, heartbeat: int = HEARTBEAT, timeout: int = CONNECTION_TIMEOUT, max_events: int = 1_000_000
    ) -> None:
        self.seq = FIRST_SEQ
        """Of the last event."""
        self._heartbeat, self._timeout, self._max_events = heartbeat, timeout, max_events
        self._paths: dict[Entity, _Path] = {}
        self._events: deque[T] = deque()
        """The last ones, up to `seq`."""
        self._now = self._sent = 0

    @property
    def consumers(self) -> tuple[Entity, ...]:
        return tuple(self._paths)

    @property
    def unacked(self) -> int:
        """Events that somebody has not acknowledged."""
        return len(self._events)

    @property
    def acked(self) -> int:
        """Every consumer has everything up to this event."""
        return self.seq - len(self._events)

    def knows(self, who: Entity) -> bool:
        return who in self._paths

    def has_heard_from(self, who: Entity) -> bool:
        """Whether a consumer has acknowledged its handshake."""
        path = self._paths.get(who)
        return path is not None and path.acked > 0

    def publish(self, event: T) -> int | None:
        """Number an event that is to be sent to all; None if there is nobody."""
        if not self._paths:
            return None
        self.seq += 1
        self._events.append(event)
        self._sent = self._now
        if len(self._events) > self._max_events:
            self._forget(min(self._paths, key=lambda who: self._acked(self._paths[who])))
        return self.seq

    def attach(self, who: Entity) -> int:
        """A consumer comes, or begins anew; returns the offset of its handshake, which is to be sent."""
        path = self._paths[who] = _Path(self.seq, self._now)
        return path.offset

    def forget(self, who: Entity) -> None:
        """A consumer is gone for good."""
        if who in self._paths:
            self._forget(who)

    def on_ack(self, who: Entity, seq: int) -> bool:
        """A consumer has everything up to `seq`; False if it is none of ours."""
        path = self._paths.get(who)
        if path is None:
            return False
        path.seen = self._now
        if path.acked < seq <= self.seq and seq >= path.offset:
            path.acked = seq
            self._trim()
        return True

    def on_nack(self, who: Entity, seqs: tuple[int, ...]) -> list[Repeat[T]]:
        """A consumer misses events; returns what is to be sent to it."""
        path = self._paths.get(who)
        if path is None or not seqs:
            return []
        path.seen = self._now
        if any(left >= right for left, right in pairwise(seqs)):
            self._forget(who)
            return []
        if seqs[0] == 0:
            return [Repeat(0, None)]
        self.on_ack(who, seqs[0] - 1)
        first = self.seq - len(self._events) + 1
        return [Repeat(seq, self._events[seq - first] if seq >= first else None) for seq in seqs if seq <= self.seq]

    def tick(self) -> tuple[bool, tuple[Entity, ...]]:
        """A tick has passed.

        Returns:
            Whether a keepalive is due, and whom we have not heard of for too long and forgotten.
        """
        self._now += 1
        silent = tuple([who for who, path in self._paths.items() if self._now - path.seen >= self._timeout])
        for who in silent:
            self._forget(who)
        is_due = self._now - self._sent >= self._heartbeat
        if is_due:
            self._sent = self._now
        return is_due, silent

    @staticmethod
    def _acked(path: _Path) -> int:
        return max(path.acked, path.offset)

    def _forget(self, who: Entity) -> None:
        del self._paths[who]
        self._trim()

    def _trim(self) -> None:
        acked = min(map(self._acked, self._paths.values()), default=self.seq)
        while self._events and self.seq - len(self._events) < acked:
            self._events.popleft()
