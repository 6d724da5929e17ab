"""Rows from the log writer's messages: the JSON check, the intake, and the drain of a ZeroMQ socket into it."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.errors import ApplianceError
from appliance.native.batches import BatchIntake
from appliance.native.handles import Owner, allocate, fail, opened, text

__all__ = ["LogCounts", "LogGroup", "LogIntake", "LogSequence", "ZmqDrain", "check_json_row"]

_REFUSED_BYTES = 512


def check_json_row(row: bytes) -> bool:
    """Whether `row` is exactly one JSON object without line breaks, valid UTF-8, nested at most 64 deep.

    Source: RFC 8259, RFC 3629. Duplicate names and lone surrogates in escapes are legal there.
    """
    return bool(lib.json_row_check(row, len(row), ffi.NULL) == 0)


class LogGroup(NamedTuple):
    """Rows of one log path and node, in the order of their arrival."""

    path: str
    """Log path, ASCII."""
    node: str
    """Value of ``_node``; empty if the rows carry none."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """At least 1."""


class LogCounts(NamedTuple):
    """Messages since the intake was made; `messages` is the sum of the others."""

    messages: int
    accepted: int
    bad_frames: int
    """Not exactly two frames."""
    bad_path: int
    """Empty, too long, or with characters that do not belong into a log path."""
    too_large: int
    """The row is longer than `max_row`."""
    bad_json: int
    """The row is not one JSON object on one line."""


class LogSequence(NamedTuple):
    """Sequence counter of one log path and node, from the rows that carry ``_seq``."""

    path: str
    node: str
    last: int
    """The number of the last row."""
    missing: int
    """Numbers skipped between rows that arrived: lost on the way."""
    unseen: int
    """Numbers before the first row of each run of the writer: sent before it was connected, or lost."""
    restarts: int
    """How often the writer began again."""


class LogIntake(Owner):
    """Checks two-frame messages of the ZeroMQ log writer and collects their rows by path and node.

    Args:
        max_row: longest row in bytes, at least 2.
        max_rows: rows that one round, from `take` to `take`, may hold.
        arena: bytes that one round may hold; raised if it could not hold one row.
        max_sequences: pairs of path and node whose sequence is followed.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, *, max_row: int, max_rows: int = 4096, arena: int = 4 << 20, max_sequences: int = 4096) -> None:
        out = ffi.new("struct lw_intake **")
        error = lib.lw_open(max_row, max_rows, arena, max_sequences, out)
        super().__init__(opened("LogIntake", error, out, lib.lw_close))

    def frame(self, data: bytes, *, more: bool) -> bool:
        """Give one frame; `more` if further frames of the same message follow.

        Check `has_room` before the first frame of each message: without room, it is refused as too large.

        Returns:
            Whether the frame ended a message that was accepted.
        """
        return bool(lib.lw_frame(self.open_handle, data, len(data), more))

    def has_room(self) -> bool:
        """Whether one more message of any legal size fits before `take`."""
        return bool(lib.lw_has_room(self.open_handle))

    def take(self) -> list[LogGroup]:
        """The groups of this round in order of first arrival; starts the next round."""
        handle = self.open_handle
        groups = [self._copy_group(handle, i) for i in range(lib.lw_group_count(handle))]
        lib.lw_reset(handle)
        return groups

    @staticmethod
    def _copy_group(handle: Any, i: int) -> LogGroup:
        group = ffi.new("struct lw_group *")
        lib.lw_group(handle, i, group)
        data = allocate("uint8_t[]", group.bytes)
        lib.lw_copy_group(handle, i, data)
        path, node = text(group.path, group.path_len), text(group.node, group.node_len)
        return LogGroup(path, node, bytes(ffi.buffer(data)), group.rows)

    def counts(self) -> LogCounts:
        """What was accepted and refused since the intake was made."""
        counts = ffi.new("struct lw_counts *")
        lib.lw_get_counts(self.open_handle, counts)
        return LogCounts(*(getattr(counts, field) for field in LogCounts._fields))

    def sequences(self) -> list[LogSequence]:
        """The sequence counters, in order of first arrival."""
        handle = self.open_handle
        sequence = ffi.new("struct lw_sequence *")
        sequences = []
        for i in range(lib.lw_sequence_count(handle)):
            lib.lw_get_sequence(handle, i, sequence)
            path, node = text(sequence.path, sequence.path_len), text(sequence.node, sequence.node_len)
            sequences.append(
                LogSequence(path, node, sequence.last, sequence.missing, sequence.unseen, sequence.restarts)
            )
        return sequences

    @property
    def untracked(self) -> int:
        """Rows with a sequence number that no counter followed: the table was full, or the node's name too long."""
        return int(lib.lw_untracked(self.open_handle))

    def last_refused(self) -> bytes:
        """The beginning (512 bytes) of the frame for which the last message was refused; empty if none was."""
        out = ffi.new("uint8_t[]", _REFUSED_BYTES)
        return bytes(ffi.buffer(out, lib.lw_last_refused(self.open_handle, out, _REFUSED_BYTES)))


class ZmqDrain(Owner):
    """Moves the messages of a pyzmq socket into a `LogIntake` without making Python objects of them.

    Uses the libzmq that pyzmq has loaded, so ``import zmq`` comes first.

    Raises:
        ApplianceError: no usable libzmq is loaded.
    """

    def __init__(self) -> None:
        out = ffi.new("struct zd_api **")
        error = lib.zd_open(out)
        if error == errno.ENOENT:
            raise ApplianceError(
                "no libzmq is loaded in this process",
                hint="import zmq first; a pyzmq that hides libzmq's functions cannot be used, install its wheel",
            )
        if error == errno.ENOTSUP:
            raise ApplianceError("the loaded libzmq is not version 4", hint="install a current pyzmq")
        super().__init__(opened("ZmqDrain", error, out, lib.zd_close))

    def drain(self, socket_pointer: int, intake: LogIntake | BatchIntake, max_messages: int) -> tuple[int, bool]:
        """Receive without waiting until the socket is empty, the intake is full, or `max_messages` have come.

        Args:
            socket_pointer: ``zmq.Socket.underlying`` of an open socket that no other thread uses meanwhile.
            intake: gets the messages.
            max_messages: at least 0.

        Returns:
            How many messages were received, refused ones included, and whether the socket is empty. Only if it is,
            its ``ZMQ_FD`` may be waited for: that descriptor is edge-triggered.

        Raises:
            MemoryError: a batch was lost for lack of memory.
            OSError: libzmq's error, e.g. `errno.ENOTSOCK` or ``zmq.ETERM``; what came before it is in the intake.
        """
        received = ffi.new("size_t *")
        socket = ffi.cast("void *", socket_pointer)
        drain = lib.zd_drain if isinstance(intake, LogIntake) else lib.zd_drain_batches
        error = drain(self.open_handle, socket, intake.open_handle, max_messages, received)
        if error == errno.ENOMEM:
            raise MemoryError("no memory for what was received")
        if error not in (0, errno.EAGAIN):
            fail(error)
        return int(received[0]), error == errno.EAGAIN
