"""Log batches to JSON lines: what is written, what is refused, and what is remembered."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable

import pytest

from appliance.errors import RemoteProtocolError
from appliance.native import (
    BrokerGroups,
    EscapePolicy,
    ExtraMembers,
    LogColumn,
    TimeFormat,
    Transcoder,
    TypeNumbers,
    WriteSchema,
    check_json_row,
)

from .wire import (
    ADDR,
    BOOL,
    COUNT,
    DOUBLE,
    ENUM,
    INT,
    INTERVAL,
    PORT,
    SPEC_BATCH,
    SPEC_HEADER,
    SPEC_LINE,
    SPEC_RECORD,
    STRING,
    SUBNET,
    TABLE,
    TIME,
    VECTOR,
    batch,
    count,
    header,
    many,
    message,
    one,
    real,
    string,
    value,
)

U64 = struct.Struct(">Q")
UNSET = value(STRING, None)


@pytest.fixture
def transcoder() -> Transcoder:
    return Transcoder()


def line(transcoder: Transcoder, data: bytes) -> bytes:
    """The text of the only value of a record."""
    result = transcoder.batch(one(data))
    assert result.count == 1
    assert result.data.startswith(b'{"v":')
    assert result.data.endswith(b"}\n")
    return result.data[5:-2]


def test_the_batch_of_the_format_description(transcoder: Transcoder) -> None:
    """One record with nearly every type gives the line that Zeek would write, and the batch says what it is."""
    result = transcoder.batch(SPEC_BATCH)
    assert result.data == SPEC_LINE
    assert result.count == 1
    assert (result.stream, result.writer, result.filter, result.path) == (
        "Demo::LOG",
        "Log::WRITER_ASCII",
        "default",
        "demo",
    )
    assert result.schema.columns[0] == LogColumn("ts", TIME, 0, False)
    assert result.schema.columns[7] == LogColumn("tags", TABLE, STRING, True)
    assert len(result.schema.columns) == 9
    assert transcoder.batch_columns(SPEC_BATCH) is result.schema


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (value(BOOL, U64.pack(0)), b"false"),
        (value(BOOL, U64.pack(1)), b"true"),
        (value(BOOL, U64.pack(256)), b"true"),
        (value(INT, struct.pack(">q", -(2**63))), b"-9223372036854775808"),
        (value(INT, struct.pack(">q", -5)), b"-5"),
        (value(COUNT, U64.pack(2**64 - 1)), b"18446744073709551615"),
        (value(PORT, U64.pack(53) + b"\0\0\0\2"), b"53"),
        (value(ADDR, b"\4\xff\0\x0a\x63"), b'"255.0.10.99"'),
        (value(ADDR, b"\6" + bytes(16)), b'"::"'),
        (value(SUBNET, b"\x70\4\1\2\0\0"), b'"1.2.0.0/16"'),
        (value(SUBNET, b"\x20\6\x20\1\x0d\xb8" + bytes(12)), b'"2001:db8::/32"'),
        (value(SUBNET, b"\x60\4\0\0\0\0"), b'"0.0.0.0/0"'),
        (value(SUBNET, b"\x80\6" + bytes(16)), b'"::/128"'),
        (real(1056991897.458414, TIME), b"1056991897.458414"),
        (real(0.0, INTERVAL), b"0.0"),
        (real(1e-6, INTERVAL), b"0.000001"),
        (real(1e-7, INTERVAL), b"1e-7"),
        (real(float("nan")), b"null"),
        (real(float("-inf")), b"null"),
        (string("tcp", ENUM), b'"tcp"'),
        (string("", STRING), b'""'),
        (many(TABLE, []), b"[]"),
        (many(VECTOR, [UNSET, string("a"), UNSET]), b'[null,"a",null]'),
        (many(VECTOR, [many(VECTOR, [value(COUNT, U64.pack(1))]), many(TABLE, [])]), b"[[1],[]]"),
    ],
)
def test_each_type_of_value(transcoder: Transcoder, data: bytes, expected: bytes) -> None:
    """Values are printed by the type that they carry, whatever the column says."""
    assert line(transcoder, data) == expected


def test_unset_columns_are_left_out(transcoder: Transcoder) -> None:
    """Unset columns are not there, wherever they stand; a record of them is an empty object. Only 1 means set."""
    fields = [("a", STRING), ("b", COUNT), ("c", STRING)]
    seven = value(COUNT, U64.pack(7))
    records = (UNSET + seven + UNSET, string("x") + value(COUNT, None) + UNSET, UNSET * 3, UNSET + seven + string("y"))
    odd_mark = value(STRING, None)[:8] + b"\2"
    result = transcoder.batch(batch(fields, *records, odd_mark * 3))
    assert result.data == b'{"b":7}\n{"a":"x"}\n{}\n{"b":7,"c":"y"}\n{}\n'
    assert result.count == 5
    full = Transcoder(with_unset=True).batch(batch(fields, records[0], odd_mark * 3))
    assert full.data == b'{"a":null,"b":7,"c":null}\n{"a":null,"b":null,"c":null}\n'


def test_a_batch_without_records(transcoder: Transcoder) -> None:
    """It says what it is, and has no lines."""
    result = transcoder.batch(batch([("a", STRING)]))
    assert (result.data, result.count, result.path) == (b"", 0, "x")


def test_extra_members_come_first() -> None:
    """In the order path, node, time, and only those asked for; the time is written like all others."""
    every = ExtraMembers.PATH | ExtraMembers.NODE | ExtraMembers.WRITE_TS
    fields = [("a", COUNT)]
    records = (value(COUNT, U64.pack(1)), value(COUNT, None))
    data = Transcoder(extras=every).batch(batch(fields, *records), node=b'w"1', write_ts=1.5).data
    assert (
        data == b'{"_path":"x","_node":"w\\"1","_write_ts":1.5,"a":1}\n{"_path":"x","_node":"w\\"1","_write_ts":1.5}\n'
    )
    data = Transcoder(extras=ExtraMembers.NODE).batch(batch(fields, records[0]), node=b"w").data
    assert data == b'{"_node":"w","a":1}\n'
    iso = Transcoder(extras=ExtraMembers.WRITE_TS, time=TimeFormat.ISO8601)
    assert iso.batch(batch(fields, records[1]), write_ts=0.25).data == b'{"_write_ts":"1970-01-01T00:00:00.250000Z"}\n'


def test_a_column_wins_over_an_extra_member() -> None:
    """Packages that add the same names themselves do not get them twice."""
    fields = [("_path", STRING), ("_write_ts", TIME)]
    transcoder = Transcoder(extras=ExtraMembers.PATH | ExtraMembers.NODE | ExtraMembers.WRITE_TS)
    assert transcoder.batch(batch(fields, string("p") + real(2.0, TIME)), node=b"n", write_ts=1.0).data == (
        b'{"_node":"n","_path":"p","_write_ts":2.0}\n'
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("id.orig_h", b'"id.orig_h"'),
        ('a"\\\n\x01\x7f', b'"a\\"\\\\\\n\\u0001\x7f"'),
        ("ü\ue000", '"ü\ue000"'.encode()),
        (b"\xc3\xa4\xff", b'"\\\\xc3\\\\xa4\\\\xff"'),
        ("n" * 200, b'"' + b"n" * 200 + b'"'),
    ],
)
def test_names_of_columns(transcoder: Transcoder, name: str | bytes, expected: bytes) -> None:
    """Names get what JSON needs and nothing else, unless they are no text at all."""
    data = transcoder.batch(one(value(COUNT, U64.pack(1)), name)).data
    assert data == b"{" + expected + b":1}\n"
    assert check_json_row(data[:-1])


def test_a_known_header_is_not_built_again(transcoder: Transcoder) -> None:
    """The same bytes give the same schema; another path, type or name a new one; both are kept."""
    first = transcoder.batch(batch([("a", STRING)], string("1")))
    second = transcoder.batch(batch([("a", STRING)], string("2"), string("3")))
    other = transcoder.batch(batch([("b", STRING)], string("2")))
    third = transcoder.batch(batch([("a", STRING)], string("4")))
    assert [r.schema_changed for r in (first, second, other, third)] == [True, False, True, False]
    assert first.schema is second.schema is third.schema
    assert (second.count, other.data, third.data) == (2, b'{"b":"2"}\n', b'{"a":"4"}\n')


def test_schemas_may_be_forgotten(transcoder: Transcoder) -> None:
    """More logs than are remembered only cost time."""
    payloads = [batch([("a", STRING)], string(str(i)), path=f"p{i}") for i in range(10_000)]
    for _ in range(2):
        for i, payload in enumerate(payloads):
            result = transcoder.batch(payload)
            assert result.schema_changed
            assert (result.path, result.data) == (f"p{i}", b'{"a":"%d"}\n' % i)


def test_the_schemas_of_a_site_are_all_remembered(transcoder: Transcoder) -> None:
    """Some hundred logs do not drive each other out."""
    payloads = [batch([("a", STRING)], path=f"p{i}") for i in range(256)]
    assert sum(transcoder.batch(payload).schema_changed for payload in payloads * 2) == 256


def test_large_schemas_are_forgotten_together(transcoder: Transcoder) -> None:
    """Thousands of columns in hundreds of logs do not stay in memory."""
    fields = [("", STRING)] * 4000
    for i in range(300):
        result = transcoder.batch(batch([(f"c{i}", STRING), *fields], UNSET * 4001))
        assert (result.data, len(result.schema.columns)) == (b"{}\n", 4001)
    again = transcoder.batch(batch([("c299", STRING), *fields], UNSET * 4001))
    assert not again.schema_changed
    assert again.schema is result.schema


BROKEN = {
    "nothing": b"",
    "no columns": batch([]),
    "no columns but records": batch([])[:-4] + b"\xff" * 4,
    "more columns than bytes": header([])[:-4] + b"\xff" * 4,
    "a name behind the end": b"\x7f\xff\xff\xff",
    "more records than bytes": header([("a", STRING)]) + b"\xff" * 4,
    "bytes behind": SPEC_BATCH + b"\0",
    "a record too few": SPEC_HEADER + b"\0\0\0\2" + SPEC_RECORD,
    "a type that logs do not have": one(value(8, text_ := bytes(12))),
    "a type that does not exist": one(value(26, text_)),
    "a negative type": one(value(-1, text_)),
    "void": one(value(0, text_)),
    "a protocol that does not exist": one(value(PORT, bytes(11) + b"\4")),
    "an address of no family": one(value(ADDR, b"\5" + bytes(16))),
    "a prefix shorter than IPv4": one(value(SUBNET, b"\x5f\4" + bytes(4))),
    "a prefix longer than IPv6": one(value(SUBNET, b"\x81\6" + bytes(16))),
    "a string behind the end": one(value(STRING, b"\0\0\0\5abcd")),
    "a negative string": one(value(STRING, b"\xff\xff\xff\xff")),
    "a negative number of elements": one(value(VECTOR, b"\xff" * 8)),
    "more elements than bytes": one(value(VECTOR, U64.pack(2) + UNSET)),
    "elements without end": one(value(VECTOR, U64.pack(2**62))),
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN)
def test_what_does_not_decode_is_refused(transcoder: Transcoder, payload: bytes) -> None:
    """The whole batch is refused, and the next one is none the worse for it."""
    with pytest.raises(RemoteProtocolError, match="does not decode at byte"):
        transcoder.batch(payload)
    assert transcoder.batch(SPEC_BATCH).data == SPEC_LINE


def test_nothing_of_a_broken_batch_is_emitted(transcoder: Transcoder) -> None:
    """Good records before the broken one do not come out; the message says where it broke."""
    good = batch([("a", STRING)], string("1"), string("2"), value(STRING, b"\0\0\0\x7f"))
    with pytest.raises(RemoteProtocolError, match=rf"at byte {len(good) - 4} of {len(good)}"):
        transcoder.batch(good)


@pytest.mark.parametrize(("depth", "is_good"), [(16, True), (17, False), (100_000, False)])
def test_containers_nest_to_a_limit(transcoder: Transcoder, depth: int, is_good: bool) -> None:
    """Zeek's logs have no containers in containers; what claims to cannot exhaust the stack."""
    data = b"".join(struct.pack(">iiBq", VECTOR, 0, 1, 1) for _ in range(depth - 1)) + many(VECTOR, [])
    if is_good:
        assert line(transcoder, data) == b"[" * depth + b"]" * depth
    else:
        with pytest.raises(RemoteProtocolError):
            transcoder.batch(one(data))


