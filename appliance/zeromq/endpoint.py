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


def _refuse_live_socket(path: Path) -> None:
    """libzmq removes an existing socket file before it binds, even one that another process serves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return
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
            _refuse_live_socket(path)
        sock.bind(endpoint)
    except OSError as exc:  # zmq.ZMQError is none, see below
        raise ApplianceError(f"cannot bind {endpoint}: {exc.strerror or exc}", hint=_hint(exc.errno)) from exc
    except zmq.ZMQError as exc:
        raise ApplianceError(f"cannot bind {endpoint}: {exc.strerror}", hint=_hint(exc.errno)) from exc
    return sock.last_endpoint.decode().rstrip("\0")


def _hint(code: int | None) -> str:
    return {
        errno.EADDRINUSE: "another program uses this address, perhaps another appliance",
        errno.EADDRNOTAVAIL: "no interface of this machine has this address",
        errno.EACCES: "no permission for this address or folder",
        errno.ENODEV: "no interface of this machine has this address",
    }.get(code or 0, "")
