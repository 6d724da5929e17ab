"""Broker's log writes: found and grouped in a message, then turned into lines with what was announced for them."""

from __future__ import annotations

import random
import struct

import pytest

from appliance.errors import RemoteProtocolError
from appliance.native import BrokerGroup, ExtraMembers, LogColumn, Transcoder, TypeNumbers, WriteSchema, check_json_row

from .wire import (
    ADDR,
    COUNT,
    SPEC_LINE,
    SPEC_RECORD,
    STRING,
    TIME,
    count,
    log_write,
    message,
    named,
    real,
    string,
    text,
    value,
    vector,
)

NONE = b"\0"
SPEC_NAMES = ("ts", "uid", "id.orig_h", "id.orig_p", "proto", "duration", "n", "tags", "net")


@pytest.fixture
def transcoder() -> Transcoder:
    return Transcoder()


def number(value_: int) -> bytes:
    return value(COUNT, struct.pack(">Q", value_))


def schema_of(*names: str, path: str = "x", numbers: TypeNumbers = TypeNumbers.FROM_5_0) -> WriteSchema:
    return WriteSchema([LogColumn(name) for name in names], path=path, numbers=numbers)


def test_a_single_write(transcoder: Transcoder) -> None:
    """A message that is a log write and nothing else is one group."""
    groups = transcoder.broker_groups(log_write(number(1), path="conn", stream="Conn::LOG", writer="Log::WRITER_ASCII"))
    assert groups.groups == (BrokerGroup("Conn::LOG", "Log::WRITER_ASCII", "conn", 1, 21),)
    assert groups.others == 0
    result = transcoder.group_lines(groups, 0, schema_of("a"))
    assert (result.data, result.count, result.refused) == (b'{"a":1}\n', 1, 0)


def test_writes_are_grouped_by_their_names_in_order(transcoder: Transcoder) -> None:
    """Stream, writer and path make a group; groups come by first write, and each keeps the order of its writes."""
    keys = [("A::LOG", "W", "p"), ("A::LOG", "W", "q"), ("B::LOG", "W", "p"), ("A::LOG", "V", "p"), ("", "AW", "p")]
    chance = random.Random(3)
    sequence = keys + [chance.choice(keys) for _ in range(200)]
    writes = [log_write(number(i), path=p, stream=s, writer=w) for i, (s, w, p) in enumerate(sequence)]
    groups = transcoder.broker_groups(message(5, vector(*writes)))
    assert [group[:3] for group in groups.groups] == keys
    for i, key in enumerate(keys):
        expected = b"".join(b'{"a":%d}\n' % n for n, other in enumerate(sequence) if other == key)
        result = transcoder.group_lines(groups, i, schema_of("a"))
        assert (result.data, result.count) == (expected, groups.groups[i].count)


def test_many_groups(transcoder: Transcoder) -> None:
    """Thousands of paths in one message are thousands of groups."""
    writes = [log_write(number(i), path=f"p{i % 5000}") for i in range(10_000)]
    groups = transcoder.broker_groups(message(5, vector(*writes)))
    assert [group.path for group in groups.groups] == [f"p{i}" for i in range(5000)]
    assert transcoder.group_lines(groups, 4999, schema_of("a")).data == b'{"a":4999}\n{"a":9999}\n'


def test_batches_in_batches_and_surplus_elements(transcoder: Transcoder) -> None:
    """Batches nest, further elements are tolerated everywhere, and other messages are counted."""
    serial = named(5, b"\0\0\0\1" + number(2))
    write = vector(named(11, "X::LOG"), named(11, "W"), named(5, "x"), serial, NONE, vector())
    event = message(1, vector(named(5, "e"), vector(b"\x0d\x01" + NONE + vector(NONE), b"\x0c\x02" + count(1) + NONE)))
    scalars = vector(
        b"\x01\x01", b"\x03" + bytes(8), b"\x04" + bytes(8), b"\x06" + bytes(16), b"\x07" + bytes(17),
        b"\x08\x00\x35\x02", b"\x09" + bytes(8), b"\x0a" + bytes(8), named(11, "e"),
    )  # fmt: skip
    inner = message(5, vector(log_write(number(1)), event, message(3, write, scalars)), scalars)
    groups = transcoder.broker_groups(message(5, vector(event, inner, message(77, scalars), log_write(number(3)))))
    assert groups.others == 3
    assert [group.count for group in groups.groups] == [3]
    assert transcoder.group_lines(groups, 0, schema_of("a")).data == b'{"a":1}\n{"a":2}\n{"a":3}\n'


