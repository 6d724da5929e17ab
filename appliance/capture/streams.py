"""TCP sockets as streams: connecting, listening, keepalive, TLS."""

from __future__ import annotations

import errno
import math
import socket
import ssl

import structlog
import trio

from appliance.config import Capture
from appliance.errors import ApplianceError
from appliance.native.synth import Address

from .sockets import bind_to_interface, set_buffer

__all__ = ["ByteStream", "accept_stream", "client_context", "dial", "make_listener", "server_context", "shown"]

log = structlog.get_logger("capture")

CONNECT_TIMEOUT_S = 10.0
"""For each address that a name has, and for a TLS handshake."""
BACKLOG = 128

ByteStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def shown(address: Address) -> str:
    """``127.0.0.1:8500`` or ``[::1]:8500``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _context(capture: Capture, purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=capture.ca or None)
        if capture.certificate:
            context.load_cert_chain(capture.certificate, capture.key)
    except (OSError, ssl.SSLError) as exc:
        raise ApplianceError(f"cannot use the TLS files of capture {capture.name}: {exc}") from exc
    return context


def client_context(capture: Capture) -> ssl.SSLContext:
    """How a server is judged: by `ca`, or by what the system trusts.

    Raises:
        ApplianceError: a file cannot be used.
    """
    return _context(capture, ssl.Purpose.SERVER_AUTH)


def server_context(capture: Capture) -> ssl.SSLContext:
    """How we show ourselves; with `ca` clients need a certificate, too.

    Raises:
        ApplianceError: a file cannot be used.
    """
    context = _context(capture, ssl.Purpose.CLIENT_AUTH)
    if capture.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _set_keepalive(sock: trio.socket.SocketType, keepalive_s: float) -> None:
    """Ask a silent peer after `keepalive_s`, four times within as long. Source: tcp(7)."""
    idle = max(1, min(32767, math.ceil(keepalive_s)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, idle // 4))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


async def dial(capture: Capture, *, door: str) -> trio.SocketStream:
    """Connect to the address of a capture, trying every address that its name has.

    Raises:
        OSError: of the last one; TimeoutError is one.
        PrivilegeError: the interface needs a capability.
    """
    host, port = capture.address
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last: OSError = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for family, kind, protocol, _, address in found:
        sock = trio.socket.socket(family, kind, protocol)
        try:
            with trio.fail_after(CONNECT_TIMEOUT_S):
                _prepare(sock, capture, door=door)
                await sock.connect(address)
        except trio.TooSlowError:
            sock.close()
            last = TimeoutError(errno.ETIMEDOUT, "no answer")
        except OSError as exc:
            sock.close()
            last = exc
        except BaseException:
            sock.close()
            raise
        else:
            _set_keepalive(sock, capture.keepalive.seconds)
            return trio.SocketStream(sock)
    raise last


def _prepare(sock: trio.socket.SocketType, capture: Capture, *, door: str) -> None:
    """What must be said before the connection is there: the buffer decides about the window scale."""
    with socket.socket(fileno=sock.fileno()) as plain:
        try:
            bind_to_interface(plain, capture.interface)
            set_buffer(plain, int(capture.receive_buffer), door=door)
        finally:
            plain.detach()


def make_listener(capture: Capture, *, door: str) -> trio.SocketListener:
    """Listen at the address of a capture; an empty host is every IPv4 address.

    Raises:
        ApplianceError: it cannot be bound; the text says why.
    """
    host, port = capture.address
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104 - an empty host means every address, as in the file
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
        )[0]
        sock = trio.socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ApplianceError(f"cannot open {host}:{port}/tcp: {exc.strerror}") from exc
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _prepare(sock, capture, door=door)
        with socket.socket(fileno=sock.fileno()) as plain:
            try:
                plain.bind(address)
            finally:
                plain.detach()
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise ApplianceError(
            f"cannot bind {host}:{port}/tcp: {exc.strerror}",
            hint="another program uses it" if exc.errno == errno.EADDRINUSE else "",
        ) from exc
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


async def accept_stream(listener: trio.SocketListener, capture: Capture) -> trio.SocketStream:
    """The next client.

    Raises:
        OSError: there are no descriptors left.
    """
    stream = await listener.accept()
    _set_keepalive(stream.socket, capture.keepalive.seconds)
    return stream
