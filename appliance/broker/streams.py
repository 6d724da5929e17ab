"""Connections of Broker: TCP, with TLS around it or without."""

from __future__ import annotations

import ssl
from functools import partial

import trio

from appliance.errors import RemoteProtocolError
from appliance.runtime import streams
from appliance.runtime.streams import Stream, why_broken
from appliance.runtime.tls_stream import TlsStream

from .tls import TlsContexts, explain_tls

__all__ = ["Stream", "receive", "secure", "send"]


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
        raise RemoteProtocolError(explain_tls(exc) if isinstance(exc, ssl.SSLError) else why_broken(exc)) from exc
    return tls


receive = partial(streams.receive, explain=explain_tls)
send = partial(streams.send, explain=explain_tls)
