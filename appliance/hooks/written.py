"""What a child process writes: all of it is read, so that the child never waits, and the end of it is kept."""

from __future__ import annotations

from collections import deque

import trio

__all__ = ["KEPT_BYTES", "Written"]

KEPT_BYTES = 16_384
"""The end of each stream that is kept; as much as of a traceback."""
_CHUNK = 65_536


class Written:
    """Reads one stream.

    Args:
        fd: the reading end of a pipe; `close` closes it.
    """

    def __init__(self, fd: int) -> None:
        self._stream = trio.lowlevel.FdStream(fd)
        self._chunks: deque[bytes] = deque()
        self._kept = 0
        self.size = 0
        """Bytes that were read."""

    async def run(self) -> None:
        """Read until everybody has closed the other end."""
        while chunk := await self._stream.receive_some(_CHUNK):
            self.size += len(chunk)
            self._kept += len(chunk)
            self._chunks.append(bytes(chunk))
            while self._kept - len(self._chunks[0]) >= KEPT_BYTES:
                self._kept -= len(self._chunks.popleft())

    def close(self) -> None:
        self._stream.close()

    @property
    def text(self) -> str:
        """The end of what was read; escapes stand for what is not UTF-8."""
        kept = b"".join(self._chunks)[-KEPT_BYTES:]
        text = kept.decode("utf-8", "backslashreplace")
        left_out = self.size - len(kept)
        return f"[{left_out} bytes are left out]\n{text}" if left_out else text
