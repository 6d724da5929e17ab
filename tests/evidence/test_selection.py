"""Which packets an alarm is about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.evidence.selection import Selection, Wanted, choose, ends_of_event, ends_of_record
from appliance.native import flow_key
from appliance.zeek.convert import to_value
from appliance.zeek.values import Address, Count, Port, Timestamp, Value, Vector

CONN = {"id.orig_h": "10.0.0.1", "id.orig_p": 1234, "id.resp_h": "10.0.0.2", "id.resp_p": 80, "proto": "tcp"}
TCP = 1
conn_id = Vector([Address.parse("10.0.0.1"), Port(1234, TCP), Address.parse("10.0.0.2"), Port(80, TCP)])


def chosen(record: dict[str, Any], wanted: Wanted) -> Selection | None:
    return choose(ends_of_record(record), wanted)


@pytest.mark.parametrize(
    ("record", "wanted", "key"),
    [
        (CONN, "conn", "conn 10.0.0.1:1234 10.0.0.2:80/6"),
        (CONN | {"uid": "CabcdefGHI123"}, "conn", "conn 10.0.0.1:1234 10.0.0.2:80/6"),
        (CONN, "pair", "pair 10.0.0.1 10.0.0.2"),
        (CONN, "host", "host 10.0.0.1"),
        (CONN, "all", "all"),
        ({"id": {"orig_h": "10.0.0.1", "resp_h": "10.0.0.2", "orig_p": 1, "resp_p": 2}}, "conn",
         "conn 10.0.0.1:1 10.0.0.2:2"),
        (CONN | {"proto": "icmp", "id.orig_p": 8, "id.resp_p": 0}, "conn", "conn 10.0.0.1 10.0.0.2/1"),
        ({"uid": "CabcdefGHI123"}, "conn", "conn CabcdefGHI123"),
        ({"uid": "CabcdefGHI123"}, "host", "host CabcdefGHI123"),
        ({"community_id": "1:wCb3OG7yAFWelaUydu0D+125CLM="}, "conn", "conn 1:wCb3OG7yAFWelaUydu0D+125CLM="),
        ({"src": "10.0.0.9", "dst": "10.0.0.2"}, "conn", "pair 10.0.0.2 10.0.0.9"),
        ({"src": "10.0.0.9"}, "conn", "host 10.0.0.9"),
        ({"src": "10.0.0.9"}, "pair", "host 10.0.0.9"),
        ({"dst": "10.0.0.9"}, "host", "host 10.0.0.9"),
        ({"src": "10.0.0.9"} | CONN, "host", "host 10.0.0.9"),
        ({"src": "2001:DB8::0:1"}, "host", "host 2001:db8::1"),
        ({}, "all", "all"),
    ],
)  # fmt: skip
def test_a_record_names_packets(record: dict[str, Any], wanted: Wanted, key: str) -> None:
    """What is wanted, or of more than that the fewest that it can name."""
    selection = chosen(record, wanted)
    assert selection is not None
    assert selection.key == key


@pytest.mark.parametrize(
    "record",
    [
        {}, {"uid": 5}, {"src": "nobody"}, {"src": "fe80::1%eth0"}, {"src": None}, {"id": "x"}, {"community_id": "1:x"},
        {"id.orig_h": "10.0.0.1", "id.resp_h": "::1"}, {"uid": "C" * 65},
    ],
)  # fmt: skip
def test_a_record_that_names_nobody(record: dict[str, Any]) -> None:
    """No packets rather than wrong ones."""
    assert chosen(record, "conn") is None


def test_both_directions_are_one() -> None:
    """Alarms about them are joined."""
    back = CONN | {"id.orig_h": "10.0.0.2", "id.orig_p": 80, "id.resp_h": "10.0.0.1", "id.resp_p": 1234}
    assert chosen(CONN, "conn").key == chosen(back, "conn").key  # type: ignore[union-attr]
    assert chosen(CONN, "pair").key == chosen(back, "pair").key  # type: ignore[union-attr]


def test_flows_whose_cutoff_is_lifted() -> None:
    """That of the connection; both protocols' if the record does not say which; none of hosts."""
    tcp, udp = (flow_key("10.0.0.1", "10.0.0.2", proto, (1234, 80)) for proto in (6, 17))
    assert chosen(CONN, "conn").flows() == [tcp]  # type: ignore[union-attr]
    assert chosen(CONN | {"proto": "x"}, "conn").flows() == [tcp, udp]  # type: ignore[union-attr]
    assert chosen(CONN, "pair").flows() == chosen(CONN | {"proto": "icmp"}, "conn").flows() == []  # type: ignore[union-attr]


