"""Log records from a peer: what it has announced, and its writes as JSON lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.native import EscapePolicy, LogColumn, Transcoder, TypeNumbers, WriteSchema
from appliance.zeek.binary import write_varbyte
from appliance.zeek.log_create import LogCreate
from appliance.zeek.messages import Batch, encode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.schema import LogSchema, ZeekType

__all__ = ["LogBook", "LogReading", "LogRows", "make_transcoder", "put_together"]

_MAX_LOGS = 1024
"""Announcements that are remembered of each peer; Zeek with all its packages has about a hundred logs."""
_MAX_COLUMNS = 65536
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")  # as the ZeroMQ doors take them: it may become a file's name
_BATCH_HEAD = encode_message(Batch(()))[:-1]
"""A batch up to its number of messages."""
_NEWEST_FIRST = (Numbering.FROM_5_0, Numbering.FROM_4_1, Numbering.UP_TO_4_0)

_Key = tuple[str, str, str]


class LogRows(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one log out of one message."""

    path: str
    stream: str
    columns: tuple[tuple[str, str], ...]
    data: bytes
    """`count` JSON objects, each followed by a newline."""
    count: int


class LogReading(msgspec.Struct, kw_only=True):
    """What became of the log writes of one message."""

    rows: list[LogRows] = []
    refused: dict[str, int] = {}
    """Records that cannot be used, by reason."""
    unknown: str = ""
    """A log among them that was not announced."""


class _Log(msgspec.Struct, kw_only=True):
    create: LogCreate
    numbering: Numbering
    schema: WriteSchema
    columns: tuple[tuple[str, str], ...]


def make_transcoder(*, zeek_version: str, max_message: int) -> Transcoder:
    """What makes lines of records, as Zeek's own writer of that version does."""
    escape = EscapePolicy.CONTROLS if zeek_version == "8.1" else EscapePolicy.HEX
    return Transcoder(escape=escape, max_output=max(1 << 20, 8 * max_message))


def put_together(payloads: Sequence[bytes]) -> bytes:
    """One message, a batch, of whole messages that decode."""
    return _BATCH_HEAD + write_varbyte(len(payloads)) + b"".join(payloads)


class LogBook:
    """The logs of one peer. Announcements come on each new connection, so they are forgotten with it.

    Zeek numbers its types differently in different versions. An announcement may leave open which numbering it uses;
    all of one peer use the same, so each one that is clear is a clue for all.
    """

    def __init__(self) -> None:
        self._logs: dict[_Key, _Log] = {}
        self._columns = 0
        self._fitting = frozenset(Numbering)

    def announce(self, create: LogCreate) -> None:
        """Take an announcement; an older one of the same log is forgotten, and the oldest of all if there are too many.

        Raises:
            RemoteProtocolError: columns that cannot be.
        """
        fitting = create.detect_numbering()
        if fitting:
            self._fitting = (self._fitting & fitting) or fitting
        log = _open(create, self._numbering())
        key = (create.stream, create.writer, create.info.path)
        self._forget(key)
        self._logs[key] = log
        self._columns += len(create.columns)
        while len(self._logs) > _MAX_LOGS or (self._columns > _MAX_COLUMNS and len(self._logs) > 1):
            self._forget(next(iter(self._logs)))

    def read(self, payload: bytes, transcoder: Transcoder) -> LogReading:
        """Make lines of all log writes in a message; what else is in it is not looked at.

        Raises:
            RemoteProtocolError: it is no message.
            MemoryError: there is not enough memory for the lines.
        """
        reading = LogReading(rows=[], refused={})
        groups = transcoder.broker_groups(payload)
        for index, group in enumerate(groups.groups):
            log = self._find((group.stream, group.writer, group.path))
            if log is None:
                reading.unknown = group.path
                _count(reading.refused, "no_schema", group.count)
            elif not _PATH.fullmatch(group.path):
                _count(reading.refused, "bad_path", group.count)
            else:
                try:
                    lines = transcoder.group_lines(groups, index, log.schema)
                except RemoteProtocolError:
                    _count(reading.refused, "too_large", group.count)
                    continue
                _count(reading.refused, "bad_record", lines.refused)
                if lines.count:
                    rows = LogRows(
                        path=group.path, stream=group.stream, columns=log.columns, data=lines.data, count=lines.count
                    )
                    reading.rows.append(rows)
        return reading

    def _numbering(self) -> Numbering:
        return next(each for each in _NEWEST_FIRST if each in self._fitting)

    def _find(self, key: _Key) -> _Log | None:
        log = self._logs.get(key)
        if log is None or log.numbering is self._numbering():
            return log
        try:
            log = self._logs[key] = _open(log.create, self._numbering())
        except RemoteProtocolError:
            self._forget(key)
            return None
        return log

    def _forget(self, key: _Key) -> None:
        log = self._logs.pop(key, None)
        if log is not None:
            self._columns -= len(log.create.columns)


def _open(create: LogCreate, numbering: Numbering) -> _Log:
    schema = WriteSchema(
        [LogColumn(column.name, column.tag, column.subtag, column.optional) for column in create.columns],
        path=create.info.path,
        numbers=TypeNumbers[numbering.name],
    )
    return _Log(create=create, numbering=numbering, schema=schema, columns=_columns_of(create.make_schema(numbering)))


def _columns_of(schema: LogSchema) -> tuple[tuple[str, str], ...]:
    """Names and types as items carry them."""
    columns = []
    for field in schema.fields:
        kind = field.type.name.lower()
        if field.type in (ZeekType.TABLE, ZeekType.VECTOR):
            kind = f"{'set' if field.type is ZeekType.TABLE else 'vector'}[{field.subtype.name.lower()}]"
        columns.append((field.name, kind))
    return tuple(columns)


def _count(table: dict[str, int], reason: str, count: int) -> None:
    if count:
        table[reason] = table.get(reason, 0) + count
