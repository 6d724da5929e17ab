"""Log records as Zeek's nodes send them to their logger: one announcement of a log, then writes to it, in batches.

Pure. A logger drops what it did not understand without a word, so a record that does not fit its columns is refused
here.

Source: Broker, ``broker/zeek.hh``; Zeek, ``src/broker/Manager.cc`` and ``src/threading/SerialTypes.cc``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from appliance.errors import ApplianceError
from appliance.zeek.binary import write_varbyte
from appliance.zeek.log_create import WriterInfo, make_log_create
from appliance.zeek.messages import Batch, LogWrite, encode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import RecordCodec
from appliance.zeek.schema import LogSchema
from appliance.zeek.tsv_header import parse_field
from appliance.zeek.tsv_write import parse_json_record

__all__ = ["MAX_WRITES", "WRITER", "RemoteLog", "Writes"]

WRITER = "Log::WRITER_ASCII"
MAX_WRITES = 400
"""Records in a batch. Zeek's own limit: ``src/broker/Manager.cc``, ``LOG_BATCH_SIZE``."""
MAX_BATCH_BYTES = 1 << 20
"""A batch is sent when it is as long as this, whatever it holds: peers refuse messages that are too long."""


class Writes(NamedTuple):
    """Some records of a log, in the order in which they came."""

    message: bytes
    """A batch; empty if all of them are refused."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """Records in it."""
    refused: int
    """Records in between that do not fit the columns."""


class RemoteLog:
    """One log: a stream of Zeek, a path, and columns.

    Args:
        stream: e.g. ``Conn::LOG``. A logger takes only streams that it has itself.
        path: e.g. ``conn``.
        columns: name and type of each column, as in `LogBatch`.

    Raises:
        ValueError: no columns, or some that a log cannot have.
    """

    def __init__(self, stream: str, path: str, columns: tuple[tuple[str, str], ...]) -> None:
        # Any field may be unset, whether its column was declared so or not, and nobody told us.
        fields = tuple([msgspec.structs.replace(parse_field(*column), optional=True) for column in columns])
        self.columns = columns
        self._schema = LogSchema(stream=stream, writer=WRITER, filter="", path=path, fields=fields)
        try:
            self._codec = RecordCodec(fields)
        except ApplianceError as exc:
            raise ValueError(exc.message) from exc
        # Everything of a message but its last string or vector, which is empty here: one byte of length.
        self._write_head = encode_message(LogWrite(stream, WRITER, path, b""))[:-1]
        self._batch_head = encode_message(Batch(()))[:-1]
        self.announce(0.0)

    def announce(self, network_time_s: float) -> bytes:
        """The message that has to arrive before any write, a LogCreate.

        Args:
            network_time_s: seconds since the epoch, for the logger's information.
        """
        info = WriterInfo(path=self._schema.path, network_time_s=network_time_s)
        return encode_message(make_log_create(self._schema, info, Numbering.FROM_5_0))

    def write(self, rows: Iterable[bytes]) -> Iterator[Writes]:
        """Records, one JSON object each, as batches."""
        writes: list[bytes] = []
        size = refused = 0
        for row in rows:
            try:
                serial = self._codec.encode(parse_json_record(self._schema, row))
            except (ApplianceError, ValueError, TypeError, AttributeError, OverflowError):
                refused += 1  # a value that is not of its column's type
                continue
            writes.append(self._write_head + write_varbyte(len(serial)) + serial)
            size += len(writes[-1])
            if len(writes) >= MAX_WRITES or size >= MAX_BATCH_BYTES:
                yield self._make_batch(writes, refused)
                writes, size, refused = [], 0, 0
        if writes or refused:
            yield self._make_batch(writes, refused)

    def _make_batch(self, writes: list[bytes], refused: int) -> Writes:
        message = self._batch_head + write_varbyte(len(writes)) + b"".join(writes) if writes else b""
        return Writes(message, len(writes), refused)
