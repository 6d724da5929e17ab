"""Filters: their bytes, their shortest form, and what they match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.filters import MAX_ENTRIES, PrefixSet, decode_filter, encode_filter, minimal
from appliance.zeek.binary import read_varbyte, write_varbyte
from appliance.zeek.schema import as_bytes
from tests.wire.harness import topics

filters = st.lists(topics, max_size=12)


def wants(prefixes: list[str], topic: str) -> bool:
    """The definition: some entry is a prefix, byte by byte."""
    return any(as_bytes(topic).startswith(as_bytes(prefix)) for prefix in prefixes)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (4294967295, "ffffffff0f"),
    ],
)
def test_lengths_at_their_limits(number: int, text: str) -> None:
    """A length has seven bits a byte, the lowest first."""
    assert write_varbyte(number).hex() == text
    assert read_varbyte(bytes.fromhex(text), 0) == (number, len(text) // 2)


@pytest.mark.parametrize("text", ["", "80", "ffffffff", "ffffffff1f", "808080808001", "ffffffffff7f"])
def test_length_that_is_none_is_refused(text: str) -> None:
    """Too early an end, more than 32 bits, more than five bytes."""
    with pytest.raises(RemoteProtocolError):
        decode_filter(bytes.fromhex(text))


@given(filters)
def test_filter_survives_the_way(prefixes: list[str]) -> None:
    """Entries come back in their order, duplicates and all."""
    assert decode_filter(encode_filter(prefixes)) == tuple(prefixes)


@given(filters.filter(bool), st.data())
def test_filter_cut_short_or_with_bytes_behind_is_refused(prefixes: list[str], data: st.DataObject) -> None:
    """No part of a filter is a filter, and nothing follows one."""
    encoded = encode_filter(prefixes)
    with pytest.raises(RemoteProtocolError):
        decode_filter(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(RemoteProtocolError, match="1 bytes behind a filter"):
        decode_filter(encoded + b"\0")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_filter_or_are_refused(data: bytes) -> None:
    """What can be read is written again as the same filter."""
    try:
        prefixes = decode_filter(data)
    except RemoteProtocolError:
        return
    assert decode_filter(encode_filter(prefixes)) == prefixes


def test_filter_with_too_many_entries_is_refused_before_they_are_read() -> None:
    """The count is checked against the limit and against the bytes there are."""
    assert len(decode_filter(encode_filter(["a"] * MAX_ENTRIES))) == MAX_ENTRIES
    for many in (encode_filter(["a"] * (MAX_ENTRIES + 1)), b"\xff\xff\xff\xff\x0f", b"\x03\x00\x00"):
        with pytest.raises(RemoteProtocolError, match="more than there are bytes or than are taken"):
            decode_filter(many)


def test_entry_that_is_no_text_is_our_mistake() -> None:
    """A surrogate that no name on the wire gives cannot be written."""
    with pytest.raises(LocalProtocolError, match="cannot be transmitted"):
        encode_filter(["\ud800"])


def test_shortest_form_is_sorted_and_without_entries_within_others() -> None:
    """What another entry covers goes, and so does what is local."""
    assert minimal(["zeek/logs/x", "b", "zeek/log", "a/b", "a", "b", "<$>/local/data/errors"]) == ("a", "b", "zeek/log")
    assert minimal(["b", ""]) == ("",)
    assert minimal([]) == ()


def test_shortest_form_compares_bytes() -> None:
    """Half a character is a prefix of the whole one, and sorts by its value."""
    half = b"\xc3".decode("utf-8", "surrogateescape")
    assert minimal(["é", half]) == (half,)
    assert minimal([b"\xff".decode("utf-8", "surrogateescape"), "\U0001f600"])[0] == "\U0001f600"
    assert PrefixSet([half]).matches("é")


@given(filters, topics)
def test_shortest_form_wants_the_same_topics(prefixes: list[str], topic: str) -> None:
    """A topic is wanted if an entry is a prefix of it; asked twice, the answer is the same."""
    asked = PrefixSet(prefixes)
    assert asked.matches(topic) == wants(prefixes, topic) == asked.matches(topic)
    assert asked.prefixes == minimal(prefixes)
    assert minimal(asked.prefixes) == asked.prefixes


@given(filters.filter(bool), topics, st.data())
def test_topic_that_continues_an_entry_is_wanted(prefixes: list[str], tail: str, data: st.DataObject) -> None:
    """Whatever follows an entry belongs to it: there are no components."""
    assert PrefixSet(prefixes).matches(data.draw(st.sampled_from(prefixes)) + tail)


def test_topics_of_a_cluster() -> None:
    """An entry ends anywhere in a topic; an empty one is in every topic; without one nothing matches."""
    narrow = PrefixSet(["zeek/log"])
    assert [narrow.matches(topic) for topic in ("zeek/logs/x", "zeek/logger", "zeek/lo", "bro/logs")] == [
        True,
        True,
        False,
        False,
    ]
    assert PrefixSet([""]).matches("anything")
    assert not PrefixSet().matches("anything")


def test_answers_that_are_remembered_are_bounded() -> None:
    """Neither many topics nor long ones fill the memory."""
    asked = PrefixSet(["1"])
    for number in range(5000):
        assert asked.matches(f"{number}") == str(number).startswith("1")
    assert asked.matches("1" * 60_000)
    assert len(asked._answers) <= 1024
    assert max(map(len, asked._answers)) <= 256
