"""Frames of a Broker peer: in, recognised and put together; out, made of events that are encoded already.

Source: Broker, ``broker/envelope.cc`` and ``broker/internal/wire_format.cc`` (frames), ``broker/zeek.hh``.
"""

from __future__ import annotations

import enum
import errno
import struct
from typing import NamedTuple

from appliance._native import ffi, lib
from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.native.handles import Owner, allocate, opened

__all__ = ["BrokerIntake", "IntakeCounts", "OversizeFrameError", "Run", "RunKind", "frame_events"]

_NIL = bytes(lib.BK_ID)
_MAX_TOPIC = 0xFFFF
_MAX_TTL = 0xFFFF
_CODEC = ("utf-8", "surrogateescape")
# cffi needs longer for the fields of a run, one by one, than C for the run: so all of them are read at once.
_RUN = struct.Struct(f"={ffi.sizeof('struct bk_run') // 8}Q")


class RunKind(enum.IntEnum):
    """What a `Run` holds."""

    EVENTS = lib.BK_EVENTS
    """Events of one name and topic, one after the other."""
    LOGS = lib.BK_LOGS
    """A log write, or a batch of nothing but log writes."""
    OTHER = lib.BK_OTHER
    """Any other frame; most of them are control messages."""


_KINDS = {int(kind): kind for kind in RunKind}


class Run(NamedTuple):
    """Frames that came one after the other; only of `RunKind.EVENTS` are there several in one."""

    kind: RunKind
    topic: str
    """Bytes that are not UTF-8 are surrogates. Empty for `RunKind.OTHER`."""
    name: str
    """The event's name with its module, e.g. ``Cluster::hello``; else empty."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    """Events, at most 10,000; 1 of the other kinds."""
    data: bytes
    """Events: `count` times a length, 32 bits in network order, and that many bytes, a message that `decode_message`
    takes; more than 1 MiB only if it is one event. Logs: one message. Other: the frame without its length."""
    ttl: int
    """As it came; without a meaning to Broker. 0 for `RunKind.OTHER`."""
    is_unicast: bool
    """Sent to our endpoint, not to who has subscribed to the topic. False for `RunKind.OTHER`."""


class IntakeCounts(NamedTuple):
    """What came since the intake was made; ``frames = events + logs + others``."""

    frames: int
    """Whole ones that hold something."""
    bytes: int
    """Of these frames, with their lengths."""
    events: int
    logs: int
    """Frames, not log writes."""
    others: int
    foreign: int
    """Events and logs whose sender field names neither us nor the peer but a third endpoint."""
    empty: int
    """Frames that hold nothing, which are legal and left out."""
    oversize: int
    """Frames longer than allowed. The first one is the end."""


class OversizeFrameError(RemoteProtocolError):
    """A peer announced a frame that is longer than allowed.

    Args:
        message: what happened.
        runs: what came before that frame.
    """

    def __init__(self, message: str, *, runs: list[Run]) -> None:
        super().__init__(message)
        self.runs = runs


class BrokerIntake(Owner):
    """Recognises the frames of a peer after the handshake, and checks the events and logs among them.

    An event that comes out decodes; everything doubtful comes out as `RunKind.OTHER`. How the bytes are cut makes no
    difference but that a run ends with them.

    Args:
        me: our endpoint ID, 16 bytes.
        peer: the peer's.
        max_message: longest frame in bytes, without its length.

    Raises:
        ValueError: an ID is not one, or the limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, *, me: bytes, peer: bytes, max_message: int) -> None:
        out = ffi.new("struct bk_intake **")
        error = lib.bk_open(_checked_id(me), _checked_id(peer), max_message, out)
        super().__init__(opened("BrokerIntake", error, out, lib.bk_close))
        self._max_message = max_message
        self._result = ffi.new("struct bk_result *")

    def feed(self, data: bytes) -> list[Run]:
        """Give the next bytes of the connection, some 64 KiB for best speed.

        Returns:
            The frames that are whole now, in the order of their arrival.

        Raises:
            OversizeFrameError: a frame announces too much; its attribute `runs` has those before it. From then on,
                every call raises it.
            MemoryError: what came with these bytes is lost, and the intake is at its end as above.
        """
        handle = self.open_handle
        error = lib.bk_feed(handle, data, len(data), self._result)
        runs = self._read_runs() if self._result.count else []
        lib.bk_reset(handle)
        if error == errno.EMSGSIZE:
            raise OversizeFrameError(f"a frame of more than {self._max_message} bytes", runs=runs)
        if error:
            raise MemoryError("no memory for the frames of a peer")
        return runs

    def counts(self) -> IntakeCounts:
        """What came since the intake was made."""
        counts = ffi.new("struct bk_counts *")
        lib.bk_get_counts(self.open_handle, counts)
        return IntakeCounts(*(getattr(counts, field) for field in IntakeCounts._fields))

    @property
    def held_bytes(self) -> int:
        """Bytes of a frame that is not yet whole."""
        return int(lib.bk_held_bytes(self.open_handle))

    @property
    def is_between_frames(self) -> bool:
        """Whether the connection may end here without tearing a frame."""
        return bool(lib.bk_is_between_frames(self.open_handle))

    def _read_runs(self) -> list[Run]:
        result = self._result
        arena = ffi.buffer(result.arena, result.bytes)
        table = ffi.buffer(result.runs, result.count * _RUN.size)
        return [
            Run(
                _KINDS[kind],
                arena[topic : topic + topic_size].decode(*_CODEC),
                arena[name : name + name_size].decode(*_CODEC),
                count,
                arena[data : data + size],
                ttl,
                is_unicast != 0,
            )
            for kind, count, data, size, topic, topic_size, name, name_size, ttl, is_unicast in _RUN.iter_unpack(table)
        ]