def test_a_uid_is_resolved() -> None:
    """To what was wanted of its flow."""
    key = flow_key("10.0.0.1", "10.0.0.2", 6, (1234, 80))
    for wanted, expected in (("conn", "conn 10.0.0.1:1234 10.0.0.2:80/6"), ("pair", "pair 10.0.0.1 10.0.0.2"),
                             ("host", "host 10.0.0.1")):  # fmt: skip
        selection = chosen({"uid": "CabcdefGHI123"}, wanted)  # type: ignore[arg-type]
        assert selection is not None
        assert not selection.is_known
        assert selection.resolve(key).key == expected


@pytest.mark.parametrize(
    ("args", "key"),
    [
        ([conn_id], "conn 10.0.0.1:1234 10.0.0.2:80/6"),
        ([b"text", Vector([conn_id, Vector([]), b"CHhAvVGS1DHFjwGM9"])], "conn 10.0.0.1:1234 10.0.0.2:80/6"),
        ([Address.parse("10.0.0.3"), Count(5), Address.parse("10.0.0.2")], "pair 10.0.0.2 10.0.0.3"),
        ([Address.parse("10.0.0.3"), Address.parse("::1")], "host 10.0.0.3"),
        ([b"CHhAvVGS1DHFjwGM9"], "conn CHhAvVGS1DHFjwGM9"),
        ([Vector([Address.parse("2001:db8::1"), Port(135, 3), Address.parse("ff02::1"), Port(136, 3)])],
         "conn 2001:db8::1 ff02::1/58"),
    ],
)  # fmt: skip
def test_an_event_names_packets(args: list[Value], key: str) -> None:
    """By the first connection in its arguments, else by addresses or a uid."""
    selection = choose(ends_of_event(args), "conn")
    assert selection is not None
    assert selection.key == key


def test_an_event_that_names_nobody() -> None:
    """Nothing is guessed from numbers and short texts."""
    assert choose(ends_of_event([Count(5), b"Cabc", Timestamp(5), None]), "conn") is None


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.text(max_size=10)
    | st.sampled_from(["10.0.0.1", "::1", "tcp", "CHhAvVGS1DHFjwGM9"]),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
NAMES = [*CONN, "uid", "src", "dst", "community_id", "id"]


@given(st.dictionaries(st.sampled_from(NAMES), plain), st.sampled_from(["conn", "pair", "host", "all"]))
def test_any_record_makes_a_query_or_none(record: dict[str, Any], wanted: Wanted) -> None:
    """Whatever types its fields have; the key and the flows can be made."""
    selection = chosen(record, wanted)
    if selection is not None:
        assert selection.key
        selection.flows()


@given(st.lists(plain, max_size=5))
def test_any_event_makes_a_query_or_none(args: list[Any]) -> None:
    """The same of arguments."""
    selection = choose(ends_of_event(to_value(args)), "conn")  # type: ignore[arg-type]
    if selection is not None:
        assert selection.key


def test_a_deep_event_costs_little() -> None:
    """What is nested deeper than anybody nests is not looked at."""
    value: Value = conn_id
    for _ in range(30):
        value = Vector([value])
    assert choose(ends_of_event([value]), "conn") is None
    assert choose(ends_of_event([Vector([Count(1)] * 100_000)]), "conn") is None
