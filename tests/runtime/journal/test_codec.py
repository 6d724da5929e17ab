"""Items as bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import EventBatch, FileReady, FolderReady, Item, LogBatch, Print, Segment
from appliance.runtime.journal.codec import CodecError, decode_items, encode_items

names = st.text(max_size=8) | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
items: st.SearchStrategy[Item] = st.one_of(
    st.builds(LogBatch, path=names, source=names, data=st.binary(max_size=40), count=st.integers(1, 9), node=names,
              stream=names, columns=st.lists(st.tuples(names, names), max_size=3).map(tuple)),
    st.builds(EventBatch, name=names, topic=names, source=names, data=st.binary(max_size=40), count=st.integers(1, 9),
              peer=names, received_ns=st.integers(0, 2**63)),
    st.builds(Print, topic=names, source=names, text=st.binary(max_size=40), peer=names, received_ns=st.integers(0, 9)),
    st.builds(Segment, handler=names, source=names, path=names, packets=st.integers(0, 9),
              disk_size=st.integers(0, 2**40), first_ns=st.integers(0, 9), last_ns=st.integers(0, 9),
              linktype=st.integers(0, 9)),
    st.builds(FileReady, watch=names, source=names, path=names, relative=names, disk_size=st.integers(0, 2**40),
              mtime_ns=st.integers(0, 2**63), inode=st.integers(0, 9)),
    st.builds(FolderReady, watch=names, source=names, path=names, relative=names, mtime_ns=st.integers(0, 9),
              files=st.integers(0, 9)),
)  # fmt: skip


@given(written=st.lists(items, max_size=5))
def test_items_come_back_equal(written: list[Item]) -> None:
    """Of every kind, also with names that are not UTF-8."""
    written = [item for item in written if _is_encodable(item)]
    assert decode_items(encode_items(written)) == written


def _is_encodable(item: Item) -> bool:
    """Lone surrogates that stand for no byte cannot come from the network."""
    try:
        repr_ = [v for v in msgspec.structs.astuple(item) if isinstance(v, str)]
        texts = [*repr_, *(t for pair in getattr(item, "columns", ()) for t in pair)]
        for text in texts:
            text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@given(body=st.binary(max_size=60))
def test_bytes_that_are_no_items_are_refused(body: bytes) -> None:
    """With one kind of error, whatever they are."""
    try:
        decode_items(body)
    except CodecError:
        return
    assert msgspec.msgpack.decode(body)[0] == 1


@pytest.mark.parametrize("body", [(2, []), (1, [("conn", {})]), (1, [("log", {"path": 5})]), (1, [("print", {})])])
def test_what_a_later_version_wrote_is_refused(body: object) -> None:
    """Another version, another kind of item, other types, a missing field."""
    with pytest.raises(CodecError):
        decode_items(msgspec.msgpack.encode(body))


def test_a_field_that_we_do_not_know_is_passed_over() -> None:
    """A later version may have added it."""
    item = Print(topic="t", source="s", text=b"x", received_ns=1)
    body = {**msgspec.structs.asdict(item), "colour": "red"}
    assert decode_items(msgspec.msgpack.encode((1, [("print", body)]))) == [item]
