"""The map of uids, read."""

from __future__ import annotations

import sqlite3
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, ConfigError
from appliance.evidence.uids import UidMap
from appliance.extract.query import Query
from appliance.extract.uids import MARGIN_NS, UIDS, apply_uid, find_uid

T = 1_795_256_100 * 10**9
TABLE = """create table flow(uid text primary key, proto integer, src blob, sport integer, dst blob, dport integer,
from_ns integer, to_ns integer)"""


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    v4, v6 = IPv4Address("10.0.0.9").packed, IPv6Address("2001:db8::1").packed
    with sqlite3.connect(tmp_path / UIDS) as database:
        database.execute(TABLE)
        rows = [
            ("CtcpXX", 6, v4, 1025, IPv4Address("10.0.0.1").packed, 80, T, T + 10),
            ("Cicmp6", 58, v6, 128, v6, 129, T, T),
            ("Cother", 0, v6, 1, v6, 2, 1, 2),
        ]
        database.executemany("insert into flow values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.close()
    return tmp_path


def test_a_uid_is_a_connection_and_its_time(state_dir: Path) -> None:
    """With some time around it; ICMP by its types; of an unknown protocol by ends and ports."""
    query = find_uid(state_dir, "CtcpXX")
    assert query is not None
    assert (query.hosts, query.ports) == ((IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")), (80, 1025))
    assert (query.proto, query.is_conn) == (6, True)
    assert (query.from_ns, query.to_ns) == (T - MARGIN_NS, T + 10 + MARGIN_NS)
    icmp, other = find_uid(state_dir, "Cicmp6"), find_uid(state_dir, "Cother")
    assert icmp is not None
    assert other is not None
    assert sorted(icmp.ports) == [128, 129]
    assert (other.proto, other.ports, other.from_ns) == (None, (1, 2), 0)


def test_the_map_that_the_appliance_writes(tmp_path: Path) -> None:
    """While it is open: empty, then with a connection that came twice."""
    uids = UidMap(tmp_path / UIDS, max_flows=1000, keep_ns=10**15)
    assert find_uid(tmp_path, "C1") is None
    for generation, (from_ns, to_ns) in enumerate(((T, T + 50), (T - 10, T + 20))):
        row = ("C1", 6, IPv4Address("10.0.0.9").packed, 1025, IPv4Address("10.0.0.1").packed, 80, from_ns, to_ns)
        uids.add([row], T + generation)
    query = find_uid(tmp_path, "C1")
    assert query is not None
    assert query.ports == (80, 1025)
    assert (query.from_ns, query.to_ns) == (T - 10 - MARGIN_NS, T + 50 + MARGIN_NS)
    uids.close()


def test_what_the_map_does_not_know(state_dir: Path, tmp_path: Path) -> None:
    """An unknown uid is None; a map that is not there, or none, is said."""
    assert find_uid(state_dir, "Cnone") is None
    with pytest.raises(ApplianceError, match="no map"):
        find_uid(tmp_path / "nowhere", "Cnone")
    (state_dir / UIDS).write_bytes(b"no database, but as long as the header of one would have to be" * 20)
    with pytest.raises(ApplianceError, match="cannot be read"):
        find_uid(state_dir, "Cnone")


def test_a_uid_in_a_query() -> None:
    """The query's own time is kept; its own ends contradict."""
    found = Query(hosts=(IPv4Address("10.0.0.1"),), proto=6, from_ns=100, to_ns=200)
    assert apply_uid(Query(), found, "C") == found
    other = apply_uid(Query(from_ns=5, to_ns=300, bpf="tcp"), found, "C")
    assert (other.from_ns, other.to_ns, other.bpf, other.hosts) == (5, 300, "tcp", found.hosts)
    assert apply_uid(Query(from_ns=500), found, "C").to_ns == 500
    with pytest.raises(ConfigError, match="leave out"):
        apply_uid(Query(ports=(1,)), found, "C")
    with pytest.raises(ApplianceError, match="not known"):
        apply_uid(Query(), None, "C")
