"""Events and prints as records."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Print
from appliance.zeek import binary
from appliance.zeek.convert import to_plain
from appliance.zeek.events import json_lines, plain_records, print_record, typed_records
from appliance.zeek.messages import Event, decode_message, encode_message, parse_message
from appliance.zeek.values import Address, Count, Timestamp, Value, Vector
from tests.zeek.strategies import values

S = 10**9


def batch(*messages: bytes, name: str = "My::e", topic: str = "t", received_ns: int = 5 * S) -> EventBatch:
    data = b"".join(len(message).to_bytes(4) + message for message in messages)
    return EventBatch(
        name=name, topic=topic, source="broker", data=data, count=len(messages), peer="p", received_ns=received_ns
    )


def event(*args: Value, stamp: int | None = None) -> bytes:
    return encode_message(Event.make("My::e", *args, timestamp=None if stamp is None else Timestamp(stamp)))


def test_typed_record_has_the_values_as_they_are() -> None:
    """A tuple, so that a count is no integer and an address no text."""
    args = (Count(5), b"x", Address.parse("10.0.0.1"), Vector([1]))
    assert list(typed_records(batch(event(*args)))) == [
        {"ts": 5.0, "name": "My::e", "topic": "t", "peer": "p", "args": args}
    ]


@pytest.mark.parametrize(("stamp", "ts"), [(None, 5.0), (-S, 5.0), (0, 0.0), (3 * S // 2, 1.5)])
def test_time_is_the_senders_if_it_knows_it(stamp: int | None, ts: float) -> None:
    """Zeek tells -1 s if it does not."""
    (record,) = typed_records(batch(event(stamp=stamp)))
    assert record is not None
    assert record["ts"] == ts


def test_what_is_no_event_has_no_record() -> None:
    """Neither bytes that do not decode nor another message; the others stay in their places."""
    other = binary.encode(Vector((Count(1), Count(9), Vector())))
    found = list(typed_records(batch(b"", event(), other, event())))
    assert [record is not None for record in found] == [False, True, False, True]
    text, missing = json_lines(batch(b"", event(), other, event()))
    assert (text.count(b"\n"), missing) == (2, [0, 2])


def test_plain_record_can_be_written() -> None:
    """Names with surrogates, too."""
    (record,) = plain_records(batch(event(Count(5), b"\xff"), name="\udcff", topic="\udcfe"))
    assert record == {"ts": 5.0, "name": "\\xff", "topic": "\\xfe", "peer": "p", "args": [5, "\\xff"]}


def test_print_is_text_that_can_be_printed() -> None:
    """Its topic in the typed record is the one to answer on."""
    item = Print(topic="\udcff", source="broker", text=b"\xff\n", peer="p", received_ns=3 * S // 2)
    assert print_record(item) == {"ts": 1.5, "topic": "\udcff", "peer": "p", "text": "\\xff\n"}
    assert list(plain_records(item)) == [{"ts": 1.5, "topic": "\\xff", "peer": "p", "text": "\\xff\n"}]
    assert json_lines(item) == (b'{"ts":1.5,"topic":"\\\\xff","peer":"p","text":"\\\\xff\\n"}\n', [])


@settings(deadline=None)
@given(st.lists(values, max_size=4))
def test_both_kinds_say_the_same(args: list[Value]) -> None:
    """Plain arguments are the typed ones made plain."""
    item = batch(event(*args))
    (typed,), (plain,) = typed_records(item), plain_records(item)
    assert typed is not None
    assert plain == {**typed, "args": [to_plain(value) for value in typed["args"]]}


def outcome_of(data: bytes, *, is_quick: bool) -> str:
    try:
        return repr(decode_message(data) if is_quick else parse_message(binary.decode(data)))
    except RemoteProtocolError:
        return "refused"


metadata = st.none() | st.lists(
    st.tuples(st.integers(1, 2).map(Count), st.builds(Timestamp, st.integers(-2, 2)) | values).map(Vector), max_size=2
).map(Vector)


@settings(deadline=None)
@given(
    name=st.binary(max_size=200) | values,
    args=st.lists(values, max_size=3).map(Vector) | values,
    more=metadata,
    rest=st.lists(values, max_size=1),
    cut=st.integers(0, 30),
    flip=st.tuples(st.integers(0, 300), st.integers(0, 255)),
)
def test_the_quick_way_to_read_an_event_gives_the_same(
    name: Value, args: Value, more: Value, rest: list[Value], cut: int, flip: tuple[int, int]
) -> None:
    """As reading the value and then the message: whole, cut off, damaged, and with values behind what is known."""
    content = [name, args, *([] if more is None else [more]), *rest]
    data = binary.encode(Vector((Count(1), Count(1), Vector(content))))
    damaged = bytearray(data)
    damaged[flip[0] % len(data)] = flip[1]
    for each in (data, data[: len(data) - cut], data + b"\0", bytes(damaged)):
        assert outcome_of(each, is_quick=True) == outcome_of(each, is_quick=False)
