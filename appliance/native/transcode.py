"""Zeek's binary log records to JSON lines, text for text what Zeek's own log writer makes of them.

Two doors need it. Batches of the ZeroMQ backend carry their schema: `Transcoder.batch` does everything. Broker's
messages do not: `Transcoder.broker_groups` finds the log writes, the door looks up what was announced for each group
(a `WriteSchema`), and `Transcoder.group_lines` makes the lines.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from appliance._native import ffi, lib
from appliance.errors import RemoteProtocolError
from appliance.native.handles import Owner, fail, opened

__all__ = [
    "BrokerGroup",
    "BrokerGroups",
    "EscapePolicy",
    "ExtraMembers",
    "LogColumn",
    "LogColumns",
    "TimeFormat",
    "Transcoded",
    "TranscodedGroup",
    "Transcoder",
    "TypeNumbers",
    "WriteSchema",
]

_COLUMNS_KEPT = 1 << 18
_CODEC = ("utf-8", "surrogateescape")


class TimeFormat(enum.IntEnum):
    """How times are written. Intervals are seconds always. Source: Zeek's ``LogAscii::json_timestamps``."""

    EPOCH = lib.TC_TIME_EPOCH
    """Seconds since 1970 as a real number; Zeek's default."""
    MILLIS = lib.TC_TIME_MILLIS
    """Whole milliseconds since 1970."""
    MILLIS_UNSIGNED = lib.TC_TIME_MILLIS_UNSIGNED
    """The same, where times before 1970 become very large numbers."""
    ISO8601 = lib.TC_TIME_ISO8601
    """UTC with microseconds, ``2026-08-21T12:00:00.000000Z``."""


class EscapePolicy(enum.IntEnum):
    """What becomes of bytes in strings that are neither printable ASCII nor good UTF-8.

    Source: Zeek, ``src/util.cc`` (``escape_utf8``) and ``src/threading/formatters/JSON.cc`` of the versions named.
    """

    HEX = lib.TC_ESCAPE_HEX
    r"""The text ``\xNN`` for each such byte, and then for each byte outside of ASCII; up to 8.0 and from 8.2 on."""
    CONTROLS = lib.TC_ESCAPE_CONTROLS
    r"""The same, but control characters as ``\u00NN``: 8.1."""
    PRIVATE = lib.TC_ESCAPE_PRIVATE
    r"""``\udb80\udcNN``, which loses nothing: ``json_string_escape_policy`` of 9.0."""


class TypeNumbers(enum.IntEnum):
    """Which numbers the sender gives to Zeek's types."""

    FROM_5_0 = lib.TC_NUMBERING_5
    FROM_4_1 = lib.TC_NUMBERING_4_1
    UP_TO_4_0 = lib.TC_NUMBERING_2_6


class ExtraMembers(enum.IntFlag):
    """Members that come before the columns of each record, in this order. A column of the same name wins."""

    NONE = 0
    PATH = lib.TC_EXTRA_PATH
    """``_path``: the log path."""
    NODE = lib.TC_EXTRA_NODE
    """``_node``: who sent the record."""
    WRITE_TS = lib.TC_EXTRA_WRITE_TS
    """``_write_ts``: a time, written like the others."""


class LogColumn(NamedTuple):
    """One column of a log."""

    name: str
    """The flattened name, e.g. ``id.orig_h``. Bytes that are not UTF-8 are surrogates, as in all names here."""
    type: int = 0
    """Zeek's number of the type."""
    subtype: int = 0
    """The same of the elements of a set or vector."""
    optional: bool = False


class LogColumns(NamedTuple):
    """What a batch says about itself."""

    stream: str
    """E.g. ``Conn::LOG``."""
    writer: str
    """E.g. ``Log::WRITER_ASCII``."""
    filter: str
    """E.g. ``default``."""
    path: str
    """E.g. ``conn``. Not checked: it is whatever the peer sent."""
    columns: tuple[LogColumn, ...]


