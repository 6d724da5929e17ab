"""The addresses that we listen on, and the file that tells which ports they got."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
import trio

from appliance.config.addresses import parse_peer
from appliance.errors import ApplianceError
from appliance.runtime.logs import Throttle
from appliance.runtime.streams import host_port, watch

__all__ = ["Listeners"]

log = structlog.get_logger("broker")

_BACKLOG = 1024
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_REST_S = 0.1


class Listeners:
    """Bound sockets, a task for each.

    Args:
        nursery: where connections are accepted and served.
        serve: what becomes of a connection: the stream, and where it comes from.
        ports_file: gets a line ``host:port`` for each bound address.
        is_guarded: whether strangers are kept out by certificates.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        serve: Callable[[trio.SocketStream, str], Awaitable[None]],
        *,
        ports_file: Path,
        is_guarded: bool,
    ) -> None:
        self._nursery = nursery
        self._serve = serve
        self._ports_file = ports_file
        self._is_guarded = is_guarded
        self._open: dict[str, list[_Door]] = {}
        self._throttle = Throttle()

    @property
    def bound(self) -> tuple[str, ...]:
        """Addresses as bound, in the order of the file."""
        return tuple(door.address for doors in self._open.values() for door in doors)

    def change(self, texts: Sequence[str]) -> None:
        """Listen on these addresses and no others; one that stays is not touched.

        Raises:
            ApplianceError: one cannot be bound; nothing has changed then.
        """
        gone = {text: doors for text, doors in self._open.items() if text not in texts}
        # An address that comes may lie within one that goes, and cannot be bound before that is closed.
        ports = {door.port for doors in gone.values() for door in doors}
        blocked = [text for text in texts if text not in self._open and parse_peer(text)[1] in ports]
        free = [text for text in texts if text not in self._open and text not in blocked]
        new: dict[str, list[_Door]] = {}
        try:
            for text in free:
                new[text] = _bind(text)
            for doors in gone.values() if blocked else ():
                _close(doors)
            for text in blocked:
                new[text] = _bind(text)
        except ApplianceError:
            for doors in new.values():
                _close(doors)
            self._reopen(gone)
            raise
        for text, doors in gone.items():
            _close(doors)
            del self._open[text]
        kept = self._open | new
        self._open = {text: kept[text] for text in texts}
        for text, doors in new.items():
            self._begin(text, doors)
        self._tell_ports()

    def _reopen(self, gone: dict[str, list[_Door]]) -> None:
        """Take back the closing of addresses, on the ports that they had."""
        for text, doors in gone.items():
            if any(door.scope.cancel_called for door in doors):
                self._begin(text, [door.make_again() for door in doors])

    def close(self) -> None:
        """Listen on nothing."""
        for doors in self._open.values():
            _close(doors)
        self._open.clear()
        with suppress(OSError):
            self._ports_file.unlink(missing_ok=True)

    def _begin(self, text: str, doors: list[_Door]) -> None:
        self._open[text] = doors
        for door in doors:
            log.info("listening for peers", address=door.address)
            if not (self._is_guarded or door.is_loopback):
                log.warning("anybody who reaches this address can be a peer", address=door.address)
            self._nursery.start_soon(self._accept, door)

    async def _accept(self, door: _Door) -> None:
        with door.scope:
            while True:
                try:
                    stream = await door.listener.accept()
                except OSError as exc:
                    if exc.errno not in _OUT_OF_RESOURCES:
                        raise
                    if (held := self._throttle.admit("accept")) is not None:
                        log.error("cannot accept connections", error=exc.strerror, more=held)
                    await trio.sleep(_REST_S)
                    continue
                watch(stream)
                try:
                    host, port = stream.socket.getpeername()[:2]
                except OSError:
                    stream.socket.close()  # it is gone again
                    continue
                # A socket of both families has a form of its own for addresses of IPv4.
                self._nursery.start_soon(self._serve, stream, host_port(host.removeprefix("::ffff:"), port))

    def _tell_ports(self) -> None:
        part = self._ports_file.with_name(self._ports_file.name + ".part")
        try:
            self._ports_file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            part.write_text("".join(f"{address}\n" for address in self.bound))
            os.replace(part, self._ports_file)  # noqa: PTH105 - replaces what a crash has left
        except OSError as exc:
            log.warning("cannot write which ports are bound", file=str(self._ports_file), error=exc.strerror)


class _Door:
    """One bound socket."""

    def __init__(self, sock: socket.socket, *, is_dual: bool = False) -> None:
        self._place = (sock.family, sock.getsockname(), is_dual)
        self.listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        self.scope = trio.CancelScope()
        host, port = sock.getsockname()[:2]
        self.address, self.port = host_port(host, port), port
        self.is_loopback = host.startswith("127.") or host == "::1"

    def make_again(self) -> _Door:
        """The same address and port, once this is closed."""
        family, address, is_dual = self._place
        return _Door(_listen(family, address, is_dual=is_dual), is_dual=is_dual)


def _close(doors: list[_Door]) -> None:
    for door in doors:
        door.scope.cancel()
        door.listener.socket.close()


def _bind(text: str) -> list[_Door]:
    """Bind every address that a text stands for. At once, for nothing may happen between this and what depends on it:
    a name is looked up on the spot.

    Raises:
        ApplianceError: one cannot be bound.
    """
    host, port = parse_peer(text)
    bound: list[_Door] = []
    try:
        if not host:
            return [_listen_everywhere(port)]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            bound.append(_Door(_listen(family, address)))
    except OSError as exc:
        _close(bound)
        raise ApplianceError(f"cannot listen on {text}: {exc.strerror or exc}") from exc
    return bound


def _listen_everywhere(port: int) -> _Door:
    """One socket for both families, as Broker has it, or for IPv4 where there is no IPv6."""
    try:
        return _Door(_listen(socket.AF_INET6, ("::", port), is_dual=True), is_dual=True)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise
        return _Door(_listen(socket.AF_INET, ("0.0.0.0", port)))  # noqa: S104 - it was asked for


def _listen(family: int, address: tuple[object, ...], *, is_dual: bool = False) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
