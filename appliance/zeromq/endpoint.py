"""Endpoints of ZeroMQ sockets: binding with errors that a person understands."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import zmq

from appliance.errors import ApplianceError

__all__ = ["bind", "is_public"]


def is_public(endpoint: str) -> bool:
    """Can another machine reach this endpoint?"""
    if not endpoint.startswith("tcp://"):
        return False
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return not (host.startswith("127.") or host in ("::1", "localhost"))


def _refuse_taken(path: Path) -> None:
    """libzmq removes whatever is at `path` before it binds: a socket that another process serves, even a plain file.

    Only a stale socket may go, which is one that refuses connections.
    """
    if not path.is_socket():
        if path.exists():
            raise OSError(errno.EEXIST, "there is something that is no socket", os.fspath(path))
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # if its backlog is full, a connect would wait for whoever serves it
        code = probe.connect_ex(os.fspath(path))
    if code == errno.EACCES:
        raise OSError(code, "somebody else's socket", os.fspath(path))
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, "another process serves this socket", os.fspath(path))


def bind(sock: zmq.Socket[bytes], endpoint: str) -> str:
    """Bind `sock`; returns the endpoint as bound, with the port that was chosen for port 0.

    The folder of an ``ipc`` endpoint is made with mode 0700 if it is missing: whoever can connect can send records.

    Raises:
        ApplianceError: the endpoint is in use, not ours, or malformed; the text says which.
    """
    try:
        if endpoint.startswith("ipc://"):
            path = Path(endpoint.removeprefix("ipc://"))
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_taken(path)
        # For each endpoint anew: with it, libzmq binds an IPv4 address as one that is mapped into IPv6.
        sock.setsockopt(zmq.IPV6, int("[" in endpoint))
        sock.bind(endpoint)
    except OSError as exc:  # zmq.ZMQError is none, see below
        raise ApplianceError(f"cannot bind {endpoint}: {exc.strerror or exc}", hint=_hint(exc.errno)) from exc
    except zmq.ZMQError as exc:
        # Not its own text, which tells the endpoint once more.
        raise ApplianceError(f"cannot bind {endpoint}: {zmq.strerror(exc.errno or 0)}", hint=_hint(exc.errno)) from exc
    return sock.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


def _hint(code: int | None) -> str:
    return {
        errno.EADDRINUSE: "another program uses this address, perhaps another appliance",
        errno.EADDRNOTAVAIL: "no interface of this machine has this address",
        errno.EACCES: "no permission for this address or folder",
        errno.EEXIST: "remove it, or bind another path",
        errno.ENODEV: "no interface of this machine has this address",
    }.get(code or 0, "")
