"""The worker's end of its connection to the appliance, for all threads of a hook."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, NoReturn

import msgspec

from .frames import HEADER_BYTES, MAX_FRAME, frame
from .messages import Answer, Asked, Told, ToWorker, encode

__all__ = ["CONNECTION", "MEMORY", "REPLIES", "AskError", "Link"]

CONNECTION, REPLIES, MEMORY = 3, 4, 5
"""Descriptors that a worker starts with, besides the standard ones."""
EXIT_LOST = 70

_to_worker = msgspec.msgpack.Decoder(ToWorker)
_answer = msgspec.msgpack.Decoder(Answer)


class AskError(Exception):
    """The appliance refused what it was asked for."""


class Link:
    """See the module.

    Args:
        connection: descriptor of the connection; this object's from now on.
        replies: descriptor of the pipe with answers; likewise.
    """

    def __init__(self, connection: int, replies: int) -> None:
        os.set_inheritable(connection, False)
        os.set_inheritable(replies, False)
        self._socket = socket.socket(fileno=connection)
        self._replies = replies
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        # A child that the hook forks must not speak for it.
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        self._socket.close()
        self._replies = -1
        self._sending, self._asking = threading.Lock(), threading.Lock()

    def wait_message(self) -> int:
        """Wait for the next message; returns its size. 0: the appliance wants no more."""
        return int.from_bytes(self._read_socket(HEADER_BYTES) or b"")

    def receive(self, size: int) -> ToWorker | None:
        """The message of that size; None: the appliance wants no more."""
        body = self._read_socket(size)
        return _to_worker.decode(body) if body else None

    def _read_socket(self, size: int) -> bytearray | None:
        try:
            return self._read_exactly(size)
        except OSError as exc:
            self._lose(exc)

    def _read_exactly(self, size: int) -> bytearray | None:
        found = bytearray(size)
        view, at = memoryview(found), 0
        while at < size:
            count = self._socket.recv_into(view[at:])
            if not count:
                return None
            at += count
        return found

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; from any thread.

        Raises:
            ValueError: it is too large.
        """
        body = encode(message)
        if len(body) > MAX_FRAME:
            raise ValueError(f"{len(body)} bytes are too many for one message to the appliance, {MAX_FRAME} the most")
        with self._sending:
            try:
                self._socket.sendall(frame(body))
            except OSError as exc:
                self._lose(exc)

    def tell(self, what: str, *arguments: Any) -> None:
        """Send what needs no answer: plain values. It arrives before the end of the call that tells it."""
        self.send(Told(what, list(arguments)))

    def ask(self, what: str, *arguments: Any) -> Any:
        """Send a question and wait for the answer: plain values; from any thread.

        Raises:
            AskError: refused; says why.
        """
        with self._asking:
            self.send(Asked(what, list(arguments)))
            try:
                header = self._read_replies(HEADER_BYTES)
                body = self._read_replies(int.from_bytes(header))
            except OSError as exc:
                self._lose(exc)
        answer = _answer.decode(body)
        if answer.error:
            raise AskError(answer.error)
        return answer.value

    def _read_replies(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            chunk = os.read(self._replies, size - len(found))
            if not chunk:
                raise ConnectionResetError("no answer")
            found += chunk
        return found

    def _lose(self, exc: OSError) -> NoReturn:
        """Without the appliance, or with descriptors that the hook has closed, nothing can be done or told."""
        os.write(2, f"the worker has lost its connection to the appliance: {exc}\n".encode())
        os._exit(EXIT_LOST)