def test_every_truncation_is_refused(transcoder: Transcoder) -> None:
    """A batch that was cut anywhere does not decode."""
    for end in range(len(SPEC_BATCH)):
        with pytest.raises(RemoteProtocolError):
            transcoder.batch(SPEC_BATCH[:end])
        if end < len(SPEC_HEADER):
            with pytest.raises(RemoteProtocolError):
                transcoder.batch_columns(SPEC_BATCH[:end])


def test_whatever_comes_out_is_json() -> None:
    """Changed bytes are refused or give rows that are JSON objects, as many as said, under every option."""
    chance = random.Random(1)
    transcoders = [
        Transcoder(time=time, escape=escape, extras=ExtraMembers(7), with_unset=bool(escape))
        for time in TimeFormat
        for escape in EscapePolicy
    ]
    accepted = 0
    for i in range(20_000):
        data = bytearray(SPEC_BATCH)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(
                [0, 1, 4, 6, 14, 19, 127, 128, 255, chance.randrange(256)]
            )
        try:
            result = transcoders[i % len(transcoders)].batch(bytes(data), node=b"\xff\0", write_ts=1e9)
        except RemoteProtocolError:
            continue
        rows = result.data.splitlines()
        assert len(rows) == result.count
        assert all(map(check_json_row, rows))
        accepted += 1
    assert accepted > 1000


