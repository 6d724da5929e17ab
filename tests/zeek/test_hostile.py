"""Real messages, damaged: every decoder refuses them with one error, and within bounds."""

from __future__ import annotations

import contextlib
import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.batches import decode_batch
from appliance.zeek.binary import decode, encode, write_varbyte
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.json_values import decode_json, encode_json
from appliance.zeek.messages import Batch, LogWrite, decode_message, encode_message
from appliance.zeek.records import RecordCodec
from appliance.zeek.values import Count
from tests.zeek.golden import broker_data, interop_data, log_messages
from tests.zeek.vectors import BATCH

NASTY = [
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\x80",
    b"\x80" * 8,
    b"\x0e\x01" * 60,
]


def read_batch(data: bytes) -> None:
    schema, records = decode_batch(data)
    JsonLineRenderer(schema).lines(records)


def read_message(data: bytes) -> None:
    message = decode_message(data)
    for each in message.messages if isinstance(message, Batch) else (message,):
        if isinstance(each, LogWrite):
            with contextlib.suppress(RemoteProtocolError):
                RecordCodec(decode_batch(BATCH)[0].fields).decode(each.serial)


def read_json(data: bytes) -> None:
    encode(decode_json(data))


def small(messages: list[bytes], number: int, limit: int) -> list[bytes]:
    """Messages of different sizes up to a limit, so many of them at most."""
    by_size = {len(message): message for message in messages if len(message) <= limit}
    sizes = sorted(by_size)
    return [by_size[size] for size in sizes[:: max(1, len(sizes) // number)]]


def batches(limit: int = 3000) -> list[bytes]:
    return small([frames[3] for frames in log_messages()], 8, limit)


def messages(limit: int = 3000) -> list[bytes]:
    return small([data.payload for data in [*broker_data(), *interop_data()]], 12, limit)


def texts() -> list[bytes]:
    return [encode_json(decode(message)) for message in messages()]


KINDS: list[tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = [
    (read_batch, batches),
    (read_message, messages),
    (read_json, texts),
]


@pytest.mark.slow
@pytest.mark.parametrize(("read", "originals"), KINDS)
def test_messages_cut_off_are_refused(read: Callable[[bytes], None], originals: Callable[[], list[bytes]]) -> None:
    """At no place can a message end early."""
    for data in originals():
        read(data)
        for end in range(0, len(data), 1 if len(data) < 800 else 7):
            with pytest.raises(RemoteProtocolError):
                read(data[:end])


@pytest.mark.slow
@pytest.mark.parametrize(("read", "originals"), KINDS)
def test_damaged_messages_raise_one_error(read: Callable[[bytes], None], originals: Callable[[], list[bytes]]) -> None:
    """Whatever is changed, the message is still one, or refused with the one error."""
    chance = random.Random(20261121)
    for data in originals():
        for _ in range(150):
            damaged = bytearray(data)
            for _ in range(chance.choice((1, 1, 2, 5))):
                start = chance.randrange(len(damaged) + 1)
                end = min(len(damaged), start + chance.choice((0, 1, 4, 8, 40)))
                piece = chance.choice([*NASTY, chance.randbytes(4), data[start : start + 30]])
                damaged[start:end] = piece
            with contextlib.suppress(RemoteProtocolError):
                read(bytes(damaged))


NOTHING = b"\0" * 200_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "bomb",
    [
        b"\x0e" + write_varbyte(2**32 - 1) + NOTHING,
        b"\x0d" + write_varbyte(2**31) + NOTHING,
        b"\x05" + write_varbyte(2**32 - 1) + NOTHING,
        b"\x0c\x02" * 100_000,
        b"\x0e" + write_varbyte(200_000) + NOTHING,
        b"\x0e\x03" + encode(Count(1)) + encode(Count(5)) + b"\x0e" + write_varbyte(190_000) + NOTHING,
    ],
    ids=lambda bomb: bomb[:8].hex(),
)
def test_message_bombs_take_little_memory(bomb: bytes) -> None:
    """What a message announces costs nothing, and what it holds a hundred times its size at most."""
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode_message(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(bomb)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [2**31, 2**60, 2**63 - 1])
@pytest.mark.parametrize("tag", [14, 19])
def test_record_bombs_take_little_memory(count: int, tag: int) -> None:
    """A set or vector that announces more elements than there are bytes is refused first."""
    header = bytes(16) + struct.pack(">I", 1) + b"\0" + struct.pack(">iiiB", 0, tag, 3, 0) + struct.pack(">I", 1)
    bomb = header + struct.pack(">iiBq", tag, 0, 1, count) + NOTHING
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="elements"):
            decode_batch(bomb)
        assert tracemalloc.get_traced_memory()[1] < len(bomb)
    finally:
        tracemalloc.stop()


def test_sets_of_colliding_values_are_read_in_time() -> None:
    """Values are compared by sorting: no choice of them makes a set slow."""
    step = 2**61 - 1  # Python's hash of an integer is its remainder by this
    numbers = b"".join(b"\x03" + struct.pack(">q", (index % 8 - 4) * step + index // 8) for index in range(20_000))
    value = decode(b"\x0c" + write_varbyte(20_000) + numbers)
    assert encode(value) == b"\x0c" + write_varbyte(20_000) + numbers


@pytest.mark.slow
def test_damage_is_found_again_after_writing() -> None:
    """A message that survives damage is written as one that says the same."""
    chance = random.Random(1)
    for data in messages(600):
        for _ in range(200):
            damaged = bytearray(data)
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            with contextlib.suppress(RemoteProtocolError, LocalProtocolError):  # ours: of an unknown type
                value = decode(bytes(damaged))
                assert decode(encode(value)) == value
                message = decode_message(bytes(damaged))
                assert decode_message(encode_message(message)) == message