class Transcoded(NamedTuple):
    """A batch as JSON lines."""

    schema: LogColumns
    """The same object as long as the batches of a log do not change."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """May be 0."""
    schema_changed: bool
    """No batch had this schema before, or so long ago that it was forgotten."""

    @property
    def stream(self) -> str:
        return self.schema.stream

    @property
    def writer(self) -> str:
        return self.schema.writer

    @property
    def filter(self) -> str:
        return self.schema.filter

    @property
    def path(self) -> str:
        return self.schema.path


class BrokerGroup(NamedTuple):
    """Log writes of one message with the same names: what a schema is announced for."""

    stream: str
    writer: str
    path: str
    """Not checked: it is whatever the peer sent."""
    count: int  # type: ignore[assignment]
    """At least 1."""
    bytes: int
    """Size of the binary records."""


class TranscodedGroup(NamedTuple):
    """A group of log writes as JSON lines."""

    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int  # type: ignore[assignment]
    refused: int
    """Writes that do not decode, or have another number of columns than the schema; `count` does not include them."""


class WriteSchema(Owner):
    """Columns that were announced for the log writes of a path.

    Args:
        columns: of these, only the names matter: values say their types themselves.
        path: what ``_path`` says.
        numbers: how the sender numbers types.

    Raises:
        RemoteProtocolError: no columns, or names of more than 64 KiB.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, columns: Sequence[LogColumn], *, path: str, numbers: TypeNumbers = TypeNumbers.FROM_5_0) -> None:
        encoded = [text.encode(*_CODEC) for text in (path, *(column.name for column in columns))]
        kept: list[Any] = [ffi.from_buffer("uint8_t[]", text) for text in encoded]  # C looks at them during the call
        names = ffi.new("struct tc_names *")
        names.path, names.path_len, names.columns = kept[0], len(kept[0]), len(columns)
        array = ffi.new("struct tc_column[]", [(text, len(text)) for text in kept[1:]])
        out = ffi.new("struct tc_schema **")
        error = lib.tc_schema_open(names, array, int(numbers), out)
        if error in (errno.EINVAL, errno.EMSGSIZE):
            raise RemoteProtocolError(f"a log with {len(columns)} columns, or with names that are too long")
        super().__init__(opened("WriteSchema", error, out, lib.tc_schema_close))


class BrokerGroups(Owner):
    """The log writes of one Broker message; keeps the message until it is closed or gone."""

    def __init__(self, handle: Any, payload: Any) -> None:
        super().__init__(handle)
        self._payload = payload  # the groups point into it
        self.others = int(lib.tc_writes_others(handle))
        """Messages of other kinds in it (events, announcements, unknown ones), which are not looked at."""
        group = ffi.new("struct tc_group *")
        groups = []
        for i in range(lib.tc_writes_group_count(handle)):
            lib.tc_writes_group(handle, i, group)
            stream, writer = _name(group.stream, group.stream_len), _name(group.writer, group.writer_len)
            path = _name(group.path, group.path_len)
            groups.append(BrokerGroup(stream, writer, path, group.count, group.bytes))
        self.groups: tuple[BrokerGroup, ...] = tuple(groups)
        """In the order of their first write."""


