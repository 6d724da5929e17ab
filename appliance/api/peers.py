"""Who is at the other end of a Unix socket, by what the kernel says, and what he may do.

Source: unix(7), socket(7): SO_PEERCRED, SO_PEERGROUPS.
"""

from __future__ import annotations

import grp
import os
import socket
import struct

import msgspec

from .roles import Identity, Role

__all__ = ["Credentials", "Rights", "credentials_of"]

_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)
_MAX_GROUPS_BYTES = 1024  # more getsockopt(2) does not give through Python: 256 groups


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A process at the moment when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]
    """Its own and the supplementary ones."""


def credentials_of(sock: socket.socket) -> Credentials:
    """The process behind a connected Unix socket.

    Raises:
        OSError: the kernel does not say.
    """
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS_BYTES)
    except OSError:  # somebody with so many groups has his own one here
        raw = b""
    return Credentials(pid=pid, uid=uid, groups=frozenset({gid, *(each for (each,) in struct.iter_unpack("I", raw))}))


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what on a Unix socket."""

    owner: int
    """May operate, as may root."""
    read_group: int
    operate_group: int | None = None
    """Its members may operate, too."""

    @classmethod
    def of(cls, path: str, operate_group: str = "") -> Rights:
        """Those of a socket: its group may read.

        Raises:
            OSError: there is no such socket.
            KeyError: there is no such group.
        """
        found = os.stat(path)  # noqa: PTH116 - no `Path` is around
        group = grp.getgrnam(operate_group).gr_gid if operate_group else None
        return cls(owner=os.geteuid(), read_group=found.st_gid, operate_group=group)

    def identify(self, peer: Credentials) -> Identity:
        """Who that is, and what he may do."""
        role = Role.OPEN
        if peer.uid in (0, self.owner) or self.operate_group in peer.groups:
            role = Role.OPERATE
        elif self.read_group in peer.groups:
            role = Role.READ
        return Identity(name=f"uid:{peer.uid}", role=role, address=f"pid {peer.pid}")
