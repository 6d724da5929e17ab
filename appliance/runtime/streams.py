"""Connections that we open: finding out who answers, and in words why nobody does or why it broke."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import trio

__all__ = ["dial", "host_port", "watch", "why_broken"]

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


def host_port(host: str, port: int) -> str:
    """An address as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
