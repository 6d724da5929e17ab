"""From the thread that reads the sockets to the loop: bounded, and never waiting for whoever takes."""

from __future__ import annotations

import threading
from collections import deque

import trio

__all__ = ["Inbox", "Message"]

Message = list[bytes]
"""The frames of a message."""


class Inbox:
    """Messages in the order of their arrival. What does not fit is dropped: the newest, and the count tells.

    Made in the loop. `put` is for one thread, everything else for the loop.

    Args:
        max_messages: that may wait.
        max_bytes: that they may have; one message always fits into an empty inbox.
    """

    def __init__(self, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self._token = trio.lowlevel.current_trio_token()
        self._takers = trio.lowlevel.ParkingLot()

    def put(self, message: Message) -> None:
        """Add a message, or drop it."""
        size = sum(map(len, message))
        with self._lock:
            count = len(self._messages)
            if count and (count >= self._max_messages or self._bytes + size > self._max_bytes):
                self._dropped += 1
                return
            self._messages.append(message)
            self._bytes += size
        if not count:
            self.wake()

    def wake(self) -> None:
        """Let whoever waits look again; from any thread."""
        try:
            self._token.run_sync_soon(self._takers.unpark_all, idempotent=True)
        except trio.RunFinishedError:
            return  # nobody will ever look

    def take(self, count: int) -> tuple[list[Message], int]:
        """The next messages, at most `count`, and how many were dropped since the last call."""
        with self._lock:
            taken = [self._messages.popleft() for _ in range(min(count, len(self._messages)))]
            self._bytes -= sum(sum(map(len, message)) for message in taken)
            dropped, self._dropped = self._dropped, 0
        return taken, dropped

    @property
    def waiting(self) -> int:
        """Messages that wait."""
        return len(self._messages)

    async def wait(self) -> None:
        """Wait until there is a message, or somebody calls `wake`.

        Cancellation: nothing is lost.
        """
        if not self._messages:
            await self._takers.park()
