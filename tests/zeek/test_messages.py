"""Zeek's messages: Zeek's own bytes, and what is tolerated and refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.binary import Limits, decode, encode
from appliance.zeek.log_create import Column, LogCreate, WriterInfo, make_log_create
from appliance.zeek.messages import (
    Batch,
    Event,
    IdentifierUpdate,
    LogWrite,
    Message,
    Unknown,
    decode_message,
    encode_message,
    make_value,
    parse_message,
)
from appliance.zeek.numbering import Numbering
from appliance.zeek.schema import Field, LogSchema, ZeekType
from appliance.zeek.values import Count, EnumValue, Table, Timespan, Timestamp, Value, Vector
from tests.zeek import vectors
from tests.zeek.strategies import names, schemas, values

WRITER = "Log::WRITER_ASCII"
LOG_WRITE = LogWrite("Test::LOG", WRITER, "test", vectors.LOG_SERIAL)
LOG_CREATE = LogCreate(
    "Test::LOG",
    WRITER,
    WriterInfo(path="test", network_time_s=1.5),
    (Column("ts", None, 5, 0, False), Column("msg", None, 7, 0, True)),
)
EXAMPLES: list[tuple[Message, bytes]] = [
    (Event.make("Cluster::hello", b"ap-1", b"zq_1"), vectors.HELLO_EVENT),
    (Event.make("Cluster::Backend::ZeroMQ::hello", b"ap-1", b"zeromq_ap-1_host_7_Nx"), vectors.ZEROMQ_HELLO_EVENT),
    (Event.make("pong", Count(42), b"hi"), vectors.PONG_EVENT),
    (
        Event.make("Supervisor::node_status", b"TEST", Count(42), timestamp=Timestamp(0)),
        vectors.EVENT_WITH_TIMESTAMP,
    ),
    (
        Event("Cluster::hello", Vector([b"worker-1", b"5746d8ee-3644-5bd2-9f54-d5a44c26c2a1"]), ()),
        vectors.CLUSTER_HELLO,
    ),
    (IdentifierUpdate("Foo::opt", True), vectors.ID_UPDATE),
    (LOG_CREATE, vectors.LOG_CREATE),
    (LOG_WRITE, vectors.LOG_WRITE),
    (Batch((LOG_WRITE,)), vectors.LOG_BATCH),
]


@pytest.mark.parametrize(("message", "data"), EXAMPLES, ids=lambda item: type(item).__name__)
def test_messages_are_zeeks_bytes(message: Message, data: bytes) -> None:
    """Both directions; what is cut off anywhere is refused."""
    assert decode_message(data) == message
    assert encode_message(message) == data
    for end in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            decode_message(data[:end])


def test_timestamp_of_an_event() -> None:
    """The network time is metadata 1; other metadata is left alone."""
    assert Event.make("x").timestamp is None
    assert Event.make("x", timestamp=Timestamp(7)).timestamp == Timestamp(7)
    assert Event("x", Vector(), ((200, b"site"), (1, Timestamp(8)))).timestamp == Timestamp(8)


def message(kind: int, *content: Value, version: int = 1) -> Vector:
    return Vector([Count(version), Count(kind), Vector(content)])


def test_surplus_elements_are_ignored() -> None:
    """More elements than we know, in the message or its content, do no harm."""
    event = Vector([*message(1, b"x", Vector(), Vector(), b"more"), b"more"])
    assert parse_message(event) == Event("x", Vector(), ())
    write = message(3, EnumValue("S"), EnumValue("W"), b"p", b"data", b"more")
    assert parse_message(write) == LogWrite("S", "W", "p", b"data")
    assert parse_message(message(4, b"x", 1, 2)) == IdentifierUpdate("x", 1)


def test_unknown_messages_are_left_alone() -> None:
    """An unknown type or version is no error, whatever is in it, and can be counted."""
    assert parse_message(message(77, b"?")) == Unknown(1, 77)
    assert parse_message(message(0)) == Unknown(1, 0)
    assert parse_message(message(1, b"?", version=2)) == Unknown(2, 1)
    assert parse_message(Vector([Count(2)])) == Unknown(2, 0)
    assert parse_message(Vector([Count(2), b"x"])) == Unknown(2, 0)
    assert parse_message(message(5, message(77), message(1, b"x", Vector()))) == Batch(
        (Unknown(1, 77), Event.make("x"))
    )


INFO = Vector([b"p", 0.0, 0.0, 0.0, Table()])
COLUMN = Vector([b"ts", None, Count(5), Count(0), False])


@pytest.mark.parametrize(
    "value",
    [
        None,
        Vector(),
        Vector([1, Count(1), Vector()]),
        Vector([Count(1), 1, Vector()]),
        Vector([Count(1), Count(1)]),
        Vector([Count(1), Count(1), b"x"]),
        Vector([True]),
        message(1, b"x"),
        message(1, EnumValue("x"), Vector()),
        message(1, b"x", None),
        message(1, b"x", Vector(), b"metadata"),
        message(1, b"x", Vector(), Vector([b"entry"])),
        message(1, b"x", Vector(), Vector([Vector([Count(1)])])),
        message(1, b"x", Vector(), Vector([Vector([Count(1), Timespan(0)])])),
        message(1, b"x", Vector(), Vector([Vector([1, Timestamp(0)])])),
        message(1, b"x", Vector(), Vector([Vector([Count(200), 0, 0])])),
        message(2, EnumValue("S"), EnumValue("W"), INFO),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector()),
        message(2, b"S", EnumValue("W"), INFO, Vector([COLUMN])),
        message(2, EnumValue("S"), EnumValue("W"), Vector(INFO[:4]), Vector([COLUMN])),
        message(2, EnumValue("S"), EnumValue("W"), Vector([*INFO, 1]), Vector([COLUMN])),
        message(2, EnumValue("S"), EnumValue("W"), Vector([*INFO[:4], Table([(1, b"x")])]), Vector([COLUMN])),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([Vector(COLUMN[:4])])),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([Vector([b"ts", 1, *COLUMN[2:]])])),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([Vector([b"ts", None, 5, *COLUMN[3:]])])),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([Vector([*COLUMN[:4], 0])])),
        message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([COLUMN] * 4097)),
        message(3, EnumValue("S"), EnumValue("W"), b"p"),
        message(3, EnumValue("S"), b"W", b"p", b"data"),
        message(3, EnumValue("S"), EnumValue("W"), EnumValue("p"), b"data"),
        message(3, EnumValue("S"), EnumValue("W"), b"p", 1),
        message(4, b"x"),
        message(4, 1, 2),
        message(5, b"x"),
        message(5, message(1, b"x", Vector()), message(1, b"x")),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_bad_messages_are_refused(value: Value) -> None:
    """Each mistake has the same error, and one in a batch spoils the batch."""
    with pytest.raises(RemoteProtocolError):
        parse_message(value)


def test_announcement_before_zeek_3_2() -> None:
    """Writer info may lack the post-processor, and is written again without it."""
    old = message(2, EnumValue("S"), EnumValue("W"), INFO, Vector([COLUMN]))
    log = parse_message(old)
    assert isinstance(log, LogCreate)
    assert log.info.postprocessor is None
    assert encode_message(log) == encode(old)


def test_announcement_gives_a_schema() -> None:
    """The columns tell the numbering, and the numbering tells the types."""
    assert LOG_CREATE.detect_numbering() == {Numbering.FROM_4_1, Numbering.FROM_5_0}
    fields = (Field("ts", None, ZeekType.TIME), Field("msg", None, ZeekType.STRING, ZeekType.VOID, True))
    assert LOG_CREATE.make_schema(Numbering.FROM_5_0) == LogSchema("Test::LOG", WRITER, "", "test", fields)
    with pytest.raises(RemoteProtocolError, match="no type 99"):
        LogCreate("S", "W", WriterInfo(path="p"), (Column("x", None, 99, 0, False),)).make_schema(Numbering.FROM_5_0)


@pytest.mark.parametrize("numbering", Numbering)
@settings(deadline=None, max_examples=30)
@given(schema=schemas, config=st.dictionaries(names, names, max_size=3))
def test_announcements_survive(numbering: Numbering, schema: LogSchema, config: dict[str, str]) -> None:
    """A schema that is announced is understood, except for its filter, which is not transmitted."""
    info = WriterInfo(path=schema.path, rotation_interval_s=3600.0, config=tuple(config.items()))
    log = decode_message(encode_message(make_log_create(schema, info, numbering)))
    assert isinstance(log, LogCreate)
    assert log.info == info
    assert log.make_schema(numbering) == LogSchema(schema.stream, schema.writer, "", schema.path, schema.fields)


@settings(deadline=None)
@given(
    name=names,
    args=st.lists(values, max_size=3),
    metadata=st.none() | st.lists(st.tuples(st.integers(200, 300), values)),
)
def test_events_survive(name: str, args: list[Value], metadata: list[tuple[int, Value]] | None) -> None:
    """Any arguments and any metadata."""
    event = Event(name, Vector(args), None if metadata is None else tuple(metadata))
    data = encode_message(event)
    assert data == encode(make_value(event))
    again = decode_message(data)
    assert isinstance(again, Event)
    assert again.args == event.args
    assert encode_message(again) == data


@settings(deadline=None)
@given(values)
def test_any_value_is_a_message_or_refused(value: Value) -> None:
    """No value makes the parser stumble."""
    for candidate in (message(1, value), value):
        with contextlib.suppress(RemoteProtocolError):
            parse_message(candidate)


def test_batches_within_batches() -> None:
    """They are allowed, as deep as values may be nested."""
    nested: Message = Event.make("x")
    for _ in range(48):
        nested = Batch((nested,))
    assert decode_message(encode_message(nested)) == nested
    bomb = b"\x0e\x03" + encode(Count(1)) + encode(Count(5)) + b"\x0e\x01"
    with pytest.raises(RemoteProtocolError, match="deep"):
        decode_message(bomb * 10_000)


def test_limits_are_passed_on() -> None:
    """A caller may be stricter."""
    with pytest.raises(RemoteProtocolError, match="allowed"):
        decode_message(vectors.LOG_BATCH, limits=Limits(values=5))


def test_unknown_message_is_not_sent() -> None:
    """We send only what we know, and only names that can be transmitted."""
    with pytest.raises(LocalProtocolError, match="not a message to send"):
        encode_message(Unknown(1, 9))
    with pytest.raises(ValueError, match="surrogates"):
        encode_message(Event.make("\ud800"))
    assert decode(encode_message(Event.make("x")))
