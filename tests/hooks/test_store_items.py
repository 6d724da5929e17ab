"""What happens to data stores as hooks' records: typed, plain for expressions and programs, and in the journal."""

from __future__ import annotations

import msgspec
import pytest

from appliance.hooks.command import encode_lines
from appliance.hooks.filter import Everything
from appliance.hooks.where import Where
from appliance.model import StoreEvent
from appliance.runtime.journal.codec import decode_items, encode_items
from appliance.zeek.address import Address
from appliance.zeek.binary import encode
from appliance.zeek.events import StoreRecord, store_record
from appliance.zeek.plain import plain_record
from appliance.zeek.values import Count, Set

S = 10**9
ITEM = StoreEvent(
    store="hosts",
    source="store.hosts",
    change="update",
    key=encode(Address.parse("10.0.0.1")),
    value=encode(Set([Count(80)])),
    old=encode(Count(7)),
    expiry_ns=5 * S,
    publisher="someone/3",
    received_ns=3 * S // 2,
)
CLEAR = StoreEvent(store="hosts", source="store.hosts", change="clear", received_ns=S)
BAD = StoreEvent(store="hosts", source="store.hosts", change="insert", key=b"\xff", received_ns=S)


def test_a_hook_gets_typed_values() -> None:
    """As it gets the arguments of events."""
    [record] = [record for _, record in Everything().select(ITEM)]
    assert record == {
        "ts": 1.5,
        "store": "hosts",
        "change": "update",
        "key": Address.parse("10.0.0.1"),
        "value": Set([Count(80)]),
        "old": Count(7),
        "expiry": 5.0,
        "publisher": "someone/3",
    }
    cleared = store_record(CLEAR)
    assert cleared is not None
    assert (cleared["key"], cleared["value"], cleared["expiry"]) == (None, None, None)
    assert [record for _, record in Everything().select(BAD)] == [None]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("change == 'update' and old == 7", True),
        ("key == '10.0.0.1' and 80 in value", True),
        ("publisher == ''", False),
        ("key > 5", False),
        ("store =~ '^ho' and expiry < 6", True),
    ],
)
def test_expressions_see_plain_values(expression: str, holds: bool) -> None:
    """And a hook whose expression holds gets the typed ones all the same."""
    found = list(Where(expression).select(ITEM))
    assert len(found) == holds
    assert all(isinstance(record, StoreRecord) and record["old"] == Count(7) for _, record in found)
    assert len(list(Where(expression).select(BAD))) == 1, "what cannot be decoded is told to the hook's account"


def test_programs_get_json() -> None:
    """One object on a line; a log's record with such fields is left alone."""
    record = store_record(ITEM)
    assert record is not None
    lines = encode_lines([record, {"store": "x", "change": "y", "key": "k", "value": "v", "old": "o"}]).splitlines()
    assert [msgspec.json.decode(line)["value"] for line in lines] == [[80], "v"]
    assert plain_record(ITEM) == msgspec.json.decode(lines[0])
    assert plain_record(BAD) is None


def test_the_journal_keeps_them() -> None:
    """As they are."""
    assert decode_items(encode_items([ITEM, CLEAR, BAD])) == [ITEM, CLEAR, BAD]
    assert (ITEM.kind, ITEM.name, ITEM.count, CLEAR.size) == ("store", "hosts", 1, 0)