def test_output_is_limited() -> None:
    """Long names in many records cannot blow up the output; what just fits is not refused."""
    transcoder = Transcoder(max_output=1 << 20)
    data = value(BOOL, bytes(8))
    name = "n" * 10_000
    assert transcoder.batch(batch([(name, BOOL)], *[data] * 100)).count == 100
    with pytest.raises(RemoteProtocolError, match="too long"):
        transcoder.batch(batch([(name, BOOL)], *[data] * 200))
    longest = (1 << 20) - len(b'{"v":""}\n')
    assert len(transcoder.batch(one(string("s" * longest))).data) == 1 << 20
    with pytest.raises(RemoteProtocolError, match="too long"):
        transcoder.batch(one(string("s" * (longest + 1))))
    with pytest.raises(RemoteProtocolError, match="too long"):
        transcoder.batch(one(string(b"\xff" * (longest // 4))))
    assert transcoder.batch(SPEC_BATCH).data == SPEC_LINE


def test_names_are_limited(transcoder: Transcoder) -> None:
    """A header longer than any log's is refused, because it would be remembered."""
    with pytest.raises(RemoteProtocolError, match="too long"):
        transcoder.batch(one(UNSET, "n" * 65536))
    with pytest.raises(RemoteProtocolError, match="too long"):
        WriteSchema([LogColumn("n" * 65536)], path="x")
    with pytest.raises(RemoteProtocolError, match="0 columns"):
        WriteSchema([], path="x")


def test_large_batches_grow_the_buffer(transcoder: Transcoder) -> None:
    """A batch of megabytes is like a small one, and a small one after it, too."""
    rows = 200_000
    result = transcoder.batch(batch([("v", DOUBLE)], *[real(i / 8) for i in range(rows)]))
    assert result.count == rows
    assert [json.loads(row)["v"] for row in result.data.splitlines()[:: rows // 100]] == [
        i / 8 for i in range(0, rows, rows // 100)
    ]
    assert transcoder.batch(SPEC_BATCH).data == SPEC_LINE


def test_other_buffers_will_do(transcoder: Transcoder) -> None:
    """What a socket gives without a copy needs none here."""
    for payload in (memoryview(SPEC_BATCH), bytearray(SPEC_BATCH)):
        assert transcoder.batch(payload).data == SPEC_LINE  # type: ignore[arg-type]


def test_limits_are_checked() -> None:
    """Limits that make no sense are errors and not crashes."""
    with pytest.raises(ValueError, match="out of range"):
        Transcoder(max_output=1000)


def test_a_closed_transcoder_refuses_every_call(transcoder: Transcoder) -> None:
    """Nothing works after close, and closing twice is harmless."""
    groups: BrokerGroups = transcoder.broker_groups(message(1, count(1)))
    schema = WriteSchema([LogColumn("a")], path="x", numbers=TypeNumbers.FROM_4_1)
    transcoder.close()
    transcoder.close()
    calls: list[Callable[[], object]] = [
        lambda: transcoder.batch(SPEC_BATCH),
        lambda: transcoder.batch_columns(SPEC_BATCH),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="Transcoder is closed"):
            call()
    groups.close()
    schema.close()
