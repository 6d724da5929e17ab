"""Frames of a Broker peer, made and judged by hand for the tests."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from appliance.errors import RemoteProtocolError
from appliance.native import BrokerIntake, Run, RunKind, Transcoder
from appliance.zeek.messages import Event, decode_message, encode_message
from appliance.zeek.values import Count

from .wire import log_write, message, named, vector

ME = bytes.fromhex("c0551e8d392b509ba47bae46f75befac")
PEER = bytes.fromhex("5746d8ee36445bd29f54d5a44c26c2a1")
THIRD = bytes(range(1, 17))
NIL = bytes(16)
EVENT = encode_message(Event.make("Cluster::hello", b"worker-1", Count(42)))
LOG = log_write(path="conn")
BATCH = message(5, vector(LOG, message(5, vector(LOG))))
PRINT = named(5, "hello")
GOLDEN = Path(__file__).parents[1] / "golden"


class One(NamedTuple):
    """One frame as an intake understands it."""

    kind: RunKind
    topic: str
    name: str
    data: bytes
    ttl: int
    is_unicast: bool


def envelope(
    payload: bytes,
    *,
    topic: bytes | str = "t",
    sender: bytes = PEER,
    receiver: bytes = NIL,
    kind: int = 1,
    ttl: int = 16,
    topic_size: int | None = None,
) -> bytes:
    """A node message without its length."""
    topic = topic.encode() if isinstance(topic, str) else topic
    size = len(topic) if topic_size is None else topic_size
    return sender + receiver + struct.pack(">BHH", kind, ttl, size) + topic + payload


def framed(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def make(*, me: bytes = ME, max_message: int = 1 << 20) -> BrokerIntake:
    return BrokerIntake(me=me, peer=PEER, max_message=max_message)


def feed(intake: BrokerIntake, *frames: bytes) -> list[Run]:
    return intake.feed(b"".join(map(framed, frames)))


def kinds(*frames: bytes) -> list[RunKind]:
    """What each frame is, on its own."""
    return [feed(make(), frame)[0].kind for frame in frames]


def judge(frame: bytes, *, me: bytes = ME) -> One:
    """What Python makes of a frame: the reference."""
    other = One(RunKind.OTHER, "", "", frame, 0, False)
    if len(frame) < 37:
        return other
    sender, receiver = frame[:16], frame[16:32]
    kind, ttl, size = struct.unpack_from(">BHH", frame, 32)
    topic, payload = frame[37 : 37 + size], frame[37 + size :]
    if kind != 1 or len(topic) != size or not topic or not payload or topic.startswith(b"<$>/local/"):
        return other
    if sender in (NIL, me) or receiver not in (NIL, me):
        return other
    name, text, is_unicast = "", topic.decode("utf-8", "surrogateescape"), receiver == me
    try:
        message = decode_message(payload)
        if isinstance(message, Event):
            return One(RunKind.EVENTS, text, message.name, payload, ttl, is_unicast)
    except RemoteProtocolError:
        pass
    try:
        if Transcoder().broker_groups(payload).others == 0:
            return One(RunKind.LOGS, text, name, payload, ttl, is_unicast)
    except RemoteProtocolError:
        pass
    return other


def split(runs: Iterable[Run]) -> list[One]:
    """The frames of runs, whose bounds are checked."""
    frames = []
    for kind, topic, name, count, data, ttl, is_unicast in runs:
        parts = messages(data) if kind is RunKind.EVENTS else [data]
        assert len(parts) == count <= 10_000
        assert count == 1 or len(data) <= 1 << 20
        frames += [One(kind, topic, name, part, ttl, is_unicast) for part in parts]
    return frames


def messages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4])
        assert end <= len(data)
        found.append(data[at + 4 : end])
        at = end
    return found


def recorded() -> list[bytes]:
    """Every frame of the recordings behind the handshakes, without its length."""
    with gzip.open(GOLDEN / "broker" / "cluster.jsonl.gz", "rt") as lines:
        entries = [json.loads(line) for line in lines]
    with (GOLDEN / "zeek" / "broker-events.jsonl").open() as lines:
        entries += [json.loads(line) for line in lines]
    frames = [bytes.fromhex(entry["hex"]) for entry in entries]
    return [frame for frame in frames if len(frame) > 37 and 1 <= frame[32] <= 5 and frame[33:35] == b"\0\x10"]
