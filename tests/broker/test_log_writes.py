"""What is remembered of the logs of a peer: which numbering it uses, and how much."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.broker import log_writes
from appliance.broker.log_writes import LogBook, make_transcoder, put_together
from appliance.errors import RemoteProtocolError
from appliance.zeek.log_create import Column, LogCreate, WriterInfo
from appliance.zeek.messages import LogWrite, encode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.schema import ZeekType

TRANSCODER = make_transcoder(zeek_version="8.0", max_message=1 << 20)


def create(numbering: Numbering, *columns: tuple[str, ZeekType], path: str = "my") -> LogCreate:
    made = tuple(Column(name, None, numbering.to_tag(kind), 0, True) for name, kind in columns)
    return LogCreate("My::LOG", "Log::WRITER_ASCII", WriterInfo(path=path), made)


def write(numbering: Numbering, text: bytes, *, path: str = "my") -> bytes:
    """One string."""
    tag = numbering.to_tag(ZeekType.STRING)
    serial = struct.pack(">iiibi", 1, tag, 0, 1, len(text)) + text
    return encode_message(LogWrite("My::LOG", "Log::WRITER_ASCII", path, serial))


@pytest.mark.parametrize("numbering", list(Numbering))
def test_one_clear_announcement_tells_the_numbering_of_all(numbering: Numbering) -> None:
    """Also of those that came before it."""
    book = LogBook()
    book.announce(create(numbering, ("s", ZeekType.STRING)))
    book.announce(create(numbering, ("ts", ZeekType.TIME), ("id.orig_h", ZeekType.ADDR), path="conn"))
    reading = book.read(write(numbering, b"x"), TRANSCODER)
    assert [(rows.data, rows.columns) for rows in reading.rows] == [(b'{"s":"x"}\n', (("s", "string"),))]
    assert reading.refused == {}


def test_a_peer_that_contradicts_itself_is_taken_by_its_last_word() -> None:
    """Nothing breaks."""
    book = LogBook()
    book.announce(create(Numbering.FROM_5_0, ("id.orig_h", ZeekType.ADDR), path="a"))
    book.announce(create(Numbering.UP_TO_4_0, ("id.orig_h", ZeekType.ADDR), path="b"))
    book.announce(create(Numbering.UP_TO_4_0, ("s", ZeekType.STRING)))
    assert book.read(write(Numbering.UP_TO_4_0, b"x"), TRANSCODER).rows[0].data == b'{"s":"x"}\n'


def test_a_bounded_number_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten; one that is announced again is the newest."""
    monkeypatch.setattr(log_writes, "_MAX_LOGS", 2)
    book = LogBook()
    for path in ("a", "b", "a", "c"):
        book.announce(create(Numbering.FROM_5_0, ("s", ZeekType.STRING), path=path))
    found = {path: book.read(write(Numbering.FROM_5_0, b"x", path=path), TRANSCODER) for path in "abc"}
    assert {path: bool(reading.rows) for path, reading in found.items()} == {"a": True, "b": False, "c": True}
    assert (found["b"].refused, found["b"].unknown) == ({"no_schema": 1}, "b")


def test_columns_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few wide logs take the place of many; one always has room."""
    monkeypatch.setattr(log_writes, "_MAX_COLUMNS", 10)
    book = LogBook()
    for path, width in (("a", 6), ("b", 4), ("c", 5), ("d", 50)):
        columns = [(f"c{number}", ZeekType.STRING) for number in range(width)]
        book.announce(create(Numbering.FROM_5_0, *columns, path=path))
        known = [p for p in "abcd" if not book.read(write(Numbering.FROM_5_0, b"", path=p), TRANSCODER).unknown]
        assert known == {"a": ["a"], "b": ["a", "b"], "c": ["b", "c"], "d": ["d"]}[path]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6))
def test_messages_read_together_give_the_lines_of_each(messages: list[list[str]]) -> None:
    """In the order of each log, whether a message is one write, a batch, or a batch of batches."""
    book = LogBook()
    for path in "abc":
        book.announce(create(Numbering.FROM_5_0, ("s", ZeekType.STRING), path=path))
    numbers = itertools.count()
    payloads = []
    for paths in messages:
        writes = [write(Numbering.FROM_5_0, b"%d" % next(numbers), path=path) for path in paths]
        payloads.append(writes[0] if len(writes) == 1 else put_together([put_together(writes[1:]), writes[0]]))
    alone: dict[str, bytes] = {}
    for payload in payloads:
        for rows in book.read(payload, TRANSCODER).rows:
            alone[rows.path] = alone.get(rows.path, b"") + rows.data
    assert {rows.path: rows.data for rows in book.read(put_together(payloads), TRANSCODER).rows} == alone


def test_what_is_no_message_is_refused() -> None:
    """As a whole."""
    with pytest.raises(RemoteProtocolError):
        LogBook().read(b"\x0e\x01", TRANSCODER)
