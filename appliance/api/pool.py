"""Places for connections, and who has to make room when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

__all__ = ["GRACE_S", "Idle", "Pool"]

GRACE_S = 0.02
"""Nobody has to go sooner, however many come: whoever asks does so at once."""


class Idle(Protocol):
    """See `appliance.api.connection.Connection`."""

    @property
    def idle_since(self) -> float | None: ...

    @property
    def has_unread(self) -> bool: ...


class Pool:
    """So many connections at once.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self.places = trio.Semaphore(size)
        self.count = 0
        """Connections that have a place."""
        self.cut = 0
        """Those that had to make room."""
        self._open: dict[Idle, trio.CancelScope] = {}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A connection that was accepted is served; gives its place back."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
            self.places.release()

    @contextmanager
    def may_be_cut(self, connection: Idle) -> Iterator[None]:
        """As long as this lasts, the connection is ended to make room if it does nothing."""
        with trio.CancelScope() as scope:
            self._open[connection] = scope
            try:
                yield
            finally:
                del self._open[connection]

    def make_room(self) -> float:
        """End the connection that has been waited for longest to bring a request; none if all are at work, or if each
        has only just come or has brought something that was not read yet.

        Returns:
            Seconds until it is worth asking again; 0: one ends, or all are at work.
        """
        idle = [
            (each.idle_since, scope, each.has_unread)
            for each, scope in self._open.items()
            if each.idle_since is not None and not scope.cancel_called
        ]
        silent = [(since, scope) for since, scope, has_unread in idle if not has_unread]
        if not silent:
            return GRACE_S if idle else 0.0  # what was sent is read by then, and may be no request
        since, scope = min(silent, key=lambda each: each[0])
        left_s = since + GRACE_S - trio.current_time()
        if left_s <= 0:
            self.cut += 1
            scope.cancel()
        return max(0.0, left_s)