def frame_events(me: bytes, topic: str | bytes, data: bytes, *, ttl: int = 16, receiver: bytes = _NIL) -> bytes:
    """Make node messages, ready to be sent, of events that wait one after the other.

    Args:
        me: our endpoint ID, 16 bytes: the sender.
        topic: what they are published on.
        data: for each event a length, 32 bits in network order, and a message: the data of a `Run` of events.
        ttl: 16 is what Broker sends, whatever it got.
        receiver: endpoint ID of the only one to get them; nil for all who have subscribed.

    Returns:
        As many frames as there are events, each with its length, one after the other.

    Raises:
        LocalProtocolError: the topic is empty or too long, the data is cut off, or one of the messages is empty or too
            long for Broker.
        ValueError: an ID is not one, the topic cannot be transmitted, or the TTL is out of range.
    """
    if isinstance(topic, str):
        topic = topic.encode(*_CODEC)
    if not 0 < len(topic) <= _MAX_TOPIC:
        raise LocalProtocolError(f"a topic of {len(topic)} bytes")
    if not 0 <= ttl <= _MAX_TTL:
        raise ValueError(f"a TTL of {ttl}")
    # The envelope points to these, and does not keep them.
    sender, to, name = (ffi.from_buffer("uint8_t[]", each) for each in (_checked_id(me), _checked_id(receiver), topic))
    envelope = ffi.new("struct bk_envelope *", [sender, to, name, len(topic), ttl])
    size = ffi.new("size_t *")
    error = lib.bk_framed_bytes(envelope, data, len(data), size)
    if error == errno.EMSGSIZE:
        raise LocalProtocolError("an event that is too long for Broker")
    if error:
        raise LocalProtocolError("events that are cut off, or an empty one")
    out = allocate("uint8_t[]", size[0])
    lib.bk_frame_events(envelope, data, len(data), out)
    return bytes(ffi.buffer(out))


def _checked_id(endpoint: bytes) -> bytes:
    if len(endpoint) != len(_NIL):
        raise ValueError(f"an endpoint ID of {len(endpoint)} bytes")
    return endpoint
