"""Connections that we open: finding out who answers, and in words why nobody does or why it broke."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import trio

from appliance.errors import RemoteProtocolError

from .tls_stream import TlsStream

__all__ = ["Explain", "Stream", "dial", "host_port", "receive", "send", "watch", "why_broken"]

Stream: TypeAlias = trio.SocketStream | TlsStream
Explain: TypeAlias = Callable[[ssl.SSLError], str]
"""Says what is behind a failure of TLS."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""A peer whose machine is gone is noticed within half a minute; one that is only busy is not disturbed."""


async def dial(host: str, port: int) -> trio.SocketStream:
    """Open a connection.

    Raises:
        OSError: nobody answers there; the text says why.
    """
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as exc:
        # Trio tells of all the addresses that a name has; the last one will do.
        leaf: BaseException = exc
        while isinstance(leaf, OSError) and leaf.errno is None and leaf.__cause__ is not None:
            leaf = leaf.__cause__
            if isinstance(leaf, BaseExceptionGroup):
                leaf = leaf.exceptions[-1]
        number, words = getattr(leaf, "errno", None), getattr(leaf, "strerror", None) or str(leaf)
        if isinstance(number, int) and number > 0:  # names that cannot be looked up have numbers of their own
            words = os.strerror(number)
        raise OSError(words) from exc
    watch(stream)
    return stream


def watch(stream: trio.SocketStream) -> None:
    """Let the kernel find out whether the other machine is still there."""
    with suppress(OSError):  # the connection may be gone already; whoever reads is told
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)


def why_broken(exc: BaseException) -> str:
    """Why a connection broke, in the kernel's words."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else "it is closed"
    return f"the connection broke: {words[:1].lower()}{words[1:]}"


async def receive(stream: Stream, max_bytes: int, explain: Explain) -> bytes:
    """The next bytes; none at the end, whether it came with a farewell of TLS or without.

    Raises:
        RemoteProtocolError: the connection is broken; the text says how.
    """
    try:
        return bytes(await stream.receive_some(max_bytes))
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise RemoteProtocolError(_why(exc, explain)) from exc


async def send(stream: Stream, data: bytes, explain: Explain) -> None:
    """Write everything; with TLS in records of its own.

    Raises:
        RemoteProtocolError: as `receive`.
    """
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, ssl.SSLError) as exc:
        raise RemoteProtocolError(_why(exc, explain)) from exc


def _why(exc: BaseException, explain: Explain) -> str:
    return explain(exc) if isinstance(exc, ssl.SSLError) else why_broken(exc)


def host_port(host: str, port: int) -> str:
    """An address as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
