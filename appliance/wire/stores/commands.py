"""What stores say to each other, as Python objects. Keys and values are in Broker's binary format, with their type.

Source: Broker, ``internal_command.hh``, ``entity_id.hh``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, TypeAlias

import msgspec

from appliance.wire.names import NIL, EndpointId

__all__ = [
    "NOBODY",
    "AckClone",
    "Action",
    "Add",
    "AttachWriter",
    "Clear",
    "Command",
    "CumulativeAck",
    "Entity",
    "Erase",
    "Expire",
    "Keepalive",
    "Nack",
    "Put",
    "PutUnique",
    "PutUniqueResult",
    "RetransmitFailed",
    "StoreMessage",
    "Subtract",
    "clone_topic",
    "master_topic",
    "signed",
]


class Entity(NamedTuple):
    """One master, clone or writer of an endpoint."""

    endpoint: EndpointId
    number: int
    """Unique within the endpoint, 64 bits; never used again."""

    @property
    def is_nobody(self) -> bool:
        return self.endpoint == NIL


NOBODY = Entity(NIL, 0)


class Put(msgspec.Struct, frozen=True, gc=False):
    """Set a value."""

    key: bytes
    value: bytes
    expiry_ns: int | None
    """From now; None: never, even if it had one."""
    publisher: Entity


class PutUnique(msgspec.Struct, frozen=True, gc=False):
    """Set a value if there is none, and tell."""

    key: bytes
    value: bytes
    expiry_ns: int | None
    who: Entity
    request: int
    publisher: Entity


class PutUniqueResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to `PutUnique`."""

    is_inserted: bool
    who: Entity
    request: int
    publisher: Entity


class Erase(msgspec.Struct, frozen=True, gc=False):
    """Remove a value."""

    key: bytes
    publisher: Entity


class Expire(msgspec.Struct, frozen=True, gc=False):
    """The time of a value is over."""

    key: bytes
    publisher: Entity


class Add(msgspec.Struct, frozen=True, gc=False):
    """Add to a number or time, append to a string or vector, insert into a set or table."""

    key: bytes
    value: bytes
    init_type: int
    """Number of the type that the value has if there is none yet."""
    expiry_ns: int | None
    publisher: Entity


class Subtract(msgspec.Struct, frozen=True, gc=False):
    """The opposite of `Add`."""

    key: bytes
    value: bytes
    expiry_ns: int | None
    publisher: Entity


class Clear(msgspec.Struct, frozen=True, gc=False):
    """Remove everything."""

    publisher: Entity


class AttachWriter(msgspec.Struct, frozen=True, gc=False):
    """A writer begins: its events follow `offset`."""

    offset: int
    heartbeat: int
    """In ticks of 100 ms."""


class Keepalive(msgspec.Struct, frozen=True, gc=False):
    """The producer lives, and this was its last event."""

    seq: int


class CumulativeAck(msgspec.Struct, frozen=True, gc=False):
    """Everything up to this event has arrived."""

    seq: int


class Nack(msgspec.Struct, frozen=True, gc=False):
    """These events are missing; ``0`` is the handshake."""

    seqs: tuple[int, ...]


class AckClone(msgspec.Struct, frozen=True, gc=False):
    """A clone is attached: this is the content, and events follow `offset`."""

    offset: int
    heartbeat: int
    """In ticks of 100 ms."""
    entries: Collection[tuple[bytes, bytes]]


class RetransmitFailed(msgspec.Struct, frozen=True, gc=False):
    """An event is not there any more."""

    seq: int


Action: TypeAlias = Put | PutUnique | PutUniqueResult | Erase | Expire | Add | Subtract | Clear
"""What is numbered."""
Command: TypeAlias = Action | AttachWriter | Keepalive | CumulativeAck | Nack | AckClone | RetransmitFailed


def signed(action: Action, who: Entity) -> Action:
    """An action with the one who wants it, if it does not say so itself."""
    return msgspec.structs.replace(action, publisher=who) if action.publisher.is_nobody else action


class StoreMessage(msgspec.Struct, frozen=True, gc=False):
    """A command with its address. Who it is routed to is the envelope's affair."""

    seq: int
    """Of an action: its number. Of `AckClone`: its offset. Else 0."""
    sender: Entity
    receiver: Entity
    command: Command


def master_topic(store: str) -> str:
    """Where a store's master listens."""
    return f"{store}/<$>/data/master"


def clone_topic(store: str) -> str:
    """Where a store's clones listen."""
    return f"{store}/<$>/data/clone"
