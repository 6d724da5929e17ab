"""Log records as lines of JSON, exactly as Zeek's own writer makes them.

Source: Zeek, ``src/threading/formatters/JSON.cc``. The names of the added fields are those of the package
json-streaming-logs, which puts them first as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from appliance.errors import LocalProtocolError
from appliance.zeek.address import Port
from appliance.zeek.json_double import render_double
from appliance.zeek.json_string import EscapeStyle, quote, quote_name
from appliance.zeek.json_time import TimeFormat, make_time_renderer
from appliance.zeek.records import Record
from appliance.zeek.schema import CONTAINER_TYPES, Field, LogSchema, ZeekType, as_bytes

__all__ = ["ADDED_FIELDS", "EscapeStyle", "JsonLineRenderer", "JsonStyle", "TimeFormat"]

ADDED_FIELDS = ("_path", "_node", "_write_ts")
"""Fields that can be added to each line, in the order in which they stand at its begin."""

_Render: TypeAlias = Callable[[Any], bytes]


class JsonStyle(msgspec.Struct, frozen=True, kw_only=True):
    """How lines are written."""

    time_format: TimeFormat = TimeFormat.EPOCH
    escapes: EscapeStyle = EscapeStyle.HEX
    unset_fields_included: bool = False
    """Write ``null`` for unset columns, as Zeek does with ``LogAscii::json_include_unset_fields``."""
    add_fields: frozenset[str] = frozenset()
    """Any of `ADDED_FIELDS`; one whose name is a column is not added."""


class JsonLineRenderer:
    """Writes records of one schema as JSON.

    Args:
        schema: path and columns.
        style: how to write them.

    Raises:
        LocalProtocolError: a column that logs cannot have, or an added field that does not exist.
        ValueError: a name that cannot be transmitted.
    """

    __slots__ = ("_added", "_columns", "_is_full", "_render_time", "schema")

    def __init__(self, schema: LogSchema, style: JsonStyle | None = None) -> None:
        style = style or JsonStyle()
        unknown = style.add_fields - set(ADDED_FIELDS)
        if unknown:
            raise LocalProtocolError(f"there is no field {min(unknown)!r} to add")
        self.schema = schema
        self._is_full = style.unset_fields_included
        self._render_time = make_time_renderer(style.time_format)
        atoms = _make_atom_renderers(style)
        self._columns = [
            (quote_name(as_bytes(field.name)) + b":", _make_field_renderer(field, atoms)) for field in schema.fields
        ]
        self._added = style.add_fields - {field.name for field in schema.fields}

    def line(self, record: Record, *, node: str = "", write_ts: float = 0.0) -> bytes:
        """One JSON object, without a newline and holding none.

        Args:
            record: one value of the right type for each column.
            node: value of ``_node``, if that is added.
            write_ts: value of ``_write_ts`` in seconds since the epoch, if that is added.
        """
        return self._render(record, self._make_start(node, write_ts))

    def lines(self, records: Iterable[Record], *, node: str = "", write_ts: float = 0.0) -> bytes:
        """One JSON object for each record, each followed by one newline."""
        start = self._make_start(node, write_ts)
        return b"".join([self._render(record, start) + b"\n" for record in records])

    def _make_start(self, node: str, write_ts: float) -> list[bytes]:
        added = []
        if "_path" in self._added:
            added.append(b'"_path":' + quote(as_bytes(self.schema.path)))
        if "_node" in self._added:
            added.append(b'"_node":' + quote(as_bytes(node)))
        if "_write_ts" in self._added:
            added.append(b'"_write_ts":' + self._render_time(write_ts))
        return added

    def _render(self, record: Record, start: list[bytes]) -> bytes:
        parts = start.copy()
        for (name, render), value in zip(self._columns, record, strict=True):
            if value is not None:
                parts.append(name + render(value))
            elif self._is_full:
                parts.append(name + b"null")
        return b"{" + b",".join(parts) + b"}"


def _make_atom_renderers(style: JsonStyle) -> dict[ZeekType, _Render]:
    """Function for each atomic type."""
    name_escapes = EscapeStyle.HEX if style.escapes is EscapeStyle.PRIVATE else style.escapes

    def render_string(value: bytes) -> bytes:
        return quote(value, style.escapes)

    def render_name(value: bytes) -> bytes:
        return quote(value, name_escapes)

    return {
        ZeekType.BOOL: _render_bool,
        ZeekType.INT: _render_int,
        ZeekType.COUNT: _render_int,
        ZeekType.DOUBLE: render_double,
        ZeekType.TIME: make_time_renderer(style.time_format),
        ZeekType.INTERVAL: render_double,
        ZeekType.STRING: render_string,
        ZeekType.ENUM: render_name,
        ZeekType.FUNC: render_name,
        ZeekType.FILE: render_name,
        ZeekType.PORT: _render_port,
        ZeekType.ADDR: _render_text,
        ZeekType.SUBNET: _render_text,
    }


def _make_field_renderer(field: Field, atoms: dict[ZeekType, _Render]) -> _Render:
    if not field.is_loggable:
        raise LocalProtocolError(f"column {field.name!r} has a type that logs do not have: {field.type.name}")
    if field.type not in CONTAINER_TYPES:
        return atoms[field.type]
    render = atoms[field.subtype]

    def render_elements(value: tuple[Any, ...]) -> bytes:
        return b"[" + b",".join([b"null" if item is None else render(item) for item in value]) + b"]"

    return render_elements


def _render_bool(value: bool) -> bytes:
    return b"true" if value else b"false"


def _render_int(value: int) -> bytes:
    return b"%d" % value


def _render_port(value: Port) -> bytes:
    return b"%d" % value.number


def _render_text(value: object) -> bytes:
    return b'"%s"' % str(value).encode("ascii")
