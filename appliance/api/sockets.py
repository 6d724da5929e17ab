"""Listening sockets of the endpoint: bound at once, in place of stale ones, and left tidily."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD

import structlog
import trio

from appliance.config.addresses import parse_peer
from appliance.errors import ApplianceError
from appliance.runtime.backoff import Backoff
from appliance.runtime.logs import Throttle

__all__ = ["BACKLOG", "SOCKET_MODE", "Bounded", "Place", "has_unread", "listen_tcp", "listen_unix"]

log = structlog.get_logger("api")

SOCKET_MODE = 0o660
BACKLOG = 64
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def listen_unix(path: Path, group: str = "") -> socket.socket:
    """A listening Unix socket in place of a stale one; the few calls it takes do not block.

    Args:
        path: absolute.
        group: that the socket is for; empty: the one that new files get.

    Raises:
        ApplianceError: another process serves it, or the folder or the group cannot be used.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.is_socket():
            _remove_stale(path)
        sock.bind(os.fspath(path))
        if group:
            shutil.chown(path, group=group)
        path.chmod(SOCKET_MODE)
        sock.listen(BACKLOG)
    except (OSError, LookupError) as exc:
        sock.close()
        told = f"there is no group {group!r}" if isinstance(exc, LookupError) else exc.strerror or exc
        hint = "set [api] listen to a socket in a folder of yours"
        raise ApplianceError(f"cannot listen on {path}: {told}", hint=hint) from exc
    except ApplianceError:
        sock.close()
        raise
    return sock


async def listen_tcp(text: str) -> list[trio.SocketListener]:
    """Listeners on an address ``host:port``, one for each that the host's name has.

    Raises:
        ApplianceError: it cannot be bound.
    """
    host, port = parse_peer(text)
    try:
        return await trio.open_tcp_listeners(port, host=host or None, backlog=BACKLOG)
    except OSError as exc:
        raise ApplianceError(f"cannot listen on {text}: {exc.strerror or exc}") from exc


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # with a full backlog, a connect would wait for whoever serves it
        code = probe.connect_ex(os.fspath(path))
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ApplianceError(f"another process serves {path}", hint="is the appliance running already?")
    path.unlink(missing_ok=True)


class Place:
    """A socket file of ours: another instance may have put its own there since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino

    def leave(self) -> None:
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            return


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection only while there is a place for it; the others wait in the kernel and cost nothing here.
    They wait as well while the process has no descriptor for them, which is told once.

    Args:
        listener: accepts them.
        places: one for each; whoever serves a connection gives it back.
        make_room: is asked to end a connection that does nothing when there is no place and somebody waits; it returns
            in how many seconds to ask again, 0: not until there was a place.
    """

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore, make_room: Callable[[], float]) -> None:
        self._listener, self._places, self._make_room = listener, places, make_room
        self._throttle = Throttle()

    async def accept(self) -> trio.SocketStream:
        await self._take_place()
        try:
            return await self._accept()
        except BaseException:
            self._places.release()
            raise

    async def _take_place(self) -> None:
        if not self._places.value:
            await trio.lowlevel.wait_readable(self._listener.socket)
            while not self._places.value and (delay_s := self._make_room()):
                with trio.move_on_after(delay_s):
                    await self._places.acquire()
                    return
        await self._places.acquire()

    async def _accept(self) -> trio.SocketStream:
        backoff = Backoff(first_s=0.1, longest_s=1.0)
        while True:
            try:
                return await self._listener.accept()
            except OSError as exc:
                if exc.errno not in _NO_ROOM:
                    raise
                if (held := self._throttle.admit("accept")) is not None:
                    log.warning("cannot accept connections, trying again", error=exc.strerror, more=held)
            await trio.sleep(backoff.next_s())

    async def aclose(self) -> None:
        await self._listener.aclose()


def has_unread(stream: object) -> bool:
    """Whether the other side of a socket, also under TLS, has sent something that was not read yet."""
    sock = getattr(getattr(stream, "transport_stream", stream), "socket", None)
    try:
        return sock is not None and any(ioctl(sock.fileno(), FIONREAD, bytes(4)))
    except (OSError, ValueError):  # it is closed
        return False
