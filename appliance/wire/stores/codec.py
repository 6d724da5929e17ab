"""Commands of stores as bytes, both ways.

Values are not made into Python objects here, only measured: most of them are passed on or kept as they are.

Source: Broker, ``format/bin.hh``, ``command_envelope.cc``, ``internal_command.hh``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice
from typing import Any

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.binary import MAX_DEPTH, decode, encode, read_varbyte, write_varbyte
from appliance.zeek.binary_atoms import FIXED_READERS

from .commands import (
    AckClone,
    Add,
    AttachWriter,
    Clear,
    Command,
    CumulativeAck,
    Entity,
    Erase,
    Expire,
    Keepalive,
    Nack,
    Put,
    PutUnique,
    PutUniqueResult,
    RetransmitFailed,
    StoreMessage,
    Subtract,
)

__all__ = ["canonical", "decode_store_message", "encode_store_message", "skip_values"]

_HEADER = struct.Struct(">Q16sQ16sQB")
_ENTITY = struct.Struct(">16sQ")
_UINT64 = struct.Struct(">Q")
_INT64 = struct.Struct(">q")
_HANDSHAKE = struct.Struct(">QH")
_SIZES = tuple(FIXED_READERS[tag][0] if tag in FIXED_READERS else -1 for tag in range(256))
_STRING, _ENUM, _SET, _TABLE, _VECTOR = 5, 11, 12, 13, 14
_LONG = 0x80


def skip_values(data: bytes, offset: int, count: int = 1, depth: int = MAX_DEPTH) -> int:
    """Where `count` values that begin at an offset end. What is in values of fixed size is not looked at.

    Raises:
        RemoteProtocolError: no values, or containers too deep.
    """
    end = _skip(data, offset, count, depth)
    if end > len(data):
        raise RemoteProtocolError("a value ends too early")
    return end


def _skip(data: bytes, offset: int, count: int, depth: int) -> int:
    limit = len(data)
    for _ in range(count):
        if offset >= limit:
            raise RemoteProtocolError("a value ends too early")
        tag = data[offset]
        size = _SIZES[tag]
        offset += 1
        if size >= 0:
            offset += size
            continue
        if not _STRING <= tag <= _VECTOR:
            raise RemoteProtocolError(f"there is no type of value {tag}")
        length, offset = read_varbyte(data, offset)
        if tag in (_STRING, _ENUM):
            offset += length
            continue
        if depth <= 0:
            raise RemoteProtocolError("values nested too deep")
        items = 2 * length if tag == _TABLE else length
        if items > limit - offset:
            raise RemoteProtocolError(f"a container of {items} values, more than there are bytes")
        offset = _skip(data, offset, items, depth - 1)
    return offset


def canonical(value: bytes) -> bytes:
    """The one form of a value among all that mean the same: how keys are compared.

    Raises:
        RemoteProtocolError: not a value.
    """
    tag = value[0] if value else -1
    if tag not in (1, 4, 7) and _SIZES[tag] >= 0:  # these three have bytes that mean the same
        return value
    if tag in (_STRING, _ENUM) and value[1] < _LONG:
        return value
    return encode(decode(value), is_canonical=True)


# ── reading ──


class _Reader:
    """Walks through the body of a command."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset

    def value(self) -> bytes:
        begin, self.offset = self.offset, skip_values(self.data, self.offset)
        return self.data[begin : self.offset]

    def key(self) -> bytes:
        return canonical(self.value())

    def byte(self) -> int:
        self.offset += 1
        return self.data[self.offset - 1]

    def flag(self) -> bool:
        return self.byte() != 0

    def number(self) -> int:
        (number,) = _UINT64.unpack_from(self.data, self.offset)
        self.offset += 8
        return int(number)

    def entity(self) -> Entity:
        entity = Entity(*_ENTITY.unpack_from(self.data, self.offset))
        self.offset += _ENTITY.size
        return entity

    def expiry(self) -> int | None:
        if not self.byte():
            return None
        (span,) = _INT64.unpack_from(self.data, self.offset)
        self.offset += 8
        return int(span)

    def handshake(self) -> tuple[int, int]:
        offset, heartbeat = _HANDSHAKE.unpack_from(self.data, self.offset)
        self.offset += _HANDSHAKE.size
        return offset, heartbeat

    def count(self, least: int) -> int:
        """How many of something follow, each of which has at least so many bytes."""
        count, self.offset = read_varbyte(self.data, self.offset)
        if count * least > len(self.data) - self.offset:
            raise RemoteProtocolError(f"{count} elements, more than there are bytes")
        return count


def _read_nack(reader: _Reader) -> Nack:
    count = reader.count(8)
    seqs = struct.unpack_from(f">{count}Q", reader.data, reader.offset)
    reader.offset += 8 * count
    return Nack(seqs)


