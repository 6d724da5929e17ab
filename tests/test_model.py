"""The items that flow: rows and splitting."""

from __future__ import annotations

import msgspec
import pytest

from appliance.model import EventBatch, FileReady, FolderReady, LogBatch, Print, Segment


def batch(*rows: bytes) -> LogBatch:
    data = b"".join(row + b"\n" for row in rows)
    return LogBatch(path="conn", source="zmq.a", data=data, count=len(rows), node="w1", stream="Conn::LOG")


def test_rows_are_the_lines_without_their_newlines() -> None:
    """As many as `count`."""
    assert batch(b"{}", b'{"a":1}').rows() == [b"{}", b'{"a":1}']


@pytest.mark.parametrize("count", [1, 2, 3])
def test_split_cuts_between_rows(count: int) -> None:
    """Both parts are whole batches of the same origin, and together the same bytes."""
    whole = batch(b"{}", b'{"a":1}', b'{"b":22}', b"{ }")
    first, rest = whole.split(count)
    assert (first.count, rest.count) == (count, 4 - count)
    assert first.data + rest.data == whole.data
    assert [len(part.rows()) for part in (first, rest)] == [count, 4 - count]
    assert {(part.path, part.source, part.node, part.stream) for part in (first, rest)} == {
        ("conn", "zmq.a", "w1", "Conn::LOG")
    }


def test_items_say_what_consumers_ask_for() -> None:
    """Kind and name for their patterns, count and size for their queues."""
    item = batch(b"{}")
    segment = Segment(handler="raw", source="c", path="/x", packets=3, disk_size=9, first_ns=1, last_ns=2, linktype=147)
    assert (item.kind, item.name, item.count, item.size) == ("log", "conn", 1, 3)
    assert (segment.kind, segment.name, segment.count, segment.size) == ("segment", "raw", 1, 5)
    assert msgspec.to_builtins(segment)["size"] == segment.disk_size == 9


def events(*messages: bytes) -> EventBatch:
    data = b"".join(len(message).to_bytes(4) + message for message in messages)
    return EventBatch(name="My::e", topic="t", source="broker", data=data, count=len(messages), received_ns=1)


def test_payloads_are_the_messages_without_their_lengths() -> None:
    """As many as `count`."""
    assert events(b"a", b"", b"bcd").payloads() == [b"a", b"", b"bcd"]


@pytest.mark.parametrize("count", [1, 2])
def test_split_cuts_between_events(count: int) -> None:
    """Both parts are whole, and together the same bytes."""
    whole = events(b"a", b"", b"bcd")
    first, rest = whole.split(count)
    assert (first.count, rest.count) == (count, 3 - count)
    assert first.payloads() + rest.payloads() == whole.payloads()


@pytest.mark.parametrize("whole", [batch(b"{}", b"", b'{"b":22}'), events(b"a\n\n", b"", b"\n" * 300)])
def test_what_is_complete_can_be_split_off(whole: LogBatch | EventBatch) -> None:
    """A record is complete with its last byte, not with the one before, whatever bytes it holds."""
    for count in (1, 2):
        size = whole.split(count)[0].size
        assert (whole.complete_in(size - 1), whole.complete_in(size)) == (count - 1, count)
    assert (whole.complete_in(-1), whole.complete_in(0), whole.complete_in(whole.size)) == (0, 0, 3)


def test_events_and_prints_say_what_consumers_ask_for() -> None:
    """An event goes by its name, a print by its topic."""
    text = Print(topic="bro/print/x", source="broker", text=b"hi", received_ns=1)
    assert (text.kind, text.name, text.count, text.size) == ("print", "bro/print/x", 1, 2)
    assert (events(b"a").kind, events(b"a").name, events(b"a").size) == ("event", "My::e", 5)


def test_finished_things_weigh_nothing_of_what_is_in_them() -> None:
    """A queue bounded in bytes holds many large files; a record tells the size on the disk."""
    file = FileReady(watch="w", source="watch.w", path="/w/a", relative="a", disk_size=1 << 40, mtime_ns=1)
    folder = FolderReady(watch="w", source="watch.w", path="/w/b", relative="b", mtime_ns=1, files=3)
    assert (file.kind, file.name, file.count, file.size) == ("file", "w", 1, 5)
    assert (folder.kind, folder.name, folder.count, folder.size) == ("folder", "w", 1, 5)
    assert msgspec.to_builtins(file)["size"] == 1 << 40
