"""Lines from the log batches of a ZeroMQ cluster: the intake, and the drain of a PULL socket into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, opened, text
from appliance.native.transcode import LogColumns, Transcoder

__all__ = ["BatchCounts", "BatchGroup", "BatchIntake"]

_SCHEMAS_KEPT = 256
_COLUMNS_KEPT = 65_536


class BatchGroup(NamedTuple):
    """Lines of one log path, sender and schema, in the order of their arrival."""

    path: str
    """Log path, ASCII."""
    sender: bytes
    """The node id of who sent them."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """At least 1."""
    schema: LogColumns
    """The same object as long as the batches of a log do not change."""


class BatchCounts(NamedTuple):
    """Messages since the intake was made; `messages` is the sum of the others but `records`."""

    messages: int
    accepted: int
    records: int
    """In the accepted ones."""
    other_filter: int
    """Of a log filter that is not accepted."""
    bad_frames: int
    """Not the four frames of a log batch."""
    bad_format: int
    """Another format than ``zeek-bin-serializer``."""
    bad_path: int
    """The log path is empty, too long, or has characters that do not belong into one."""
    bad_batch: int
    """Does not decode; nothing of it is used."""
    no_memory: int
    """Lost, because there was no memory for it."""


class BatchIntake(Owner):
    """Checks four-frame messages of log batches and collects their records as JSON lines.

    Args:
        transcoder: makes the lines; nobody else uses it.
        filters: names of the log filters whose batches are accepted.
        max_output: bytes of lines that one round, from `take` to `take`, may hold; one batch may exceed it.

    Raises:
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, transcoder: Transcoder, *, filters: Iterable[str], max_output: int = 4 << 20) -> None:
        out = ffi.new("struct bi_intake **")
        error = lib.bi_open(transcoder.open_handle, max_output, out)
        super().__init__(opened("BatchIntake", error, out, lib.bi_close))
        self._transcoder = transcoder  # C points to it
        self._schemas: dict[int, LogColumns] = {}
        self._columns_kept = 0
        self.accept(filters)

    def accept(self, filters: Iterable[str]) -> None:
        """Accept these log filters from now on.

        Raises:
            MemoryError: there is not enough memory for them; some of them may not be accepted then.
        """
        encoded = [name.encode() for name in filters]
        lib.bi_accept_none(self.open_handle)
        for data in encoded:
            error = lib.bi_accept(self.open_handle, data, len(data))
            if error:
                raise MemoryError("no memory for the name of a log filter")

    def frame(self, data: bytes, *, more: bool) -> None:
        """Give one frame; `more` if others of its message follow. Check `has_room` before the first one.

        Raises:
            MemoryError: the message is lost.
        """
        error = lib.bi_frame(self.open_handle, data, len(data), more)
        if error:
            raise MemoryError("no memory for a log batch")

    def has_room(self) -> bool:
        """Whether one more message may come before `take`."""
        return bool(lib.bi_has_room(self.open_handle))

    def take(self) -> tuple[list[BatchGroup], bytes]:
        """The groups of this round in order of first arrival, and the batch that did not decode, if there was one.

        Starts the next round.
        """
        handle = self.open_handle
        groups = [self._copy_group(handle, i) for i in range(lib.bi_group_count(handle))]
        payload = ffi.new("uint8_t **")
        length = lib.bi_get_refused(handle, payload)
        refused = bytes(ffi.buffer(payload[0], length)) if length else b""
        lib.bi_reset(handle)
        return groups, refused

    def counts(self) -> BatchCounts:
        """What was accepted and refused since the intake was made."""
        counts = ffi.new("struct bi_counts *")
        lib.bi_get_counts(self.open_handle, counts)
        return BatchCounts(*(getattr(counts, field) for field in BatchCounts._fields))

    def _copy_group(self, handle: Any, i: int) -> BatchGroup:
        group = ffi.new("struct bi_group *")
        lib.bi_get_group(handle, i, group)
        path = text(group.path, group.path_len)
        sender = bytes(ffi.buffer(group.sender, group.sender_len))
        schema = self._schemas.get(group.schema_id) or self._read_schema(group)
        return BatchGroup(path, sender, bytes(ffi.buffer(group.data, group.bytes)), group.rows, schema)

    def _read_schema(self, group: Any) -> LogColumns:
        """Not with the transcoder of the lines: reading would change which schemas that one remembers."""
        schema = Transcoder().batch_columns(bytes(ffi.buffer(group.header, group.header_len)))
        if len(self._schemas) >= _SCHEMAS_KEPT or self._columns_kept >= _COLUMNS_KEPT:
            self._schemas.clear()
            self._columns_kept = 0
        self._schemas[group.schema_id] = schema
        self._columns_kept += len(schema.columns)
        return schema