def _read_ack_clone(reader: _Reader) -> AckClone:
    offset, heartbeat = reader.handshake()
    entries = tuple([(reader.key(), reader.value()) for _ in range(reader.count(2))])
    return AckClone(offset, heartbeat, entries)


_READERS: tuple[Callable[[_Reader], Command], ...] = (
    lambda r: Put(r.key(), r.value(), r.expiry(), r.entity()),
    lambda r: PutUnique(r.key(), r.value(), r.expiry(), r.entity(), r.number(), r.entity()),
    lambda r: PutUniqueResult(r.flag(), r.entity(), r.number(), r.entity()),
    lambda r: Erase(r.key(), r.entity()),
    lambda r: Expire(r.key(), r.entity()),
    lambda r: Add(r.key(), r.value(), r.byte(), r.expiry(), r.entity()),
    lambda r: Subtract(r.key(), r.value(), r.expiry(), r.entity()),
    lambda r: Clear(r.entity()),
    lambda r: AttachWriter(*r.handshake()),
    lambda r: Keepalive(r.number()),
    lambda r: CumulativeAck(r.number()),
    _read_nack,
    _read_ack_clone,
    lambda r: RetransmitFailed(r.number()),
)


def decode_store_message(payload: bytes) -> StoreMessage:
    """Read a command.

    Args:
        payload: of a node message of the kind command.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        seq, sender, sender_number, receiver, receiver_number, index = _HEADER.unpack_from(payload)
        if index >= len(_READERS):
            raise RemoteProtocolError(f"there is no store command {index}")
        reader = _Reader(payload, _HEADER.size)
        command = _READERS[index](reader)
    except (struct.error, IndexError):
        raise RemoteProtocolError("a store command ends too early") from None
    if reader.offset != len(payload):
        raise RemoteProtocolError(f"{len(payload) - reader.offset} bytes behind a store command")
    return StoreMessage(seq, Entity(sender, sender_number), Entity(receiver, receiver_number), command)


# ── writing ──


def _expiry(span_ns: int | None) -> bytes:
    return b"\0" if span_ns is None else b"\1" + _INT64.pack(span_ns)


def _entity(entity: Entity) -> bytes:
    return _ENTITY.pack(*entity)


def _write_ack_clone(command: AckClone) -> bytes:
    written = bytearray(_HANDSHAKE.pack(command.offset, command.heartbeat) + write_varbyte(len(command.entries)))
    entries = iter(command.entries)
    # Some at a time: to join a million of them at once would keep other threads from running for long.
    while some := list(islice(entries, 1000)):
        written += b"".join([part for entry in some for part in entry])
    return bytes(written)


def _write_nack(command: Nack) -> bytes:
    return write_varbyte(len(command.seqs)) + struct.pack(f">{len(command.seqs)}Q", *command.seqs)


_WRITERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    Put: (0, lambda c: c.key + c.value + _expiry(c.expiry_ns) + _entity(c.publisher)),
    PutUnique: (
        1,
        lambda c: (
            c.key + c.value + _expiry(c.expiry_ns) + _entity(c.who) + _UINT64.pack(c.request) + _entity(c.publisher)
        ),
    ),
    PutUniqueResult: (
        2,
        lambda c: bytes((c.is_inserted,)) + _entity(c.who) + _UINT64.pack(c.request) + _entity(c.publisher),
    ),
    Erase: (3, lambda c: c.key + _entity(c.publisher)),
    Expire: (4, lambda c: c.key + _entity(c.publisher)),
    Add: (5, lambda c: c.key + c.value + bytes((c.init_type,)) + _expiry(c.expiry_ns) + _entity(c.publisher)),
    Subtract: (6, lambda c: c.key + c.value + _expiry(c.expiry_ns) + _entity(c.publisher)),
    Clear: (7, lambda c: _entity(c.publisher)),
    AttachWriter: (8, lambda c: _HANDSHAKE.pack(c.offset, c.heartbeat)),
    Keepalive: (9, lambda c: _UINT64.pack(c.seq)),
    CumulativeAck: (10, lambda c: _UINT64.pack(c.seq)),
    Nack: (11, _write_nack),
    AckClone: (12, _write_ack_clone),
    RetransmitFailed: (13, lambda c: _UINT64.pack(c.seq)),
}


def encode_store_message(message: StoreMessage) -> bytes:
    """Write a command: the payload of a node message.

    Raises:
        LocalProtocolError: a number out of range.
    """
    index, write = _WRITERS[type(message.command)]
    try:
        return _HEADER.pack(message.seq, *message.sender, *message.receiver, index) + write(message.command)
    except (struct.error, ValueError) as exc:
        raise LocalProtocolError(f"a store command that cannot be transmitted: {exc}") from exc
