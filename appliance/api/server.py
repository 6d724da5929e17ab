"""The status endpoint: read-only HTTP/1.1 on a Unix socket, parsed by h11.

Who may connect is decided by the socket's permissions. Every connection is bounded in time and size, and there are
never more than a few at once.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import h11
import trio

from appliance.errors import ApplianceError

__all__ = ["StatusServer"]

REQUEST_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 16
SOCKET_MODE = 0o660


async def _listen(path: Path) -> trio.SocketListener:
    """A listening Unix socket in place of a stale one.

    Raises:
        ApplianceError: another process serves it, or the folder cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(os.fspath(path)) == 0:
                    raise ApplianceError(f"another process serves {path}", hint="is the appliance running already?")
            path.unlink()
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await sock.bind(os.fspath(path))
        except BaseException:
            sock.close()
            raise
        path.chmod(SOCKET_MODE)
        sock.listen(MAX_CONNECTIONS)
        return trio.SocketListener(sock)
    except OSError as exc:
        raise ApplianceError(
            f"cannot listen on {path}: {exc.strerror}", hint="set [api] listen to a socket in a folder of yours"
        ) from exc


class StatusServer:
    """Serves JSON documents by path. A service of the supervisor.

    Args:
        sockets: absolute paths of Unix sockets.
        documents: what GET answers, by path; called for each request.
    """

    def __init__(self, sockets: tuple[str, ...], documents: Mapping[str, Callable[[], bytes]]) -> None:
        self.sockets = sockets
        self._documents = documents
        self._limiter = trio.CapacityLimiter(MAX_CONNECTIONS)
        self._stopped = trio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners: list[trio.SocketListener] = []
        inodes: dict[str, int] = {}
        try:
            for path in self.sockets:
                listeners.append(await _listen(Path(path)))
                inodes[path] = Path(path).stat().st_ino
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, self._serve, listeners)
                task_status.started()
                await self._stopped.wait()
                nursery.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.socket.close()
            for path, inode in inodes.items():
                # Ours only: after a reload another instance may serve the same path.
                if Path(path).exists() and Path(path).stat().st_ino == inode:
                    Path(path).unlink()

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            with trio.move_on_after(REQUEST_TIMEOUT_S):
                async with self._limiter:
                    try:
                        await self._answer(stream)
                    except (h11.RemoteProtocolError, trio.BrokenResourceError):
                        return

    async def _answer(self, stream: trio.SocketStream) -> None:
        """Answer one request and end the connection."""
        connection = h11.Connection(h11.SERVER)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(16384))
            elif isinstance(event, h11.Request):
                break
            else:
                return
        status, body = self._find(event.method, event.target)
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
        if event.method != b"HEAD":
            data += connection.send(h11.Data(data=body)) or b""
        await stream.send_all(data)

    def _find(self, method: bytes, target: bytes) -> tuple[int, bytes]:
        if method not in (b"GET", b"HEAD"):
            return 405, b'{"title":"only GET is served here"}'
        document = self._documents.get(target.partition(b"?")[0].decode("ascii", "replace"))
        return (200, document()) if document else (404, b'{"title":"no such document"}')
