"""What connects the appliance with one worker process: descriptors of both sides, closed in time."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import trio

from .progress import Progress

__all__ = ["Plumbing"]


class Plumbing:
    """A context manager, which closes everything.

    Attributes:
        theirs: what the worker gets as 0, 1, 2, …: nothing to read, twice the end of a pipe for what it prints, its
            connection, the answers, the page of its progress.
        connection: our end.
        replies: where answers are written.
        printed: the other end of what it prints.
        progress: its page; it stays, to be read when the worker is gone.

    Raises:
        OSError: there is no room for more descriptors.
    """

    def __init__(self) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            null = os.open(os.devnull, os.O_RDONLY)
            theirs.callback(os.close, null)
            here, there = socket.socketpair()
            theirs.callback(there.close)
            self.connection = trio.SocketStream(trio.socket.from_stdlib_socket(here))
            ours.callback(self.connection.socket.close)
            self.printed, prints = os.pipe()
            ours.callback(os.close, self.printed)
            theirs.callback(os.close, prints)
            answers, answering = os.pipe()
            self.replies = trio.lowlevel.FdStream(answering)
            ours.callback(self.replies.close)
            theirs.callback(os.close, answers)
            memory = Progress.make_memory()
            theirs.callback(os.close, memory)
            self.progress = Progress(memory)
            self.theirs = (null, prints, prints, there.fileno(), answers, memory)
            self._ours, self._theirs = ours.pop_all(), theirs.pop_all()

    def close_theirs(self) -> None:
        """The worker has them now, and we must not, or we would not see when it closes them."""
        self._theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._theirs.close()
        self._ours.close()
