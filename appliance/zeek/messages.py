"""Zeek's messages: what Zeek nodes put into Broker's values to talk to each other.

Every message is ``vector(count 1, count type, content)``. What comes behind the elements that we know is ignored, as
Zeek does.

Source: Broker, ``broker/zeek.hh`` and ``zeek.cc``; Zeek, ``src/broker/Manager.cc``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek import binary
from appliance.zeek.binary import Limits
from appliance.zeek.log_create import LogCreate, expect, expect_vector
from appliance.zeek.schema import as_bytes, as_text
from appliance.zeek.values import Count, EnumValue, Timestamp, Value, Vector

__all__ = [
    "VERSION",
    "Batch",
    "Event",
    "IdentifierUpdate",
    "LogCreate",
    "LogWrite",
    "Message",
    "Unknown",
    "decode_message",
    "encode_message",
    "make_value",
    "parse_message",
]

VERSION = 1
_NETWORK_TIMESTAMP = 1
_EVENT, _LOG_CREATE, _LOG_WRITE, _IDENTIFIER_UPDATE, _BATCH = 1, 2, 3, 4, 5


class Event(msgspec.Struct, frozen=True):
    """A call of an event's handlers."""

    name: str
    """Full name with its module, e.g. ``Cluster::hello``."""
    args: Vector = Vector()
    metadata: tuple[tuple[int, Value], ...] | None = None
    """Keys and values, None if the sender put none. Zeek means its own with keys below 200."""

    @property
    def timestamp(self) -> Timestamp | None:
        """Network time of the sender, if it is told. Zeek tells -1 s if it does not know."""
        for key, value in self.metadata or ():
            if key == _NETWORK_TIMESTAMP and isinstance(value, Timestamp):
                return value
        return None

    @classmethod
    def make(cls, name: str, *args: Value, timestamp: Timestamp | None = None) -> Event:
        """An event with some arguments, and metadata only if there is a timestamp."""
        metadata = None if timestamp is None else ((_NETWORK_TIMESTAMP, timestamp),)
        return cls(name, Vector(args), metadata)


class LogWrite(msgspec.Struct, frozen=True):
    """One record of a log that a `LogCreate` has announced."""

    stream: str
    writer: str
    path: str
    serial: bytes
    """The record with its field count, as `records.RecordCodec` reads it."""


class IdentifierUpdate(msgspec.Struct, frozen=True):
    """A new value for one of Zeek's global variables. Obsolete."""

    name: str
    value: Value


class Batch(msgspec.Struct, frozen=True):
    """Several messages in one."""

    messages: tuple[Message, ...]


class Unknown(msgspec.Struct, frozen=True):
    """A message of a version or type that we do not know; to be counted and left alone."""

    version: int
    kind: int
    """0 if the other version has no type in its place."""


Message: TypeAlias = Event | LogCreate | LogWrite | IdentifierUpdate | Batch | Unknown
"""Any of Zeek's messages."""


def decode_message(data: bytes, *, limits: Limits | None = None) -> Message:
    """Read a message from its bytes.

    Raises:
        RemoteProtocolError: not a message; a `Batch` with a bad message in it is bad as a whole, as it is for Zeek.
    """
    if limits is not None:
        return parse_message(binary.decode(data, limits=limits))
    event = _decode_event(data) if data.startswith(_EVENT_HEAD) else None
    return parse_message(binary.decode(data)) if event is None else event


def _decode_event(data: bytes) -> Event | None:
    """An event in the form in which all of Zeek's versions write it, in half the time; None if it has another."""
    at = len(_EVENT_HEAD)
    if data[at : at + 1] not in _EVENT_SIZES:
        return None
    try:
        (name, args), end = binary.decode_some(data, at + 1, 2, limits=_EVENT_LIMITS)
    except RemoteProtocolError:  # the general way knows why, and whether it is so
        return None
    if type(name) is not bytes or type(args) is not Vector:
        return None
    if data[at] == 2:
        return Event(as_text(name), args) if end == len(data) else None
    if len(data) != end + len(_STAMP_HEAD) + 8 or not data.startswith(_STAMP_HEAD, end):
        return None
    stamp = Timestamp(int.from_bytes(data[-8:], signed=True))
    return Event(as_text(name), args, ((_NETWORK_TIMESTAMP, stamp),))


def encode_message(message: Message) -> bytes:
    """Write a message.

    Raises:
        LocalProtocolError: a value in it that Broker cannot hold, or an `Unknown`.
        ValueError: a name that cannot be transmitted.
    """
    if type(message) is not Event:
        return binary.encode(make_value(message))
    items = _make_event(message)
    return _EVENT_HEAD + _EVENT_SIZES[len(items) - 2] + binary.encode_some(items, max_depth=binary.MAX_DEPTH - 2)


