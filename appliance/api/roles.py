"""Who somebody is to the endpoint, and what he may do. Pure."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["NOBODY", "OWNER", "Identity", "Role"]


class Role(enum.IntEnum):
    """What one may do; each includes those before it."""

    OPEN = 0
    """What anybody may see who can connect: whether it is alive."""
    READ = 1
    OPERATE = 2

    @property
    def word(self) -> str:
        return self.name.lower()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A client, as far as it could be told who it is."""

    name: str
    """For the log: ``uid:1000`` or ``token:grafana``; empty if nobody is known."""
    role: Role = Role.OPEN
    address: str = ""
    """Where it comes from: ``pid 4711`` or ``192.0.2.1:5000``."""
    challenge: bool = False
    """Whether a token would help."""


NOBODY = Identity(name="")
OWNER = Identity(name="owner", role=Role.OPERATE)
