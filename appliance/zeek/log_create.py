"""Broker's announcement of a log: what it says, and the schema that follows from it.

Type numbers stay as they came, for only its columns tell which numbering the sender uses.

Source: Broker, ``broker/zeek.hh``; Zeek, ``src/logging/WriterBackend.cc``.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.zeek.numbering import Numbering, detect_numbering
from appliance.zeek.schema import MAX_FIELDS, Field, LogSchema, as_bytes, as_text
from appliance.zeek.values import Count, EnumValue, Table, Value, Vector

__all__ = ["Column", "LogCreate", "WriterInfo", "expect", "expect_vector", "make_log_create"]

_T = TypeVar("_T", bool, float, bytes, Count, EnumValue, Table)


class Column(msgspec.Struct, frozen=True):
    """One column of an announced log."""

    name: str
    secondary: str | None
    tag: int
    """Number of the type in the sender's numbering."""
    subtag: int
    """The same for elements of a set or vector."""
    optional: bool


class WriterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How Zeek was told to write the log."""

    path: str
    rotation_base_s: float = 0.0
    rotation_interval_s: float = 0.0
    network_time_s: float = 0.0
    """Zeek's network time at the announcement, seconds since the epoch."""
    config: tuple[tuple[str, str], ...] = ()
    postprocessor: str | None = ""
    """Name of the function that gets finished files; None if not transmitted (before Zeek 3.2)."""


class LogCreate(msgspec.Struct, frozen=True):
    """Announcement of a log."""

    stream: str
    writer: str
    info: WriterInfo
    columns: tuple[Column, ...]

    def detect_numbering(self) -> frozenset[Numbering]:
        """Numberings of types that fit the columns; see `numbering.detect_numbering`."""
        return detect_numbering((column.name, column.tag) for column in self.columns)

    def make_schema(self, numbering: Numbering) -> LogSchema:
        """Schema of the records to come; its filter is empty.

        Raises:
            RemoteProtocolError: a column of a type that does not exist in this numbering.
        """
        kinds = numbering.from_tag
        fields = tuple(
            Field(column.name, column.secondary, kinds(column.tag), kinds(column.subtag), column.optional)
            for column in self.columns
        )
        return LogSchema(stream=self.stream, writer=self.writer, filter="", path=self.info.path, fields=fields)

    def make_content(self) -> Vector:
        """Content of the message."""
        return Vector((EnumValue(self.stream), EnumValue(self.writer), _make_info(self.info), _make_columns(self)))

    @classmethod
    def parse(cls, content: Vector) -> LogCreate:
        """Read the content of a message.

        Raises:
            RemoteProtocolError: not an announcement.
        """
        stream, writer, info, columns = expect_vector(content, 4)[:4]
        return cls(
            expect(stream, EnumValue).name,
            expect(writer, EnumValue).name,
            _parse_info(expect_vector(info, 5)),
            tuple(_parse_column(expect_vector(column, 5)) for column in _check_columns(expect_vector(columns, 1))),
        )


def make_log_create(schema: LogSchema, info: WriterInfo, numbering: Numbering) -> LogCreate:
    """Announce a log, for a receiver that numbers types so."""
    tags = numbering.to_tag
    columns = tuple(
        Column(field.name, field.secondary, tags(field.type), tags(field.subtype), field.optional)
        for field in schema.fields
    )
    return LogCreate(schema.stream, schema.writer, info, columns)


def expect(value: Value, kind: type[_T]) -> _T:
    """Insist on the type of a value.

    Raises:
        RemoteProtocolError: another type.
    """
    if type(value) is not kind:
        raise RemoteProtocolError(f"a {type(value).__name__} where a message has a {kind.__name__}")
    return value


def expect_vector(value: Value, size: int) -> Vector:
    """Insist on a vector of at least so many values; Zeek ignores what is more.

    Raises:
        RemoteProtocolError: another type, or too short.
    """
    if not isinstance(value, Vector) or len(value) < size:
        raise RemoteProtocolError(f"no vector of {size} values where a message has one")
    return value


def _check_columns(columns: Vector) -> Vector:
    if len(columns) > MAX_FIELDS:
        raise RemoteProtocolError(f"a log of {len(columns)} columns")
    return columns


def _parse_info(info: Vector) -> WriterInfo:
    path, base, interval, network_time, config = info[:5]
    return WriterInfo(
        path=as_text(expect(path, bytes)),
        rotation_base_s=expect(base, float),
        rotation_interval_s=expect(interval, float),
        network_time_s=expect(network_time, float),
        config=tuple(
            (as_text(expect(key, bytes)), as_text(expect(value, bytes))) for key, value in expect(config, Table).pairs()
        ),
        postprocessor=as_text(expect(info[5], bytes)) if len(info) > 5 else None,
    )


def _make_info(info: WriterInfo) -> Vector:
    items: list[Value] = [
        as_bytes(info.path),
        info.rotation_base_s,
        info.rotation_interval_s,
        info.network_time_s,
        Table((as_bytes(key), as_bytes(value)) for key, value in info.config),
    ]
    if info.postprocessor is not None:
        items.append(as_bytes(info.postprocessor))
    return Vector(items)


def _parse_column(column: Vector) -> Column:
    name, secondary, tag, subtag, optional = column[:5]
    return Column(
        as_text(expect(name, bytes)),
        None if secondary is None else as_text(expect(secondary, bytes)),
        expect(tag, Count).value,
        expect(subtag, Count).value,
        expect(optional, bool),
    )


def _make_columns(log: LogCreate) -> Vector:
    return Vector(
        Vector(
            (
                as_bytes(column.name),
                None if column.secondary is None else as_bytes(column.secondary),
                Count(column.tag),
                Count(column.subtag),
                column.optional,
            )
        )
        for column in log.columns
    )
