"""What is asked for, as people write it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError
from appliance.extract.query import Query, parse_query, query_of_flow
from appliance.extract.sources import FOREVER_NS
from appliance.native import flow_key

S = 10**9
NOW = 1_795_256_100 * S
ID = "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


def parse(**values: str | list[str]) -> Query:
    given = {
        key.replace("_", "-").strip("-"): [each] if isinstance(each, str) else each for key, each in values.items()
    }
    return parse_query(given, now_ns=NOW)


@pytest.mark.parametrize(
    ("text", "from_ns"),
    [
        ("2026-11-21T10:15:00Z", NOW),
        ("1795256100.5", NOW + S // 2),
        ("-10m", NOW - 600 * S),
        ("-1.5s", NOW - 1_500_000_000),
        ("now", NOW),
        ("-60000d", 0),
    ],
)
def test_times(text: str, from_ns: int) -> None:
    """Of the calendar, since the epoch, and from now; the end does not belong to the span."""
    assert parse(from_=text).from_ns == from_ns
    if from_ns:
        assert parse(to=text).to_ns == from_ns - 1
    assert parse().to_ns == FOREVER_NS


def test_conditions() -> None:
    """Each by itself."""
    assert parse(host="10.0.0.1").hosts == (IPv4Address("10.0.0.1"),)
    assert parse(host=["2001:db8::1", "2001:db8::2"]).hosts[1] == IPv6Address("2001:db8::2")
    assert parse(port=["53", "1024"]).ports == (53, 1024)
    assert (parse(proto="udp").proto, parse(proto="132").proto) == (17, 132)
    assert parse(community_id=ID).community_id == ID
    assert parse(bpf="port 53").bpf == "port 53"


def test_a_connection() -> None:
    """Both ends and the protocol; IPv6 in brackets; without ports all between two hosts."""
    v4 = Query(hosts=(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")), ports=(1025, 53), proto=17, is_conn=True)
    assert parse(conn="10.0.0.1:1025-10.0.0.2:53/udp") == v4
    v6 = Query(hosts=(IPv6Address("2001:db8::1"), IPv6Address("::1")), ports=(1, 2), is_conn=True)
    assert parse(conn="[2001:db8::1]:1-[::1]:2") == v6
    assert parse(conn="10.0.0.1-10.0.0.2/1").ports == ()


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, 65535))
def test_every_connection_can_be_written(first: IPv6Address, second: IPv6Address, port: int, other: int) -> None:
    """And is read as it was meant."""
    query = parse(conn=f"[{first}]:{port}-[{second}]:{other}/tcp")
    assert (query.hosts, query.ports, query.proto) == ((first, second), (port, other), 6)


@pytest.mark.parametrize(
    ("key", "values", "what"),
    [
        ("from", {"from": ["yesterday"]}, "no time"),
        ("from", {"from": ["-10"]}, "not a duration"),
        ("from", {"from": ["now"], "to": ["now"]}, "not before"),
        ("to", {"to": ["1", "2"]}, "too often"),
        ("host", {"host": ["example.org"]}, "does not appear"),
        ("host", {"host": ["10.0.0.1"] * 3}, "too often"),
        ("host", {"host": ["10.0.0.1", "::1"]}, "IPv6"),
        ("port", {"port": ["65536"]}, "no port"),
        ("port", {"port": ["http"]}, "no port"),
        ("proto", {"proto": ["bgp"]}, "one of icmp"),
        ("proto", {"proto": ["256"]}, "no protocol"),
        ("conn", {"conn": ["10.0.0.1:1-10.0.0.2/tcp"]}, "only one end"),
        ("conn", {"conn": ["2001:db8::1:1-2001:db8::2:2/tcp"]}, "brackets"),
        ("conn", {"conn": ["10.0.0.1:1-[::1]:2/tcp"]}, "IPv6"),
        ("conn", {"conn": ["999.0.0.1:1-10.0.0.2:2/tcp"]}, "does not appear"),
        ("conn", {"conn": ["10.0.0.1:1-10.0.0.2:2/tcp"], "port": ["1"]}, "leave out"),
        ("community-id", {"community-id": ["1:x"]}, "Community ID"),
        ("bpf", {"bpf": ["a" * 10_000]}, "longer"),
        ("vlan", {"vlan": ["1"]}, "no such condition"),
    ],
)
def test_mistakes_name_their_condition(key: str, values: dict[str, list[str]], what: str) -> None:
    """With what is wrong."""
    with pytest.raises(ConfigError, match=what) as caught:
        parse_query(values, now_ns=NOW)
    assert caught.value.key == key


def test_a_flow_as_a_query() -> None:
    """With the ports that its key has; ICMP by both types."""
    key = flow_key("10.0.0.2", "10.0.0.1", 6, (1, 2))
    query = query_of_flow(key, from_ns=5, to_ns=6)
    assert (query.hosts, query.ports) == ((ip_address("10.0.0.1"), ip_address("10.0.0.2")), (2, 1))
    assert (query.proto, query.is_conn, query.from_ns, query.to_ns) == (6, True, 5, 6)
    assert query_of_flow(flow_key("10.0.0.1", "10.0.0.2", 1, (8, 0))).ports == (8, 0)
    assert query_of_flow(flow_key("10.0.0.1", "10.0.0.2", 47)).ports == ()
    assert query_of_flow(key._replace(first=None, second=None), from_ns=5) == Query(from_ns=5)
