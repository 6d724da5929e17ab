"""Broker's data values as JSON, as on its WebSocket interface.

A value is an object of two keys, ``@data-type`` and ``data``. JSON written here is read by Zeek and Broker; it holds
more than theirs, which cut timestamps to milliseconds and reals to six digits behind the point.

Source: Broker's manual, chapter WebSocket; ``broker/format/json.cc``, ``broker/internal/json.cc``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.binary import MAX_DEPTH
from appliance.zeek.json_moment import parse_timespan, parse_timestamp, render_timespan, render_timestamp
from appliance.zeek.json_text import dump_string, load
from appliance.zeek.schema import as_bytes, as_text
from appliance.zeek.values import (
    PROTOCOLS,
    Address,
    Count,
    EnumValue,
    Port,
    Set,
    Subnet,
    Table,
    Timespan,
    Timestamp,
    Value,
    Vector,
)

__all__ = ["decode_json", "encode_json", "render_members", "value_from_object"]


def decode_json(data: bytes) -> Value:
    """Read a value from its JSON text.

    Raises:
        RemoteProtocolError: not a value.
    """
    return value_from_object(load(data))


def encode_json(value: Value) -> bytes:
    """Write a value as JSON text, in one line; UTF-8 exactly if all its strings are.

    Raises:
        LocalProtocolError: not a value of Broker, a real that JSON cannot hold, or containers too deep.
    """
    return b"{" + render_members(value) + b"}"


def render_members(value: Value) -> bytes:
    """The two members of a value's object without its braces, for messages that have more members.

    Raises:
        LocalProtocolError: as `encode_json`.
    """
    try:
        return _render(value, MAX_DEPTH)
    except (TypeError, ValueError, AttributeError, LookupError) as exc:
        raise LocalProtocolError(f"a value that JSON cannot hold: {exc}") from exc


def value_from_object(tree: object) -> Value:
    """Take a value out of parsed JSON; other members of its object are ignored.

    Args:
        tree: what `json_text.load` returned, or the part of it that has the keys ``@data-type`` and ``data``.

    Raises:
        RemoteProtocolError: not a value.
    """
    try:
        return _parse(tree, MAX_DEPTH)
    except ValueError as exc:
        raise RemoteProtocolError(f"not a value in JSON: {exc}") from exc


def _parse(tree: object, depth: int) -> Value:
    if not isinstance(tree, Mapping) or "data" not in tree:
        raise ValueError("no object with a type and data")
    kind, data = tree.get("@data-type"), tree["data"]
    parse = _ATOM_PARSERS.get(kind) if isinstance(kind, str) else None
    if parse is not None:
        return parse(data)
    if kind not in ("vector", "set", "table") or not isinstance(data, list):
        raise ValueError("an unknown type, or a container that is no array")
    if depth <= 0:
        raise ValueError("nested too deep")
    if kind == "vector":
        return Vector([_parse(item, depth - 1) for item in data])
    if kind == "set":
        return Set([_parse(item, depth - 1) for item in data])
    return Table([_parse_pair(item, depth - 1) for item in data])


def _parse_pair(pair: object, depth: int) -> tuple[Value, Value]:
    if not isinstance(pair, Mapping) or "key" not in pair or "value" not in pair:
        raise ValueError("an entry of a table without key or value")
    return _parse(pair["key"], depth), _parse(pair["value"], depth)


def _parse_bool(data: object) -> bool:
    if not isinstance(data, bool):
        raise ValueError("a boolean that is none")
    return data


def _parse_int(data: object, low: int, high: int) -> int:
    if not isinstance(data, int) or isinstance(data, bool) or not low <= data < high:
        raise ValueError("not an integer, or out of range")
    return data


def _parse_real(data: object) -> float:
    # Broker refuses a real without point and exponent, too.
    if not isinstance(data, float):
        raise ValueError("a real that is none")
    return data


def _parse_text(data: object) -> str:
    if not isinstance(data, str):
        raise ValueError("no text where there should be one")
    return data


def _parse_string(data: object) -> bytes:
    return as_bytes(_parse_text(data))


def _parse_port(data: object) -> Port:
    number, _, protocol = _parse_text(data).partition("/")
    if not (number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) <= 0xFFFF):
        raise ValueError("a port that is none")
    return Port(int(number), _PROTOCOLS.get(protocol, 0))


_PROTOCOLS = {"": 1, "tcp": 1, "udp": 2, "icmp": 3}

_ATOM_PARSERS: dict[str, Callable[[Any], Value]] = {
    "none": lambda _data: None,
    "boolean": _parse_bool,
    "count": lambda data: Count(_parse_int(data, 0, 1 << 64)),
    "integer": lambda data: _parse_int(data, -1 << 63, 1 << 63),
    "real": _parse_real,
    "string": _parse_string,
    "enum-value": lambda data: EnumValue(as_text(_parse_string(data))),
    "address": lambda data: Address.unmap(Address.parse(_parse_text(data)).wide),
    "subnet": lambda data: Subnet.parse(_parse_text(data)).masked(),
    "port": _parse_port,
    "timestamp": lambda data: Timestamp(parse_timestamp(_parse_text(data))),
    "timespan": lambda data: Timespan(parse_timespan(_parse_text(data))),
}


def _render(value: Value, depth: int) -> bytes:
    atom = _ATOM_RENDERERS.get(type(value))
    if atom is not None:
        kind, render = atom
        return _make_members(kind, render(value))
    if depth <= 0:
        raise ValueError("nested too deep")
    depth -= 1
    if isinstance(value, Table):
        entries = [
            b'{"key":{' + _render(key, depth) + b'},"value":{' + _render(item, depth) + b"}}"
            for key, item in value.pairs()
        ]
        return _make_members(b"table", b"[" + b",".join(entries) + b"]")
    if not isinstance(value, Set | Vector):
        raise TypeError(f"a {type(value).__name__}")
    items = [b"{" + _render(item, depth) + b"}" for item in value]
    return _make_members(b"set" if isinstance(value, Set) else b"vector", b"[" + b",".join(items) + b"]")


def _make_members(kind: bytes, data: bytes) -> bytes:
    return b'"@data-type":"' + kind + b'","data":' + data


def _render_int(value: int, low: int, high: int) -> bytes:
    if type(value) is not int or not low <= value < high:
        raise ValueError(f"{value!r} is out of range")
    return b"%d" % value


def _render_real(value: float) -> bytes:
    if not math.isfinite(value):
        raise ValueError(f"JSON has no {value!r}")
    return repr(value).encode("ascii")


def _render_port(value: Port) -> bytes:
    name = ("?", *PROTOCOLS[1:])[value.protocol]
    return b'"%s/%s"' % (_render_int(value.number, 0, 1 << 16), name.encode("ascii"))


def _quote(text: object) -> bytes:
    return b'"%s"' % str(text).encode("ascii")


_ATOM_RENDERERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"none", lambda _value: b"{}"),
    bool: (b"boolean", lambda value: b"true" if value else b"false"),
    Count: (b"count", lambda value: _render_int(value.value, 0, 1 << 64)),
    int: (b"integer", lambda value: _render_int(value, -1 << 63, 1 << 63)),
    float: (b"real", _render_real),
    bytes: (b"string", dump_string),
    Address: (b"address", _quote),
    Subnet: (b"subnet", _quote),
    Port: (b"port", _render_port),
    Timestamp: (b"timestamp", lambda value: _quote(render_timestamp(value.ns))),
    Timespan: (b"timespan", lambda value: _quote(render_timespan(value.ns))),
    EnumValue: (b"enum-value", lambda value: dump_string(as_bytes(value.name))),
}
