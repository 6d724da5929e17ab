"""Which packets a file has if there are more than fit, and whose cutoff is lifted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.evidence.uids import FILE, UidMap, decode_rows
from appliance.native import flow_key
from tests.evidence.test_uids import line
from tests.native.packets import udp_frame

from .harness import A, B, C, Clock, FakeStore, S, Site, T, running, size, tcp

CONN: dict[str, Any] = {
    "id.orig_h": A,
    "id.orig_p": 1234,
    "id.resp_h": B,
    "id.resp_p": 80,
    "proto": "tcp",
    "uid": "CHhAvVGS1DHFjwGM9",
}
KEY = flow_key(A, B, 6, (1234, 80))
STEP = S // 2


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    """A packet of one connection every half second, from 100 s before the alarm to 30 s after it."""
    made = FakeStore(tmp_path / "recorder")
    for ts in range(T - 100 * S, T + 30 * S, STEP):
        made.record(ts, tcp(16, 100))
    return made


def known(folder: Path, first_ns: int) -> None:
    """The connection's record has passed."""
    uids = UidMap(folder / FILE, max_flows=1000, keep_ns=1 << 60)
    uids.add(decode_rows(line(CONN["uid"], ts=first_ns / S))[0], T)
    uids.close()


async def run_site(site: Site, record: dict[str, Any]) -> list[int]:
    """Two stages; the times of the packets."""
    async with running(site) as run:
        site.log({"ts": T / S} | record)
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        segment = await site.segment()
    (path,) = site.files(".pcap")
    assert segment.disk_size == path.stat().st_size <= int(site.config.max_size)
    note = site.note()
    assert (note["packets"], note["bytes"]) == (segment.packets, segment.disk_size) == (
        len(site.packets()), path.stat().st_size,
    )  # fmt: skip
    assert "max_size" in [each["reason"] for each in note["missing"]]
    assert list((site.folder / "evidence" / ".notices.stages").iterdir()) == []
    return [ts for ts, _ in site.packets()]


@pytest.mark.parametrize("select", ["host", "pair", "all"])
async def test_of_hosts_what_is_nearest_to_the_alarm(tmp_path: Path, store: FakeStore, select: str) -> None:
    """Half of the room is for what lies before it."""
    site = Site(tmp_path, Clock(), store, select=select, max_size=size(8192))
    site.clock.now_ns = T + 5 * S
    found = await run_site(site, CONN)
    assert len(found) > 40
    before, after = [ts for ts in found if ts < T], [ts for ts in found if ts >= T]
    assert before == list(range(T - len(before) * STEP, T, STEP))
    assert after == list(range(T, T + len(after) * STEP, STEP))
    assert len(before) >= 20
    assert len(after) >= 20
    missing = [each for each in site.note()["missing"] if each["reason"] == "max_size"]
    assert len(missing) == 2


async def test_room_that_is_not_needed_before_the_alarm_is_for_what_comes_after(
    tmp_path: Path, store: FakeStore
) -> None:
    """Nothing is wasted."""
    store.forget_before(T - 2 * S)
    site = Site(tmp_path, Clock(), store, select="host", max_size=size(8192))
    found = await run_site(site, CONN)
    assert len([ts for ts in found if ts < T]) == 4
    assert len(found) > 40


async def test_of_a_connection_its_first_packets(tmp_path: Path, store: FakeStore) -> None:
    """Those within the time, as long as nobody knows when it began."""
    site = Site(tmp_path, Clock(), store, max_size=size(4096))
    found = await run_site(site, CONN)
    assert found == list(range(T - 60 * S, T - 60 * S + len(found) * STEP, STEP))


async def test_beginning_that_becomes_known_takes_the_room(tmp_path: Path, store: FakeStore) -> None:
    """Although later packets have been taken already, and filled it."""
    site = Site(tmp_path, Clock(), store, max_size=size(8192))
    async with running(site) as run:
        site.log({"ts": T / S} | CONN)
        await run.wait_idle()
        known(tmp_path, T - 70 * S)
        await run.go_to(T + 31 * S)
        await site.segment()
    found = [ts for ts, _ in site.packets()]
    assert found == list(range(T - 70 * S, T - 70 * S + len(found) * STEP, STEP))
    assert len(found) > 40
    assert site.files(".pcap")[0].stat().st_size <= 8192
    assert site.note()["packets"] == len(found)


@pytest.mark.parametrize(
    ("select", "record", "flows"),
    [
        ("conn", CONN, [KEY]),
        ("host", CONN, [KEY]),
        ("pair", CONN, [KEY]),
        ("all", CONN, [KEY]),
        ("pair", CONN | {"src": C}, [KEY]),
        ("host", {"src": A}, []),
        ("conn", {"src": A, "dst": B}, []),
    ],
)
async def test_cutoff_is_lifted_for_the_connection_that_a_record_names(
    tmp_path: Path, store: FakeStore, select: str, record: dict[str, Any], flows: list[Any]
) -> None:
    """Whichever packets are wanted."""
    site = Site(tmp_path, Clock(), store, select=select)
    async with running(site) as run:
        site.log({"ts": T / S} | record)
        await run.wait_idle()
        assert store.lifted == flows


@pytest.mark.parametrize("select", ["conn", "host", "pair"])
async def test_cutoff_is_lifted_when_a_uid_becomes_known(tmp_path: Path, store: FakeStore, select: str) -> None:
    """As long as packets are to come."""
    store.record(T + 31 * S, udp_frame(A, B, (1, 2)))
    site = Site(tmp_path, Clock(), store, select=select)
    async with running(site) as run:
        site.log({"ts": T / S, "uid": CONN["uid"]})
        await run.wait_idle()
        assert store.lifted == []
        known(tmp_path, T - S)
        await run.go_to(T + 6 * S)
        assert set(store.lifted) == {KEY}
        await run.go_to(T + 31 * S)
        await site.segment()
