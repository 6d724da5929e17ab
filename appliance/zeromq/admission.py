"""Who may connect to an encrypted socket: an in-process answer to libzmq's question, by the peer's public key.

Source: ZeroMQ RFC 27 (ZAP): a REP socket at ``inproc://zeromq.zap.01`` of the same context; without one libzmq admits
everybody who knows the server's public key.
"""

from __future__ import annotations

import struct
from pathlib import Path

import trio
import zmq
from zmq.utils import z85

from appliance.errors import ConfigError

__all__ = ["Admission", "read_key"]

_LONGEST_FILE = 4096


def read_key(path: str) -> bytes:
    """A CURVE key from a file: 40 characters of Z85.

    Raises:
        ConfigError: the file cannot be read, or is no key.
    """
    try:
        with Path(path).open("rb") as file:
            key = file.read(_LONGEST_FILE).strip()
    except OSError as exc:
        raise ConfigError(f"no CURVE key in {path}: {exc.strerror or exc}") from exc
    if not _is_key(key):
        raise ConfigError(f"no CURVE key in {path}: expected 40 characters of Z85")
    return key


def _is_key(text: bytes) -> bool:
    # Errors of the decoder say what they stumbled over, and that is not for the log.
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (KeyError, struct.error):
        return False


class Admission:
    """Admits the holders of one client key.

    Args:
        client_key: the public key, Z85.
    """

    def __init__(self, client_key: bytes) -> None:
        self._key = z85.decode(client_key)
        self.refused = 0
        """Peers that were sent away."""

    def open(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        """The socket that answers; before any socket that needs it is bound. The caller closes it."""
        sock: zmq.Socket[bytes] = context.socket(zmq.REP)
        sock.setsockopt(zmq.LINGER, 0)
        sock.bind("inproc://zeromq.zap.01")
        return sock

    def answer(self, request: list[bytes]) -> list[bytes]:
        """The reply to one request."""
        version, number = request[0], request[1]
        is_admitted = len(request) == 7 and request[5] == b"CURVE" and request[6] == self._key
        self.refused += not is_admitted
        status, text = (b"200", b"OK") if is_admitted else (b"400", b"unknown key")
        return [version, number, status, text, b"", b""]

    async def run(self, sock: zmq.Socket[bytes]) -> None:
        """Answer until cancelled."""
        while True:
            try:
                sock.send_multipart(self.answer(sock.recv_multipart(zmq.NOBLOCK)))
            except zmq.Again:
                await trio.lowlevel.wait_readable(sock.fileno())  # edge-triggered: only ever after Again
            else:
                await trio.lowlevel.checkpoint()