def parse_message(value: Value) -> Message:
    """Read a message from a value.

    Raises:
        RemoteProtocolError: not a message.
    """
    if not isinstance(value, Vector) or not value or not isinstance(value[0], Count):
        raise RemoteProtocolError("a value that is not a message")
    version = value[0].value
    if version != VERSION:
        kind = value[1] if len(value) > 1 else None
        return Unknown(version, kind.value if isinstance(kind, Count) else 0)
    kind_value, content = expect_vector(value, 3)[1:3]
    kind_number = expect(kind_value, Count).value
    parse = _PARSERS.get(kind_number)
    return Unknown(version, kind_number) if parse is None else parse(expect_vector(content, 0))


def make_value(message: Message) -> Vector:
    """Write a message as a value.

    Raises:
        LocalProtocolError: an `Unknown`.
        ValueError: a name that cannot be transmitted.
    """
    kind, content = _make_content(message)
    return Vector((Count(VERSION), Count(kind), content))


def _make_content(message: Message) -> tuple[int, Vector]:
    match message:
        case Event():
            return _EVENT, Vector(_make_event(message))
        case LogCreate():
            return _LOG_CREATE, message.make_content()
        case LogWrite(stream, writer, path, serial):
            return _LOG_WRITE, Vector((EnumValue(stream), EnumValue(writer), as_bytes(path), serial))
        case IdentifierUpdate(name, value):
            return _IDENTIFIER_UPDATE, Vector((as_bytes(name), value))
        case Batch(messages):
            return _BATCH, Vector(make_value(each) for each in messages)
        case _:
            raise LocalProtocolError(f"not a message to send: {message!r}")


def _parse_event(content: Vector) -> Event:
    name, args = expect_vector(content, 2)[:2]
    metadata = None
    if len(content) > 2:
        metadata = tuple(_parse_metadata(entry) for entry in expect_vector(content[2], 0))
    return Event(as_text(expect(name, bytes)), expect_vector(args, 0), metadata)


def _parse_metadata(entry: Value) -> tuple[int, Value]:
    if not isinstance(entry, Vector) or len(entry) != 2:
        raise RemoteProtocolError("metadata of an event that is not a pair")
    key = expect(entry[0], Count).value
    if key == _NETWORK_TIMESTAMP and not isinstance(entry[1], Timestamp):
        raise RemoteProtocolError("a network timestamp of an event that is not a timestamp")
    return key, entry[1]


def _make_event(event: Event) -> list[Value]:
    items: list[Value] = [as_bytes(event.name), event.args]
    if event.metadata is not None:
        items.append(Vector(Vector((Count(key), value)) for key, value in event.metadata))
    return items


def _parse_log_write(content: Vector) -> LogWrite:
    stream, writer, path, serial = expect_vector(content, 4)[:4]
    return LogWrite(
        expect(stream, EnumValue).name,
        expect(writer, EnumValue).name,
        as_text(expect(path, bytes)),
        expect(serial, bytes),
    )


def _parse_identifier_update(content: Vector) -> IdentifierUpdate:
    name, value = expect_vector(content, 2)[:2]
    return IdentifierUpdate(as_text(expect(name, bytes)), value)


def _parse_batch(content: Vector) -> Batch:
    # Values are nested no deeper than a decoder allows, and so are batches.
    return Batch(tuple(parse_message(message) for message in content))


_PARSERS: dict[int, Callable[[Vector], Message]] = {
    _EVENT: _parse_event,
    _LOG_CREATE: LogCreate.parse,
    _LOG_WRITE: _parse_log_write,
    _IDENTIFIER_UPDATE: _parse_identifier_update,
    _BATCH: _parse_batch,
}

_EVENT_HEAD = binary.encode(Vector((Count(VERSION), Count(_EVENT), Vector())))[:-1]
"""How an event's bytes begin, up to the number of its elements."""
_EVENT_SIZES = (b"\2", b"\3")
_STAMP_HEAD = binary.encode(Vector((Vector((Count(_NETWORK_TIMESTAMP), Timestamp(0))),)))[:-8]
"""Metadata with nothing but a network timestamp, up to its number."""
_EVENT_LIMITS = Limits(depth=binary.MAX_DEPTH - 2, values=Limits().values - 8)
"""What is left of the usual limits for name and arguments, if there is metadata as well."""