def test_no_writes(transcoder: Transcoder) -> None:
    """An event is a good message without groups; there is nothing to make lines of."""
    groups = transcoder.broker_groups(message(1, vector(named(5, "e"), vector())))
    assert (groups.groups, groups.others) == ((), 1)
    assert transcoder.broker_groups(message(5, vector())).groups == ()
    with pytest.raises(IndexError):
        transcoder.group_lines(groups, 0, schema_of("a"))


def test_writes_that_do_not_decode_are_left_out_and_counted(transcoder: Transcoder) -> None:
    """Each write has its own frame, so a broken one takes no other with it."""
    good = [number(1), string("a")]
    serial = struct.pack(">I", 2) + b"".join(good)
    broken = [serial[:end] for end in range(len(serial))] + [serial + b"\0", struct.pack(">I", 3) + b"".join(good)]
    writes = [message(3, vector(named(11, "X::LOG"), named(11, "W"), named(5, "x"), named(5, s))) for s in broken]
    writes.insert(5, log_write(number(7), string("b")))
    groups = transcoder.broker_groups(message(5, vector(log_write(*good), *writes, log_write(*good))))
    result = transcoder.group_lines(groups, 0, schema_of("n", "s"))
    assert result.data == b'{"n":1,"s":"a"}\n{"n":7,"s":"b"}\n{"n":1,"s":"a"}\n'
    assert (result.count, result.refused) == (3, len(broken))


def test_extra_members() -> None:
    """The path is the announced one."""
    transcoder = Transcoder(extras=ExtraMembers(7))
    groups = transcoder.broker_groups(log_write(number(1), path="conn"))
    result = transcoder.group_lines(groups, 0, schema_of("a", path="conn"), node=b"worker-1", write_ts=2.5)
    assert result.data == b'{"_path":"conn","_node":"worker-1","_write_ts":2.5,"a":1}\n'
    result = transcoder.group_lines(groups, 0, schema_of("_node", path="conn"), node=b"worker-1", write_ts=2.5)
    assert result.data == b'{"_path":"conn","_write_ts":2.5,"_node":1}\n'


NUMBERINGS = {
    TypeNumbers.UP_TO_4_0: {TIME: 6, STRING: 8, ADDR: 13, 10: 12, 9: 10, 6: 7, 3: 3, 14: 16, 12: 14, 17: 20, 18: 21},
    TypeNumbers.FROM_4_1: {TIME: 5, STRING: 7, ADDR: 12, 10: 11, 9: 9, 6: 6, 3: 3, 14: 15, 12: 13, 17: 19, 18: 20},
    TypeNumbers.FROM_5_0: {kind: kind for kind in (TIME, STRING, ADDR, 10, 9, 6, 3, 14, 12, 17, 18)},
}


@pytest.mark.parametrize("numbers", TypeNumbers)
def test_older_numbers_of_types(transcoder: Transcoder, numbers: TypeNumbers) -> None:
    """Senders before 5.0 give other numbers to the same types; functions and files are strings in all of them."""
    table = NUMBERINGS[numbers]

    def renumber(record: bytes, at: int) -> bytes:
        """The record from `at` on, in the other numbering."""
        if at == len(record):
            return b""
        kind = struct.unpack_from(">i", record, at)[0]
        following = [i for i in SPEC_STARTS if i > at]
        end = following[0] if following else len(record)
        return struct.pack(">i", table[kind]) + record[at + 4 : end] + renumber(record, end)

    record = renumber(SPEC_RECORD, 0) + value(table[17], text("f")) + value(table[18], text("g"))
    serial = struct.pack(">I", 11) + record
    payload = message(3, vector(named(11, "D::LOG"), named(11, "W"), named(5, "demo"), named(5, serial)))
    result = transcoder.group_lines(
        transcoder.broker_groups(payload), 0, schema_of(*SPEC_NAMES, "func", "file", numbers=numbers)
    )
    assert result.data == SPEC_LINE.replace(b"}", b',"func":"f","file":"g"}')


