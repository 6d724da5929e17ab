"""Log batches as every cluster backend but Broker transmits them: a schema, and records of it.

A batch can be decoded on its own. Its records are not framed, so one that cannot be read takes the rest with it.

Source: Zeek, ``src/cluster/serializer/binary-serialization-format/Serializer.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import MIN_VALUE_BYTES, Datum, Record, RecordCodec
from appliance.zeek.schema import MAX_FIELDS, Field, LogSchema, as_bytes, as_text

__all__ = [
    "FRAMES",
    "LOG_WRITE",
    "SERIALIZER",
    "BatchHeader",
    "LogMessage",
    "decode_batch",
    "encode_batch",
    "make_log_frames",
    "parse_header",
    "parse_log_frames",
]

LOG_WRITE = b"log-write"
SERIALIZER = b"zeek-bin-serializer"
FRAMES = 4

_UINT32 = struct.Struct(">I")
_INT32 = struct.Struct(">i")
_TYPES = struct.Struct(">iiB")
_MIN_FIELD_BYTES = 1 + 4 + _TYPES.size


class BatchHeader(NamedTuple):
    """What a batch says before its records."""

    schema: LogSchema
    record_count: int
    """Number of records announced."""
    schema_end: int
    """Size of the schema; batches that agree so far have the same schema."""

    @property
    def offset(self) -> int:
        """Where the first record begins."""
        return self.schema_end + _UINT32.size


class LogMessage(NamedTuple):
    """A log batch as it comes through a PULL socket."""

    node: str
    """Node id of the sender."""
    batch: bytes


def parse_log_frames(frames: Sequence[bytes]) -> LogMessage:
    """Check the frames of a message on a log socket.

    Raises:
        RemoteProtocolError: not the four frames of a log batch in a format that we know.

    Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ.cc``.
    """
    if len(frames) != FRAMES:
        raise RemoteProtocolError(f"a log message of {len(frames)} frames instead of {FRAMES}")
    kind, node, serializer, batch = frames
    if kind != LOG_WRITE:
        raise RemoteProtocolError(f"a log message of kind {bytes(kind[:64])!r}")
    if serializer != SERIALIZER:
        raise RemoteProtocolError(f"a log batch in an unknown format: {bytes(serializer[:64])!r}")
    return LogMessage(as_text(bytes(node)), bytes(batch))


def make_log_frames(node: str, batch: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Frames of a message that carries a log batch.

    Raises:
        ValueError: the node id is not text that can be transmitted.
    """
    return LOG_WRITE, as_bytes(node), SERIALIZER, batch


def parse_header(data: bytes) -> BatchHeader:
    """Read a batch up to its records.

    Raises:
        RemoteProtocolError: not the begin of a batch, a type that logs do not have, or more columns or records than
            there are bytes for.
    """
    try:
        return _read_header(data)
    except struct.error:
        raise RemoteProtocolError("a log batch ends too early") from None


def decode_batch(data: bytes, *, codec: RecordCodec | None = None) -> tuple[LogSchema, list[Record]]:
    """Read a whole batch.

    Args:
        data: the batch.
        codec: for the columns of this batch, if the caller has kept one.

    Raises:
        RemoteProtocolError: not a batch. Records before the place of the mistake are lost as well.
    """
    header = parse_header(data)
    if codec is None or codec.fields != header.schema.fields:
        codec = RecordCodec(header.schema.fields)
    offset = header.offset
    records: list[Record] = []
    for _ in range(header.record_count):
        record, offset = codec.read(data, offset)
        records.append(record)
    if offset != len(data):
        raise RemoteProtocolError("bytes behind the last record of a log batch")
    return header.schema, records


def encode_batch(schema: LogSchema, records: Sequence[Sequence[Datum]]) -> bytes:
    """Write a batch.

    Raises:
        LocalProtocolError: a schema without columns or with one that logs cannot have, or a record that does not fit.
        ValueError: a name that cannot be transmitted.
    """
    try:
        codec = RecordCodec(schema.fields)
    except RemoteProtocolError as exc:
        raise LocalProtocolError(exc.message) from exc
    names = (schema.stream, schema.writer, schema.filter, schema.path)
    parts = [_make_string(name) for name in names]
    parts.append(_UINT32.pack(len(schema.fields)))
    parts.extend(_make_field(field) for field in schema.fields)
    parts.append(_UINT32.pack(len(records)))
    parts.extend(codec.write(record) for record in records)
    return b"".join(parts)


def _read_header(data: bytes) -> BatchHeader:
    offset = 0
    names = []
    for _ in range(4):
        name, offset = _read_string(data, offset)
        names.append(name)
    (count,) = _UINT32.unpack_from(data, offset)
    offset += _UINT32.size
    if not 0 < count <= min(MAX_FIELDS, (len(data) - offset) // _MIN_FIELD_BYTES):
        raise RemoteProtocolError(f"a log batch with {count} columns in {len(data)} bytes")
    fields = []
    for _ in range(count):
        field, offset = _read_field(data, offset)
        fields.append(field)
    (records,) = _UINT32.unpack_from(data, offset)
    # No count of records can promise more than the batch holds.
    if records * count * MIN_VALUE_BYTES > len(data) - offset - _UINT32.size:
        raise RemoteProtocolError(f"a log batch with {records} records in {len(data)} bytes")
    stream, writer, log_filter, path = names
    schema = LogSchema(stream=stream, writer=writer, filter=log_filter, path=path, fields=tuple(fields))
    return BatchHeader(schema, records, offset)


def _read_string(data: bytes, offset: int) -> tuple[str, int]:
    start = offset + _INT32.size
    (length,) = _INT32.unpack_from(data, offset)
    if not 0 <= length <= len(data) - start:
        raise RemoteProtocolError(f"a name of {length} bytes in a log batch that ends before it")
    end = start + length
    return as_text(data[start:end]), end


def _read_field(data: bytes, offset: int) -> tuple[Field, int]:
    secondary = None
    if offset < len(data) and data[offset] == 1:
        secondary, offset = _read_string(data, offset + 1)
    else:
        offset += 1
    name, offset = _read_string(data, offset)
    tag, subtag, optional = _TYPES.unpack_from(data, offset)
    from_tag = Numbering.FROM_5_0.from_tag
    field = Field(name, secondary, from_tag(tag), from_tag(subtag), optional == 1)
    return field, offset + _TYPES.size


def _make_string(text: str) -> bytes:
    data = as_bytes(text)
    return _INT32.pack(len(data)) + data


def _make_field(field: Field) -> bytes:
    to_tag = Numbering.FROM_5_0.to_tag
    second = b"\0" if field.secondary is None else b"\1" + _make_string(field.secondary)
    return second + _make_string(field.name) + _TYPES.pack(to_tag(field.type), to_tag(field.subtype), field.optional)
