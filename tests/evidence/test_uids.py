"""The map from uids to flows."""

from __future__ import annotations

import sqlite3
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.evidence.uids import FILE, GENERATIONS, UidMap, UidRow, decode_rows, open_uids
from appliance.native import flow_key

S = 10**9
KEEP = 100 * S


def line(uid: str, ts: Any = 5.0, **more: Any) -> bytes:
    """A record of a connection."""
    conn = {"ts": ts, "uid": uid, "id.orig_h": "10.0.0.1", "id.orig_p": 1234, "id.resp_h": "10.0.0.2"}
    conn |= {"id.resp_p": 80, "proto": "tcp", "duration": 2.5, "service": "http"} | more
    return msgspec.json.encode({key: value for key, value in conn.items() if value is not None}) + b"\n"


def rows(first: int, count: int) -> list[UidRow]:
    return decode_rows(b"".join(line(f"C{number:06}") for number in range(first, first + count)))[0]


def test_uid_leads_to_the_flow_and_its_time(tmp_path: Path) -> None:
    """From the first packet to the last one."""
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=KEEP)
    uids.add(decode_rows(line("Cabc"))[0], S)
    assert uids.lookup("Cabc") == (flow_key("10.0.0.1", "10.0.0.2", 6, (1234, 80)), 5 * S, 7 * S + S // 2)
    assert uids.lookup("Cnone") is None


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"proto": "udp"}, flow_key("10.0.0.1", "10.0.0.2", 17, (1234, 80))),
        ({"proto": "icmp", "id.orig_p": 8, "id.resp_p": 0}, flow_key("10.0.0.1", "10.0.0.2", 1, (8, 0))),
        ({"id.orig_h": "2001:db8::1", "id.resp_h": "::2"}, flow_key("2001:db8::1", "::2", 6, (1234, 80))),
        ({"proto": "icmp", "id.orig_h": "fe80::1", "id.resp_h": "ff02::1", "id.orig_p": 135, "id.resp_p": 136},
         flow_key("fe80::1", "ff02::1", 58, (135, 136))),
    ],
)  # fmt: skip
def test_flow_of_every_protocol(tmp_path: Path, more: dict[str, object], key: object) -> None:
    """The key is that of the packets."""
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=KEEP)
    uids.add(decode_rows(line("Cabc", **more))[0], S)
    found = uids.lookup("Cabc")
    assert found is not None
    assert found.key == key


@pytest.mark.parametrize("ts", [1700000000.5, 1700000000500.0, "2023-11-14T22:13:20.500000Z"])
def test_every_form_of_time_is_read(ts: object) -> None:
    """As Zeek's JSON writer may be told to write it."""
    (row,), bad = decode_rows(line("C1", ts=ts))
    assert (row[6], bad) == (1700000000500 * 10**6, 0)


@pytest.mark.parametrize(
    ("data", "kept", "bad"),
    [
        (line("C1") + b'{"ts": 1.0, "uid": 5}\n' + line("C2"), 2, 1),
        (line("C1") + b"{no json\n" + line("C2"), 2, 1),
        (b'{"ts": 1.0}\n' + line("C1"), 1, 0),
        (line("C1", **{"id.orig_h": "not an address"}), 0, 0),
        (line("C1", **{"id.orig_h": "::1"}), 0, 0),
        (line("C1", **{"id.orig_p": 70000}), 0, 0),
        (line("C" * 65), 0, 0),
        (line("C1", ts=-1.0), 0, 0),
        (line("C1", ts=1e300), 0, 0),
        (b"", 0, 0),
    ],
)
def test_lines_that_say_nothing_cost_only_themselves(data: bytes, kept: int, bad: int) -> None:
    """Neither what is no record nor what names no flow."""
    found, unreadable = decode_rows(data)
    assert (len(found), unreadable) == (kept, bad)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_read(lines: list[bytes]) -> None:
    """Hostile records raise nothing."""
    decode_rows(b"\n".join(lines))


def test_later_records_extend_a_flow(tmp_path: Path) -> None:
    """When records of other logs are taken, too."""
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=KEEP)
    uids.add(decode_rows(line("C1", 10.0, duration=None) + line("C1", 5.0) + line("C1", 7.0, duration=20.0))[0], S)
    found = uids.lookup("C1")
    assert found is not None
    assert (found.from_ns, found.to_ns) == (5 * S, 27 * S)


def test_the_oldest_go_by_number(tmp_path: Path) -> None:
    """Never more than allowed, and nothing that came in lately goes."""
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    for first in range(0, 1000, 25):
        uids.add(rows(first, 25), S)
        assert uids.count() <= 320
    assert all(uids.lookup(f"C{number:06}") for number in range(700, 1000))
    assert not any(uids.lookup(f"C{number:06}") for number in range(600))


def test_the_oldest_go_by_age(tmp_path: Path) -> None:
    """Also when nothing new of their kind comes for long."""
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    uids.add(rows(0, 5), S)
    uids.add(rows(5, 5), 90 * S)
    uids.add([], 101 * S)
    assert uids.lookup("C000004") is None
    assert uids.lookup("C000005") is not None
    uids.add([], 500 * S)
    assert uids.lookup("C000005") is None
    uids.add(rows(10, 1), 501 * S)
    assert uids.lookup("C000010") is not None


def test_map_survives_and_others_read_it(tmp_path: Path) -> None:
    """While it is written, after a restart, and as the plain table ``flow``."""
    reader = open_uids(tmp_path)
    assert reader.lookup("C000001") is None
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    assert reader.lookup("C000001") is None
    uids.add(rows(0, 100), S)
    assert reader.lookup("C000001") == uids.lookup("C000001") is not None
    db = sqlite3.connect(tmp_path / FILE)
    (row,) = db.execute("select proto, src, sport, dst, dport from flow where uid = 'C000050'").fetchall()
    assert row == (6, ip_address("10.0.0.1").packed, 1234, ip_address("10.0.0.2").packed, 80)
    db.close()
    uids.close()
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    uids.add(rows(100, 100), S)
    assert uids.lookup("C000001") is not None
    assert uids.count() == 200


def test_lookup_uses_the_index(tmp_path: Path) -> None:
    """In each generation."""
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    uids.add(rows(0, 320), S)
    plan = uids._db.execute("explain query plan select * from flow where uid = 'x'").fetchall()
    steps = [text for *_, text in plan if "flow_" in text]
    assert len(steps) == GENERATIONS
    assert all(step.startswith("SEARCH") for step in steps)


def test_damaged_map_is_set_aside(tmp_path: Path, told: list[dict[str, object]]) -> None:
    """It begins anew, and that is said."""
    (tmp_path / FILE).write_bytes(b"no database at all, " * 500)
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    uids.add(rows(0, 1), S)
    assert uids.lookup("C000000")
    assert (tmp_path / (FILE + ".damaged")).exists()
    assert [entry["log_level"] for entry in told] == ["error"]


def test_failure_changes_nothing(tmp_path: Path) -> None:
    """All rows or none; the next ones are taken again."""
    uids = UidMap(tmp_path / FILE, max_flows=320, keep_ns=KEEP)
    uids.add(rows(0, 10), S)
    uids._db.execute("pragma max_page_count = 20")
    with pytest.raises(OSError, match="No space"):
        uids.add(rows(10, 300), S)
    assert uids.count() == 10
    uids._db.execute("pragma max_page_count = 100000")
    uids.add(rows(10, 300), S)
    assert uids.lookup("C000309")