# where the values of the described record begin: ts, uid, orig_h, orig_p, proto, duration, n, tags, "a", net
SPEC_STARTS = (0, 17, 35, 49, 70, 86, 95, 112, 129, 143)

BROKEN = {
    "nothing": b"",
    "no vector": count(1),
    "a short message": vector(count(1), count(3)),
    "another version": vector(count(2), count(3), vector()),
    "a version that is no count": vector(b"\3" + bytes(7) + b"\1", count(3), vector()),
    "a type that is no count": vector(count(1), NONE, vector()),
    "bytes behind": log_write(number(1)) + b"\0",
    "a write of three": message(3, vector(named(11, "X"), named(11, "W"), named(5, "x"))),
    "a write with a string for the stream": message(3, vector(*[named(5, "X")] * 4)),
    "a batch that is no vector": message(5, count(1)),
    "a batch with a bad element": message(5, vector(log_write(number(1)), vector())),
    "a tag that does not exist": message(1, b"\x0f"),
    "a port of no protocol": message(1, b"\x08\0\0\4"),
    "a subnet of 129 bits": message(1, b"\x07" + bytes(16) + b"\x81"),
    "a vector of more than there is": message(1, b"\x0e\xff\xff\xff\xff\x0f"),
    "an overlong size": message(1, b"\x0e\x80\x80\x80\x80\x80\x00"),
    "a size of 33 bits": message(1, b"\x0e\xff\xff\xff\xff\x1f"),
    "too deep": message(1, b"\x0e\x01" * 200 + NONE),
    "batches too deep": (b"\x0e\x03" + count(1) + count(5) + b"\x0e\x01") * 60 + log_write(number(1)),
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN)
def test_what_is_no_message_is_refused(transcoder: Transcoder, payload: bytes) -> None:
    """One bad element makes all of the message bad."""
    with pytest.raises(RemoteProtocolError, match="does not decode at byte"):
        transcoder.broker_groups(payload)


def test_every_truncation_is_refused(transcoder: Transcoder) -> None:
    """A message that was cut anywhere does not decode."""
    payload = message(5, vector(log_write(number(1)), message(1, vector(named(5, "e"), vector(NONE))), log_write()))
    assert transcoder.broker_groups(payload).groups[0].count == 2
    for end in range(len(payload)):
        with pytest.raises(RemoteProtocolError):
            transcoder.broker_groups(payload[:end])


def test_whatever_comes_out_is_json(transcoder: Transcoder) -> None:
    """Changed bytes are refused or give rows that are JSON objects, as many as said."""
    chance = random.Random(2)
    serial = struct.pack(">I", 9) + SPEC_RECORD
    write = message(3, vector(named(11, "D::LOG"), named(11, "W"), named(5, "demo"), named(5, serial)))
    payload = message(5, vector(write, log_write(real(1.0)), write))
    schema = schema_of(*SPEC_NAMES, path="demo")
    rows = 0
    for _ in range(10_000):
        data = bytearray(payload)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 3, 5, 14, 127, 128, 255, chance.randrange(256)])
        try:
            groups = transcoder.broker_groups(bytes(data))
        except RemoteProtocolError:
            continue
        for i, group in enumerate(groups.groups):
            result = transcoder.group_lines(groups, i, schema)
            assert result.count + result.refused == group.count
            lines = result.data.splitlines()
            assert len(lines) == result.count
            assert all(map(check_json_row, lines))
            rows += result.count
    assert rows > 1000


def test_the_message_is_kept_as_long_as_its_groups(transcoder: Transcoder) -> None:
    """Groups point into the message; nobody else needs to hold it, in whatever object it came."""
    groups = transcoder.broker_groups(memoryview(bytearray(log_write(string("kept" * 100)))))  # type: ignore[arg-type]
    junk = [bytes(500) for _ in range(1000)]
    assert transcoder.group_lines(groups, 0, schema_of("a")).data == b'{"a":"' + b"kept" * 100 + b'"}\n'
    assert len(junk) == 1000
