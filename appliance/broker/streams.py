"""Connections of Broker: TCP, with TLS around it or without."""

from __future__ import annotations

import ssl

import trio

from appliance.errors import RemoteProtocolError
from appliance.runtime.streams import why_broken
from appliance.runtime.tls_stream import TlsStream

from .tls import TlsContexts, explain_tls

__all__ = ["Stream", "receive", "secure", "send"]

Stream = trio.SocketStream | TlsStream


async def secure(stream: trio.SocketStream, contexts: TlsContexts | None, *, is_dialer: bool) -> Stream:
    """Do the TLS handshake, if there is TLS.

    Raises:
        RemoteProtocolError: it failed; the text says what is behind it.
    """
    if contexts is None:
        return stream
    tls = TlsStream(stream, contexts.client if is_dialer else contexts.server, is_server=not is_dialer)
    try:
        await tls.do_handshake()
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise RemoteProtocolError(_explain(exc)) from exc
    return tls


async def receive(stream: Stream, max_bytes: int) -> bytes:
    """The next bytes; none at the end, whether it came with a farewell of TLS or without.

    Raises:
        RemoteProtocolError: the connection is broken; the text says how.
    """
    try:
        return bytes(await stream.receive_some(max_bytes))
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise RemoteProtocolError(_explain(exc)) from exc


async def send(stream: Stream, data: bytes) -> None:
    """Write everything; with TLS in records of its own.

    Raises:
        RemoteProtocolError: as `receive`.
    """
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise RemoteProtocolError(_explain(exc)) from exc


def _explain(exc: BaseException) -> str:
    """Why a connection broke, in our words if it was TLS, else in the kernel's."""
    return explain_tls(exc) if isinstance(exc, ssl.SSLError) else why_broken(exc)
