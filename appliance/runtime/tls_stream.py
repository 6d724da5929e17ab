"""TLS over a TCP stream. Trio's own does not send the alert of a failed handshake, which tells the other side why."""

from __future__ import annotations

import ssl
from contextlib import suppress

import trio

__all__ = ["TlsStream"]

_CHUNK = 65536
_LINGER_S = 1.0


class TlsStream(trio.abc.AsyncResource):
    """One task may read while another one writes.

    Args:
        transport: closed with this.
        context: for this end.
        is_server: whether this is the listening end.
        server_name: what the other side's certificate must name, if the context checks that.
    """

    def __init__(
        self, transport: trio.SocketStream, context: ssl.SSLContext, *, is_server: bool, server_name: str | None = None
    ) -> None:
        self._transport = transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server, server_hostname=server_name)
        self._sending = trio.Lock()

    async def do_handshake(self) -> None:
        """Agree on keys.

        Raises:
            ssl.SSLError: that was not possible; the other side was told, and had the time to hear it.
            trio.BrokenResourceError: the connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._leave()
                raise
            else:
                await self._flush()
                return

    async def receive_some(self, max_bytes: int) -> bytes:
        """The next bytes, as many as have arrived up to `max_bytes`; none at the end, announced or not.

        Raises:
            ssl.SSLError: what arrives is no TLS, or an alert.
            trio.BrokenResourceError: the connection broke.

        Cancellation: nothing is lost.
        """
        while True:
            data = self._read(max_bytes)
            if data is not None:
                await trio.lowlevel.checkpoint()
                return data
            # Answers to the other side's TLS. Whoever is writing takes them along: a reader must not wait for him.
            if self._outgoing.pending and not self._sending.locked():
                await self._flush()
            await self._fill()

    async def send_all(self, data: bytes) -> None:
        """Write everything, in records that hold nothing else.

        Raises:
            trio.BrokenResourceError: the connection broke.

        Cancellation: the connection cannot be used any more.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest[:_CHUNK]) :]
            await self._flush()

    def _read(self, max_bytes: int) -> bytes | None:
        """Everything that can be decrypted now; None if that is nothing."""
        found: list[bytes] = []
        left = max_bytes
        while left > 0:
            try:
                data = self._tls.read(left)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # Broker goes without a farewell. If something came before, the end is found again by the next call.
                return b"".join(found)
            if not data:
                return b"".join(found)
            found.append(data)
            left -= len(data)
        return b"".join(found) or None

    async def _fill(self) -> None:
        data = await self._transport.receive_some(_CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
                await self._transport.send_all(data)

    async def aclose(self) -> None:
        """Close the connection without a word, as Broker does."""
        await trio.aclose_forcefully(self._transport)

    async def _leave(self) -> None:
        """Send the alert, and wait for the other side to close: what it sends meanwhile would destroy the alert."""
        with trio.move_on_after(_LINGER_S), suppress(trio.BrokenResourceError):
            await self._flush()
            await self._transport.send_eof()
            while await self._transport.receive_some(_CHUNK):
                pass
