"""What masters and clones want to be done: messages to send, changes to keep, what others may want to know."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from appliance.wire.names import NIL, EndpointId

from .commands import NOBODY, Command, Entity, StoreMessage

__all__ = ["Change", "ChangeKind", "Outgoing", "StoreChange", "outgoing"]


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A command on its way."""

    is_to_master: bool
    """On the master's topic, else on that of the clones."""
    endpoint: EndpointId
    """The one that shall get it, or `NIL`."""
    message: StoreMessage


def outgoing(
    sender: Entity,
    command: Command,
    *,
    is_to_master: bool,
    endpoint: EndpointId = NIL,
    receiver: Entity = NOBODY,
    seq: int = 0,
) -> Outgoing:
    """Put a command into its envelope."""
    return Outgoing(is_to_master, endpoint, StoreMessage(seq, sender, receiver, command))


class ChangeKind(enum.StrEnum):
    """What happened to an entry."""

    INSERT = "insert"
    UPDATE = "update"
    ERASE = "erase"
    EXPIRE = "expire"
    CLEAR = "clear"


class StoreChange(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to the content of a store."""

    kind: ChangeKind
    key: bytes
    """Empty if everything was removed."""
    value: bytes | None
    """The new value."""
    old: bytes | None
    """The value before."""
    expiry_ns: int | None
    """When the new value is over, nanoseconds since the epoch; only a master knows."""
    publisher: Entity
    """Who wanted it."""


Change: TypeAlias = StoreChange