class Transcoder(Owner):
    """Makes JSON lines of binary log records, with a memory of the schemas that batches came with.

    Args:
        time: how times are written.
        escape: what becomes of bytes that JSON cannot hold.
        extras: members to put before the columns.
        with_unset: write null for unset columns, as Zeek does with ``LogAscii::json_include_unset_fields``.
        max_output: longest output of one call in bytes, 1 MiB at least.

    Raises:
        ValueError: `max_output` is out of range.
        MemoryError: there is not enough memory for it.

    Source: Zeek, ``src/threading/formatters/JSON.cc`` (the text), ``src/threading/SerialTypes.cc`` (the records),
    ``src/cluster/serializer/binary-serialization-format/Serializer.cc`` (the batch).
    """

    def __init__(
        self,
        *,
        time: TimeFormat = TimeFormat.EPOCH,
        escape: EscapePolicy = EscapePolicy.HEX,
        extras: ExtraMembers = ExtraMembers.NONE,
        with_unset: bool = False,
        max_output: int = 256 << 20,
    ) -> None:
        options = ffi.new("struct tc_options *", [int(time), int(escape), int(extras), with_unset, max_output])
        out = ffi.new("struct tc_transcoder **")
        super().__init__(opened("Transcoder", lib.tc_open(options, out), out, lib.tc_close))
        self._has_extras = bool(extras)
        self._result = ffi.new("struct tc_result *")
        self._context = ffi.new("struct tc_context *")
        self._node: Any = None
        self._schemas: dict[int, LogColumns] = {}
        self._columns_kept = 0

    def batch(self, payload: bytes, *, node: bytes = b"", write_ts: float = 0.0) -> Transcoded:
        """Turn a whole log batch into lines.

        Args:
            payload: a batch of format ``zeek-bin-serializer``; other objects with a contiguous buffer will do.
            node: what ``_node`` says.
            write_ts: what ``_write_ts`` says, in seconds since 1970.

        Raises:
            RemoteProtocolError: it is no batch, or too large. Nothing of it is used: its records have no frames of
                their own, so what comes behind a broken one is unknown.
            MemoryError: there is not enough memory for the output.
        """
        result = self._result
        if self._has_extras:
            self._set_context(node, write_ts)
        error = lib.tc_batch(self.open_handle, _pointer(payload), len(payload), self._context, result)
        if error:
            _refuse(error, "log batch", payload, result.error_offset)
        schema = self._schemas.get(result.schema_id) or self._read_schema(result)
        return Transcoded(schema, ffi.buffer(result.data, result.len)[:], result.count, bool(result.schema_is_new))

    def batch_columns(self, payload: bytes) -> LogColumns:
        """What a batch says about itself, without its records; they are not even looked at.

        Raises:
            RemoteProtocolError: it does not begin like a batch.
        """
        result = self._result
        error = lib.tc_batch_header(self.open_handle, _pointer(payload), len(payload), result)
        if error:
            _refuse(error, "log batch", payload, result.error_offset)
        return self._schemas.get(result.schema_id) or self._read_schema(result)

    def broker_groups(self, payload: bytes) -> BrokerGroups:
        """Find the log writes in the payload of a Broker data envelope: a LogWrite, or a Batch.

        Raises:
            RemoteProtocolError: it is no message of Zeek's; one bad element makes all of it bad, as in Zeek.
            MemoryError: there is not enough memory for the index.
        """
        out = ffi.new("struct tc_writes **")
        offset = ffi.new("uint64_t *")
        pointer = _pointer(payload)
        error = lib.tc_writes_open(pointer, len(payload), out, offset)
        if error:
            _refuse(error, "message", payload, offset[0])
        return BrokerGroups(ffi.gc(out[0], lib.tc_writes_close), pointer)

    def group_lines(
        self, groups: BrokerGroups, index: int, schema: WriteSchema, *, node: bytes = b"", write_ts: float = 0.0
    ) -> TranscodedGroup:
        """Turn one group of log writes into lines.

        Args:
            groups: what `broker_groups` found.
            index: which of `BrokerGroups.groups`.
            schema: what was announced for its names.
            node: what ``_node`` says.
            write_ts: what ``_write_ts`` says, in seconds since 1970.

        Raises:
            RemoteProtocolError: the lines would be longer than `max_output`.
            IndexError: there is no such group.
            MemoryError: there is not enough memory for the output.
        """
        if not 0 <= index < len(groups.groups):
            raise IndexError(f"no group {index}")
        result = self._result
        if self._has_extras:
            self._set_context(node, write_ts)
        error = lib.tc_group_lines(
            self.open_handle, groups.open_handle, index, schema.open_handle, self._context, result
        )
        if error:
            _refuse(error, "log writes", b"", 0)
        return TranscodedGroup(ffi.buffer(result.data, result.len)[:], result.count, result.refused)

    def _set_context(self, node: bytes, write_ts: float) -> None:
        self._node = ffi.from_buffer("uint8_t[]", node)  # lives as long as C may look at it
        self._context.node, self._context.node_len = self._node, len(node)
        self._context.write_ts = write_ts

    def _read_schema(self, result: Any) -> LogColumns:
        names, column = ffi.new("struct tc_names *"), ffi.new("struct tc_column *")
        lib.tc_schema_names(result.schema, names)
        columns = []
        for i in range(names.columns):
            lib.tc_schema_column(result.schema, i, column)
            name = _name(column.name, column.name_len)
            columns.append(LogColumn(name, column.type, column.subtype, bool(column.optional)))
        schema = LogColumns(
            stream=_name(names.stream, names.stream_len),
            writer=_name(names.writer, names.writer_len),
            filter=_name(names.filter, names.filter_len),
            path=_name(names.path, names.path_len),
            columns=tuple(columns),
        )
        self._columns_kept += len(columns)
        if self._columns_kept > _COLUMNS_KEPT:
            self._schemas.clear()
            self._columns_kept = len(columns)
        self._schemas[result.schema_id] = schema
        return schema


def _pointer(payload: bytes) -> Any:
    return payload if type(payload) is bytes else ffi.from_buffer("uint8_t[]", payload)


def _name(pointer: Any, length: int) -> str:
    return bytes(ffi.buffer(pointer, length)).decode(*_CODEC) if length else ""


def _refuse(error: int, what: str, payload: bytes, offset: int) -> NoReturn:
    if error == errno.EBADMSG:
        raise RemoteProtocolError(f"a {what} that does not decode at byte {offset} of {len(payload)}")
    if error == errno.EMSGSIZE:
        raise RemoteProtocolError(f"{what} of {len(payload)} bytes: the names or the output are too long")
    if error == errno.ENOMEM:
        raise MemoryError(f"no memory for the output of a {what}")
    fail(error)
