"""Events and prints in files: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trio.testing import MockClock

from appliance.model import EventBatch, Print
from appliance.zeek.messages import Event, Unknown, decode_message, encode_message
from appliance.zeek.values import Address, Count, Table, Timestamp, Value

from .harness import WALL_NS, Bench, S, batch

NAME = "Notice::found"
BAD = b"\x0e\x00"
"""A value that is no message."""


def events(*messages: bytes | tuple[Value, ...], name: str = NAME) -> EventBatch:
    """Arguments become an event."""
    stamp = Timestamp(WALL_NS)
    texts = [m if isinstance(m, bytes) else encode_message(Event.make(name, *m, timestamp=stamp)) for m in messages]
    data = b"".join(len(text).to_bytes(4) + text for text in texts)
    return EventBatch(
        name=name, topic="zeek/event/x", source="broker", data=data, count=len(texts), peer="p", received_ns=S
    )


PRINT = Print(topic="bro/print/x", source="broker", text=b"hello \xff\n", peer="p", received_ns=3 * S // 2)


def line(*args: object, ts: object = 1.7e9) -> dict[str, object]:
    return {"ts": ts, "name": NAME, "topic": "zeek/event/x", "peer": "p", "args": list(args)}


def lines(text: str) -> list[object]:
    return [json.loads(each) for each in text.splitlines()]


async def test_each_is_a_line_of_plain_data(tmp_path: Path, mock_clock: MockClock) -> None:
    """With the fields that hooks have, beside the logs, in files by name and topic."""
    bench = Bench(tmp_path, "{path}.log")
    async with bench.running():
        bench.queue.put_nowait(events((Count(5), Address.parse("10.0.0.1"), b"\xff"), ()))
        bench.queue.put_nowait(PRINT)
        bench.put(batch(1))
    assert {name: lines(text) for name, text in bench.files().items()} == {
        "Notice%3A%3Afound.log": [line(5, "10.0.0.1", "\\xff"), line()],
        "bro%2Fprint%2Fx.log": [{"ts": 1.5, "topic": "bro/print/x", "peer": "p", "text": "hello \\xff\n"}],
        "conn.log": [{"n": 1}],
    }
    assert bench.figures().delivered == 4


@pytest.mark.parametrize("limit", [{}, {"rotate_size": 4096}])
async def test_event_that_does_not_decode_is_booked(
    tmp_path: Path, mock_clock: MockClock, limit: dict[str, int]
) -> None:
    """So is a message of a kind that nobody knows; the others of its batch are written."""
    bench = Bench(tmp_path, "all.log", **limit)
    unknown = encode_message(Event.make("x"))[:11] + b"\x02" + (9).to_bytes(8) + b"\x0e\x00"
    assert decode_message(unknown) == Unknown(1, 9)
    async with bench.running():
        bench.queue.put_nowait(events(BAD, (Count(1),), unknown, (Count(2),), BAD))
        bench.queue.put_nowait(events(BAD))
    assert lines(bench.files()["all.log"]) == [line(1), line(2)]
    assert (bench.figures().delivered, bench.figures().dropped) == (2, {"undecodable": 4})


async def test_times_and_members_are_as_configured(tmp_path: Path, mock_clock: MockClock) -> None:
    """`ts` in the sink's format, `_path` the event's name; arguments stay as they are, also times among them."""
    bench = Bench(tmp_path, "all.log", time_format="iso8601", add_fields=("_path",))
    async with bench.running():
        bench.queue.put_nowait(events((Timestamp(S), Table([(b"ts", Timestamp(S))]))))
    expected = line(1.0, {"ts": 1.0}, ts="2023-11-14T22:13:20.000000Z")
    assert lines(bench.files()["all.log"]) == [{"_path": NAME, **expected}]


async def test_tsv_has_no_columns_for_them(tmp_path: Path, mock_clock: MockClock) -> None:
    """They can come only from a queue that was another sink's before a reload."""
    bench = Bench(tmp_path, kind="tsv")
    async with bench.running():
        bench.queue.put_nowait(events((), ()))
        bench.queue.put_nowait(PRINT)
    assert (bench.files(), bench.figures().dropped) == ({}, {"no_columns": 3})
