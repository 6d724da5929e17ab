"""Events and prints: which ones `where` lets through, and what a hook gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hooks import where as where_module
from appliance.hooks.filter import Everything, Filter
from appliance.hooks.where import Where
from appliance.model import EventBatch, Print
from appliance.zeek.address import Address, Port
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count, EnumValue, Table, Timespan, Timestamp, Value, Vector

from .test_runner import Bench

S = 10**9
BAD = b"no message"
PRINT = Print(topic="bro/print/x", source="broker", text=b"hello \xff", peer="p", received_ns=3 * S // 2)

ARGS: tuple[Value, ...] = (
    Count(7),
    b"GET /x",
    Address.parse("10.0.0.1"),
    Port(80, 1),
    EnumValue("Notice::ACTION_LOG"),
    Timestamp(1_700_000_000 * S),
    Timespan(S // 2),
    Vector([Count(1), None]),
    Table([(b"a", Count(5)), (Count(3), True)]),
    None,
)


def events(*calls: bytes | tuple[Value, ...], name: str = "My::found", topic: str = "zeek/event/my") -> EventBatch:
    """Arguments become an event."""
    messages = [call if isinstance(call, bytes) else encode_message(Event.make(name, *call)) for call in calls]
    data = b"".join(len(message).to_bytes(4) + message for message in messages)
    return EventBatch(
        name=name, topic=topic, source="broker", data=data, count=len(messages), peer="p", received_ns=1_700_000_001 * S
    )


def positions(expression: str, item: EventBatch | Print) -> list[int]:
    return [position for position, _ in Where(expression).select(item)]


@pytest.mark.parametrize(
    "expression",
    [
        "name == 'My::found'",
        "name =~ '^My::'",
        "topic == 'zeek/event/my' and peer == 'p'",
        "args[0] == 7 and args[0] > 5 and args[0] < 7.5",
        "args[1] =~ 'GET .*'",
        "args[2] == '10.0.0.1'",
        "args[2] == '10.0.0.1' and name == 'My::found'",
        "args[3] == 80",
        "args[4] == 'Notice::ACTION_LOG'",
        "args[5] == 1700000000 and args[5] < ts",
        "args[6] == 0.5",
        "args[7][0] == 1 and args[7].length == 2",
        "args[8]['a'] == 5 and args[8]['3']",
        "args[9] == null",
        "args.length == 10",
        "args[-1] == null",
        "'GET /x' in args",
        "ts == 1700000001",
        "ts > d'2023-11-14T22:13:20Z'.to_epoch",
        "name == 'Other' or args[0] == 7",
        "name.length == 9",
        "missing == null",
    ],
)
def test_expression_matches_an_event(expression: str) -> None:
    """Arguments have natural values there, as in a log."""
    assert positions(expression, events(ARGS)) == [0]


@pytest.mark.parametrize(
    "expression",
    [
        "name == 'found'",
        "topic == 'zeek/event'",
        "args[0] == '7'",
        "args[2] > 5",
        "args[10] == 1",
        "args['a'] == 1",
        "name == 'Other' and args[0] == 7",
        "args[0] == 7 and 'Other' == name",
        "name > 5",
        "text == 'x'",
        "uid == 'x'",
    ],
)
def test_expression_that_does_not_hold_does_not_match(expression: str) -> None:
    """Nor does one that cannot be evaluated, because of a type or an argument that is not there."""
    assert positions(expression, events(ARGS)) == []


def test_only_matching_events_come_in_their_places() -> None:
    """One that does not decode comes too, to be booked, unless its name excludes it."""
    item = events((Count(1),), (Count(9),), BAD, (), (Count(8),))
    assert positions("args[0] > 5", item) == [1, 2, 4]
    assert positions("name == 'My::found'", item) == [0, 1, 2, 3, 4]
    assert positions("name == 'Other' and args[0] > 5", item) == []


def test_events_of_another_name_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all events of a batch have in common is looked at once."""
    monkeypatch.setattr(where_module, "records", lambda _: pytest.fail("decoded"))
    for expression in ("name == 'Other'", "args[0] == 7 and topic == 'x'", "peer == 'q' and name =~ 'My.*'"):
        assert positions(expression, events(ARGS)) == []


FIELDS = st.sampled_from(["name", "topic", "peer", "args[0]", "args[1]", "ts", "missing"])
LITERALS = st.sampled_from(["'My::found'", "'p'", "7", "null", "true", "'x'"])
COMPARISONS = st.tuples(FIELDS, st.sampled_from(["==", "!=", "<", "=~"]), LITERALS).map(" ".join)
EXPRESSIONS = st.recursive(
    COMPARISONS | st.tuples(LITERALS, st.just("=="), FIELDS).map(" ".join) | FIELDS,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})")
        | inner.map(lambda e: f"not ({e})")
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_look_at_what_is_common_never_changes_what_matches(expression: str) -> None:
    """The same events match without it."""
    try:
        where = Where(expression)
    except ValueError:
        return
    item = events((Count(7), b"x"), (b"My::found",), ())
    quick = list(where.select(item))
    where._shared, where._needs_each = (), True
    assert quick == list(where.select(item))


def test_expression_matches_a_print() -> None:
    """By its text, in which bytes that are not UTF-8 have escapes."""
    assert positions(r"topic == 'bro/print/x' and text =~ 'hello .*' and peer == 'p' and ts == 1.5", PRINT) == [0]
    assert positions("text == 'hello \\\\xff'", PRINT) == [0]
    assert positions("name == 'My::found'", PRINT) == []


async def work_off(item: EventBatch | Print, where: Filter) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What a hook was called with, and what was dropped."""
    seen: list[dict[str, Any]] = []
    bench = Bench(seen.append, where=where)
    figures = await bench.work_off(item)
    assert figures.delivered == len(seen)
    return seen, figures.dropped


@pytest.mark.parametrize("expression", ["", "args[0] == 7", "name == 'My::found'"])
async def test_hook_gets_typed_arguments(expression: str) -> None:
    """Whatever `where` has seen."""
    seen, _ = await work_off(events(ARGS), Where(expression) if expression else Everything())
    assert seen == [{"ts": 1_700_000_001.0, "name": "My::found", "topic": "zeek/event/my", "peer": "p", "args": ARGS}]
    assert [type(value) for value in seen[0]["args"]] == [type(value) for value in ARGS]


async def test_event_that_does_not_decode_is_booked() -> None:
    """The hook is not called for it, and gets the others in their order."""
    seen, dropped = await work_off(events(BAD, (1,), (2,), BAD, (3,), (4,)), Everything())
    assert [record["args"] for record in seen] == [(1,), (2,), (3,), (4,)]
    assert dropped == {"undecodable": 2}
    seen, dropped = await work_off(events(BAD, (1,), (2,), BAD, (3,), (4,)), Where("args[0] != 2 and args[0] < 4"))
    assert [record["args"] for record in seen] == [(1,), (3,)]
    assert dropped == {"undecodable": 2, "where": 2}


async def test_large_batch_comes_whole_and_in_order() -> None:
    """Over leases that cut it."""
    seen, dropped = await work_off(events(*((n,) for n in range(1000))), Everything())
    assert [record["args"][0] for record in seen] == list(range(1000))
    assert dropped == {}


async def test_hook_gets_a_print() -> None:
    """Text that can be printed; the item has the bytes."""
    seen, _ = await work_off(PRINT, Everything())
    assert seen == [{"ts": 1.5, "topic": "bro/print/x", "peer": "p", "text": "hello \\xff"}]
