"""The other side of the Broker benchmarks: a blocking peer in a process of its own that sends or takes frames at full
speed and decodes nothing.
"""

from __future__ import annotations

import gzip
import json
import socket
import uuid
from pathlib import Path

from appliance.wire.handshake import Established, Failed, Handshake, Refused, RoleKnown
from appliance.wire.node_messages import NIL, data_frame
from appliance.zeek.address import Address
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count

__all__ = ["EVENTS", "LOG_ROUNDS", "TOPIC", "log_frames", "make_events", "meet", "send_events", "send_logs", "take"]

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "broker" / "cluster.jsonl.gz"
TOPIC = "zeek/event/bench/"
EVENTS = 500_000
BLOCK = 1_000
"""Different events, which are sent over and over."""
LOG_ROUNDS = 120
READ = 256 << 10


def meet(sock: socket.socket, me: bytes, *, is_dialer: bool, wanted: tuple[str, ...]) -> bytes:
    """Do the handshake; returns the peer's ID."""
    handshake = Handshake(me, is_dialer=is_dialer, local_filter=lambda: wanted)
    handshake.start()
    while True:
        event = handshake.next_event()
        sock.sendall(handshake.data_to_send())
        match event:
            case RoleKnown():
                handshake.accept()
            case Established(peer, _):
                return peer
            case Refused() | Failed() as end:
                raise SystemExit(f"no handshake: {end}")
            case None:
                handshake.receive_data(sock.recv(READ))


def make_events(me: bytes) -> bytes:
    """`BLOCK` frames of an event with a count, a string and an address."""
    return b"".join(
        data_frame(
            me,
            TOPIC,
            encode_message(Event.make("Bench::e", Count(i), b"a string of some length", Address(b"\x0a\x00\x00\x01"))),
        )
        for i in range(BLOCK)
    )


def send_events(port: int, *, is_raw: bool) -> None:
    """Connect and send `EVENTS` events, with Broker's handshake or without."""
    me = uuid.uuid4().bytes
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if not is_raw:
            meet(sock, me, is_dialer=True, wanted=())
        block = make_events(me)
        for _ in range(EVENTS // BLOCK):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(READ):  # whoever closes first cuts what the other has not read
            pass


def log_frames() -> tuple[bytes, list[bytes], list[bytes]]:
    """The recorded worker: its ID, what it announces, and what it writes."""
    creates: list[bytes] = []
    writes: list[bytes] = []
    me = b""
    for line in map(json.loads, gzip.decompress(GOLDEN.read_bytes()).splitlines()):
        frame = bytes.fromhex(line["hex"])
        if line["listener"] != "logger-1" or line["dir"] != "c2s":
            continue
        if frame[0] == 6 and frame[1:5] == b"ZEEK" and not me:
            me, conn = frame[5:21], line["conn"]
        elif line["conn"] == conn and len(frame) > 37 and frame[32] == 1:
            payload = frame[37 + int.from_bytes(frame[35:37]) :]
            found = creates if b"Log::WRITER" in payload and payload[11:20] == b"\x02" + (2).to_bytes(8) else writes
            found.append(frame)
    return me, creates, writes


def send_logs(port: int) -> None:
    """Connect and send the recorded log writes `LOG_ROUNDS` times."""
    me, creates, writes = log_frames()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        meet(sock, me, is_dialer=True, wanted=())
        sock.sendall(b"".join(len(f).to_bytes(4) + f[:16] + NIL + f[32:] for f in creates))
        block = b"".join(len(f).to_bytes(4) + f for f in writes)
        for _ in range(LOG_ROUNDS):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(READ):
            pass


def take(port: int, frame_bytes: int) -> None:
    """Connect, ask for the topic, and read `EVENTS` frames of `frame_bytes`."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        meet(sock, uuid.uuid4().bytes, is_dialer=True, wanted=(TOPIC,))
        left = EVENTS * frame_bytes
        while left > 0:
            data = sock.recv(READ)
            if not data:
                raise SystemExit(f"{left} bytes are missing")
            left -= len(data)
