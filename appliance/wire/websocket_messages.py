"""The JSON messages of Zeek's WebSocket API: topics, acknowledgement, errors, events.

What Zeek sends may hold bytes that are not UTF-8, raw control characters and ``\\v``; it is read all the same, and that
it had to be mended is told. Its times have no zone: they are local times of the server up to 7.2, and UTC from 8.0 on.

Source: Zeek, ``src/cluster/websocket/WebSocket.cc``; Broker's manual, chapter WebSocket.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.json_text import dump_string, load
from appliance.zeek.json_values import render_members, value_from_object
from appliance.zeek.messages import Event, make_value, parse_message
from appliance.zeek.schema import as_bytes
from appliance.zeek.values import Set, Table, Timestamp, Value, Vector

__all__ = ["Ack", "Data", "Error", "ServerMessage", "make_data", "make_subscriptions", "parse_server_message"]

_SECOND_NS = 10**9
_EPOCH = datetime(1970, 1, 1)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_TAB = re.compile(rb"(?<!\\)(?:\\\\)*\\v")


class Ack(msgspec.Struct, frozen=True):
    """All subscriptions are active."""

    endpoint: str
    """What the server calls us; another one for each connection."""
    version: str
    """Of Zeek, or of Broker's library if its own server answers."""


class Error(msgspec.Struct, frozen=True):
    """Something was wrong with what we sent; nothing says with what."""

    code: str
    context: str


class Data(msgspec.Struct, frozen=True):
    """An event that was published."""

    topic: str
    """Bytes that are not UTF-8 are surrogates, as in all names from the network."""
    event: Event
    is_mended: bool = False
    """It was not JSON, or not UTF-8."""


ServerMessage: TypeAlias = Ack | Error | Data


def make_subscriptions(topics: Iterable[str]) -> bytes:
    """The first message: prefixes of topics; none to publish only."""
    return b"[" + b",".join(dump_string(_as_utf8(topic)) for topic in topics) + b"]"


def make_data(topic: str, event: Event, *, zone: tzinfo | None = None) -> bytes:
    """An event to publish.

    Args:
        topic: where.
        event: with reals that are finite.
        zone: of the server's local times; None: it speaks UTC.

    Raises:
        LocalProtocolError: a value that JSON cannot hold, or a string that is not UTF-8: a text frame of ours must be,
            and Zeek's server hangs up otherwise.
    """
    value: Value = make_value(event)
    if zone is not None:
        try:
            value = _map_times(value, lambda ns: _to_local(ns, zone))
        except ValueError as exc:
            raise LocalProtocolError(f"times that are the same in the server's zone: {exc}") from None
    members = render_members(value)
    data = b'{"type":"data-message","topic":' + dump_string(_as_utf8(topic)) + b"," + members + b"}"
    try:
        data.decode()
    except UnicodeDecodeError:
        raise LocalProtocolError("a string that is not UTF-8 cannot be sent over a WebSocket") from None
    return data


def _as_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError("a topic that is not UTF-8 cannot be sent over a WebSocket") from None


def parse_server_message(data: bytes, *, zone: tzinfo | None = None) -> ServerMessage:
    """Read what a server sends.

    Args:
        data: of one text message.
        zone: as for `make_data`.

    Raises:
        RemoteProtocolError: not such a message.
    """
    tree = load(data)
    kind = tree.get("type") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(kind, str):
        raise RemoteProtocolError("a message without type")
    if kind == "ack":
        return Ack(_text(tree, "endpoint"), _text(tree, "version"))
    if kind == "error":
        return Error(_text(tree, "code"), _text(tree, "context"))
    if kind != "data-message":
        raise RemoteProtocolError("a message of unknown type")
    value = value_from_object(tree)
    if zone is not None:
        try:
            value = _map_times(value, lambda ns: _from_local(ns, zone))
        except ValueError as exc:
            raise RemoteProtocolError(f"local times that are the same: {exc}") from None
    message = parse_message(value)
    if not isinstance(message, Event):
        raise RemoteProtocolError("a data message that is no event")
    return Data(_text(tree, "topic"), message, _is_mended(data))


def _text(tree: dict[str, object], key: str) -> str:
    value = tree.get(key)
    if not isinstance(value, str):
        raise RemoteProtocolError(f"a message without {key}")
    as_bytes(value)
    return value


def _is_mended(data: bytes) -> bool:
    if _CONTROL.search(data) or (rb"\v" in data and _TAB.search(data)):
        return True
    if data.isascii():
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def _map_times(value: Value, change: Callable[[int], int]) -> Value:
    match value:
        case Timestamp(ns):
            return Timestamp(change(ns))
        case Vector():
            return Vector(_map_times(each, change) for each in value)
        case Set():
            return Set(_map_times(each, change) for each in value)
        case Table():
            return Table((_map_times(key, change), _map_times(each, change)) for key, each in value.pairs())
    return value


def _offset_s(moment: datetime, zone: tzinfo) -> int:
    offset = zone.utcoffset(moment)
    return 0 if offset is None else int(offset.total_seconds())


def _from_local(ns: int, zone: tzinfo) -> int:
    try:
        return ns - _offset_s((_EPOCH + timedelta(seconds=ns // _SECOND_NS)).replace(tzinfo=zone), zone) * _SECOND_NS
    except OverflowError:
        return ns


def _to_local(ns: int, zone: tzinfo) -> int:
    try:
        moment = (_EPOCH + timedelta(seconds=ns // _SECOND_NS)).replace(tzinfo=UTC).astimezone(zone)
        return ns + _offset_s(moment, zone) * _SECOND_NS
    except OverflowError:
        return ns
