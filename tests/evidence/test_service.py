"""From an alarm to its PCAP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from appliance.config import Keep
from appliance.evidence import service as service_module
from appliance.evidence import work as work_module
from appliance.evidence.uids import FILE, UidMap, decode_rows
from appliance.hooks.where import Where
from appliance.native import flow_key
from appliance.runtime.packets import Gap
from tests.evidence.test_uids import line
from tests.native.packets import tcp_frame, udp_frame

from .harness import A, B, C, Clock, FakeStore, S, Site, T, running, seconds, size, tcp

SYN, ACK = 2, 16
CONN = {"id.orig_h": A, "id.orig_p": 1234, "id.resp_h": B, "id.resp_p": 80, "proto": "tcp", "uid": "CHhAvVGS1DHFjwGM9"}
NOTICE = {"ts": T / S, "note": "Scan::Port_Scan", **CONN}
KEY = flow_key(A, B, 6, (1234, 80))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path / "recorder")


async def test_alarm_gets_its_connection_from_before_to_after(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """And nothing of others; with a note, and an item for hooks."""
    frames = [(T - 100 * S, tcp(SYN)), (T - 50 * S, tcp(SYN)), (T - S, tcp(ACK, 10))]
    later = [(T + 10 * S, tcp_frame(B, A, (80, 1234), ACK, 20)), (T + 29 * S, tcp(ACK, 30)), (T + 31 * S, tcp(ACK))]
    for ts, frame in frames:
        store.record(ts, frame)
        store.record(ts + 1, udp_frame(A, B, (1234, 80)))
    site = Site(tmp_path, clock, store)
    clock.now_ns = T + 5 * S
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        assert site.files(".pcap") == []
        assert store.lifted == [KEY]
        for ts, frame in later:
            store.record(ts, frame)
        await run.go_to(T + 31 * S)
        segment = await site.segment()
    assert site.packets() == frames[1:] + later[:2]
    (pcap,) = site.files(".pcap")
    assert (segment.path, segment.handler, segment.source) == (str(pcap), "notices", "evidence.notices")
    assert (segment.packets, segment.disk_size, segment.linktype, segment.drops) == (4, pcap.stat().st_size, 1, 0)
    assert (segment.first_ns, segment.last_ns) == (T - 50 * S, T + 29 * S)
    note = site.note()
    assert (note["pcap"], note["packets"], note["bytes"]) == (pcap.name, 4, segment.disk_size)
    assert (note["complete"], note["missing"], note["alarms"]) == (True, [], 1)
    assert note["items"] == [
        {"kind": "log:notice", "source": "zmq.a", "ts": "2026-11-21T10:15:00.000000000Z", "record": NOTICE}
    ]
    assert note["query"]["from"] == "2026-11-21T10:14:00.000000000Z"
    assert (note["query"]["hosts"], note["query"]["ports"], note["query"]["proto"]) == ([A, B], [1234, 80], 6)
    assert site.account.delivered == 1
    assert list((tmp_path / "evidence" / ".notices.stages").iterdir()) == []


async def test_what_lies_before_is_taken_at_once(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """The ring in memory moves on, again and again, and nothing is missing."""
    frames = [(T + i * S, tcp(ACK, 20 + i)) for i in range(-20, 40)]
    site = Site(tmp_path, clock, store, before=seconds(10))
    for ts, frame in frames[:21]:
        store.record(ts, frame)
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        for ts, frame in frames[21:]:
            store.forget_before(ts - 20 * S)
            store.record(ts, frame)
            await run.go_to(ts)
        await site.segment()
    assert site.packets() == [(ts, frame) for ts, frame in frames if T - 10 * S <= ts <= T + 30 * S]
    assert site.note()["complete"]


async def test_connection_begins_with_its_first_packet(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """If its uid is known by then, however long it lasted before."""
    site = Site(tmp_path, clock, store)
    frames = [(T - 500 * S + 123, tcp(SYN)), (T - 300 * S, tcp(ACK)), (T, tcp(ACK))]
    for ts, frame in [(T - 501 * S, udp_frame(A, B, (1, 2))), *frames]:
        store.record(ts, frame)
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=10**18)
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        conn = line("CHhAvVGS1DHFjwGM9", (T - 500 * S) / S, duration=510.0)
        uids.add(decode_rows(conn)[0], T)
        await run.go_to(T + 31 * S)
        await site.segment()
    assert site.packets() == frames
    assert site.note()["complete"]


async def test_uid_alone_is_enough(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """As soon as the map knows it; while it does not, nothing is taken, and at last that is what is missing."""
    site = Site(tmp_path, clock, store)
    store.record(T - 2 * S, tcp(SYN))
    store.record(T - S, udp_frame(A, B, (1, 2)))
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=10**18)
    uids.add(decode_rows(line("CHhAvVGS1DHFjwGM9", (T - 2 * S) / S))[0], T)
    async with running(site) as run:
        site.log({"ts": T / S, "uid": "CHhAvVGS1DHFjwGM9"}, {"ts": T / S, "uid": "CnobodyKnows12345"})
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await site.segment()
        await run.until(lambda: run.service.statistics().finished == 2)
    assert site.packets() == [(T - 2 * S, tcp(SYN))]
    notes = [site.note(0), site.note(1)]
    empty = next(note for note in notes if note["pcap"] is None)
    assert [each["reason"] for each in empty["missing"]] == ["unknown_uid"]
    assert (empty["packets"], empty["complete"]) == (0, False)
    assert run.service.statistics().empty == 1


async def test_alarms_about_one_connection_are_one_file(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """That grows until the time after the last one has passed."""
    site = Site(tmp_path, clock, store)
    frames = [(T + i * 10 * S, tcp(ACK, i)) for i in range(10)]
    async with running(site) as run:
        for i, (ts, frame) in enumerate(frames):
            store.record(ts, frame)
            if i < 5:
                site.log(NOTICE | {"ts": ts / S})
            await run.go_to(ts)
        segment = await site.segment()
    assert segment.packets == len(site.packets()) == 8
    note = site.note()
    assert (note["alarms"], len(note["items"])) == (5, 5)
    assert site.account.delivered == 5
    assert run.service.statistics().joined == 4


async def test_an_earlier_alarm_that_comes_late_adds_what_was_before(
    tmp_path: Path, clock: Clock, store: FakeStore
) -> None:
    """In order of time all the same."""
    site = Site(tmp_path, clock, store, before=seconds(5))
    frames = [(T + i * S, tcp(ACK, 20 + i)) for i in range(-20, 5)]
    for frame in frames:
        store.record(*frame)
    clock.now_ns = T + 5 * S
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        site.log(NOTICE | {"ts": (T - 10 * S) / S})
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await site.segment()
    assert site.packets() == frames[5:]


async def test_what_is_missing_is_told_with_its_reason(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """What the recorder lost, once, however many stages have seen it; and what is older than all it has."""
    site = Site(tmp_path, clock, store)
    store.record(T - 40 * S, tcp(SYN))
    store.told_gaps = [Gap(T - S, T + 2 * S, "kernel", 7, 700), Gap(T - 70 * S, T - 50 * S, "stopped")]
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        segment = await site.segment()
    note = site.note()
    assert not note["complete"]
    missing = note["missing"]
    assert [(each["reason"], each["from"][17:19], each["to"][17:19], each.get("packets")) for each in missing] == [
        ("stopped", "00", "10", None), ("before_oldest", "10", "20", None), ("kernel", "59", "02", 7),
    ]  # fmt: skip
    assert segment.drops == 7
    assert run.service.statistics().incomplete == 1


async def test_file_ends_where_it_is_large_enough(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """What is left out is said."""
    site = Site(tmp_path, clock, store, max_size=size(4096))
    for i in range(100):
        store.record(T - 50 * S + i * S // 2, tcp(ACK, 100))
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        segment = await site.segment()
    assert 3900 < segment.disk_size <= 4096
    assert "max_size" in [each["reason"] for each in site.note()["missing"]]


@pytest.mark.parametrize(
    ("select", "record", "count"),
    [
        ("host", {"src": A}, 4), ("pair", CONN, 3), ("all", {}, 5), ("conn", CONN, 2),
        ("conn", {"src": C, "dst": B}, 1),
        ("conn", {"community_id": "1:VTEtcERgfDY3RHu8snIhjtuyegw="}, 0),
    ],
)  # fmt: skip
async def test_each_selection(
    tmp_path: Path, clock: Clock, store: FakeStore, select: str, record: dict[str, object], count: int
) -> None:
    """What the table asks for, or the record can name."""
    site = Site(tmp_path, clock, store, select=select)
    others = [
        tcp_frame(B, A, (80, 1234), ACK),
        udp_frame(A, B, (1, 2)),
        udp_frame(A, C, (1, 2)),
        udp_frame(B, C, (1, 2)),
    ]
    for i, frame in enumerate([tcp(SYN), *others]):
        store.record(T - 10 * S + i, frame)
    async with running(site) as run:
        site.log({"ts": T / S} | record)
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await run.until(lambda: run.service.statistics().finished == 1)
    assert site.note()["packets"] == count
    assert len(site.files(".pcap")) == bool(count)


async def test_records_that_are_no_alarms(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """Each is booked by its reason."""
    site = Site(tmp_path, clock, store)
    site.where = Where('note == "Scan::Port_Scan" or x == 1')
    async with running(site) as run:
        site.log(NOTICE, {"note": "other", **CONN}, {"x": 1, "note": "nobody"}, NOTICE)
        await run.wait_idle()
        assert (site.account.delivered, site.account.dropped) == (2, {"where": 1, "no_selection": 1})


async def test_records_without_time_count_as_of_now(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """And so do those whose clock is far ahead: nothing waits for next year."""
    site = Site(tmp_path, clock, store)
    store.record(T - S, tcp(SYN))
    async with running(site) as run:
        site.log(CONN, CONN | {"ts": T / S + 1e7}, CONN | {"ts": "yesterday"})
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        assert (await site.segment()).packets == 1
    assert (site.note()["alarms"], site.note()["query"]["from_ns"]) == (3, T - 60 * S)


def left_out(site: Site) -> list[dict[str, Any]]:
    return [msgspec.json.decode(path.read_bytes()) for path in site.files(".json") if "left-out" in path.name]


async def test_scan_of_ten_thousand_alarms(
    tmp_path: Path, clock: Clock, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many files as allowed; the rest is counted, and listed in a note."""
    monkeypatch.setattr(service_module, "NOTE_EVERY_S", 0.5)
    site = Site(tmp_path, clock, store, max_rate=20)
    alarms = [NOTICE | {"id.resp_p": port} for port in range(1, 10_001)]
    store.record(T - S, tcp_frame(A, B, (1234, 7), SYN))
    async with running(site) as run:
        for first in range(0, 10_000, 1000):
            site.log(*alarms[first : first + 1000])
        site.log(alarms[0])
        await run.wait_idle()
        await run.go_to(T + 31 * S)
        await run.until(lambda: run.service.statistics().finished == 20)
        await run.until(lambda: sum(note["left_out"]["rate_limit"] for note in left_out(site)) == 9980)
        assert run.service.statistics().left_out == 9980
    assert (site.account.delivered, site.account.dropped) == (21, {"rate_limit": 9980})
    listed = [alarm for note in left_out(site) for alarm in note["alarms"]]
    assert sorted(alarm["query"] for alarm in listed) == sorted(f"conn {A}:1234 {B}:{n}/6" for n in range(21, 10_001))
    assert {(alarm["ts"], alarm["reason"]) for alarm in listed} == {("2026-11-21T10:15:00.000000000Z", "rate_limit")}
    assert len(site.files(".pcap")) == 1


async def test_recorder_that_does_not_run_is_waited_for(
    tmp_path: Path, clock: Clock, store: FakeStore, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, object]]
) -> None:
    """Then the file is as complete as it can be."""
    monkeypatch.setattr(work_module, "LONGEST_DELAY_S", 0.0)
    site = Site(tmp_path, clock, None)
    store.record(T - S, tcp(SYN))
    async with running(site) as run:
        site.log(NOTICE)
        await run.until(lambda: run.service.statistics().failures > 2)
        assert "not running" in run.service.statistics().last_error
        clock.now_ns = T + 100 * S
        site.recorders["edge"] = store
        assert (await site.segment()).packets == 1
    assert [entry["event"] for entry in told if entry["log_level"] == "warning"] == ["evidence has to wait"]


async def test_recorder_that_never_runs_is_given_up(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note says so."""
    monkeypatch.setattr(work_module, "LONGEST_DELAY_S", 0.0)
    site = Site(tmp_path, clock, None)
    async with running(site) as run:
        site.log(NOTICE)
        await run.until(lambda: run.service.statistics().failures > 2)
        clock.now_ns = T + 31 * S + work_module.PATIENCE_NS
        await run.until(lambda: run.service.statistics().finished == 1)
    assert [each["reason"] for each in site.note()["missing"]] == ["not_recorded"]


async def test_recorder_that_is_behind_is_waited_for(
    tmp_path: Path, clock: Clock, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packets on their way are not missed."""
    monkeypatch.setattr(work_module, "LONGEST_DELAY_S", 0.0)
    monkeypatch.setattr(work_module, "RECORDED_S", 0.02)
    site = Site(tmp_path, clock, store)
    store.is_behind = True
    clock.now_ns = T + 100 * S
    async with running(site) as run:
        site.log(NOTICE)
        await run.until(lambda: run.service.statistics().failures > 1)
        store.record(T - S, tcp(SYN))
        store.is_behind = False
        assert (await site.segment()).packets == 1
    assert store.waited[-1] == T + 30 * S + 1


async def test_full_disk_costs_nothing(
    tmp_path: Path, clock: Clock, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, with what was taken already."""
    monkeypatch.setattr(work_module, "LONGEST_DELAY_S", 0.0)
    site = Site(tmp_path, clock, store)
    store.record(T - S, tcp(SYN))
    (tmp_path / "evidence").write_text("in the way of the folder")
    clock.now_ns = T + 100 * S
    async with running(site) as run:
        site.log(NOTICE)
        await run.until(lambda: run.service.statistics().failures > 2)
        (tmp_path / "evidence").unlink()
        assert (await site.segment()).packets == 1


async def test_old_files_go(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """PCAPs and notes, by the table's limits."""
    site = Site(tmp_path, clock, store, keep=Keep(size=size(10_000)))
    for i in range(8):
        store.record(T - S + i, udp_frame(A, B, (i, 7), 3000))
    clock.now_ns = T + 100 * S
    async with running(site) as run:
        for i in range(8):
            site.log({"ts": T / S, **CONN, "id.orig_p": i, "id.resp_p": 7, "proto": "udp"})
            await site.segment()
        await run.until(lambda: run.service.statistics().deleted_files > 0)
        await run.until(lambda: sum(p.stat().st_size for p in site.files("") if p.is_file()) <= 10_000)
    assert site.files(".pcap")


async def test_old_files_of_others_stay(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """Of another table with the same folder, too."""
    other = tmp_path / "evidence" / "other-20261121T101500Z-00000000.pcap"
    other.parent.mkdir()
    other.write_bytes(bytes(50_000))
    site = Site(tmp_path, clock, store, keep=Keep(size=size(1)))
    store.record(T - S, tcp(SYN))
    clock.now_ns = T + 100 * S
    async with running(site) as run:
        site.log(NOTICE)
        await site.segment()
        await run.until(lambda: run.service.statistics().deleted_files == 2)
    assert site.files("") == [tmp_path / "evidence" / ".notices.stages", other]


async def test_where_many_alarms_wait_they_are_worked_off(tmp_path: Path, clock: Clock, store: FakeStore) -> None:
    """Each gets its own packets, and only these."""
    site = Site(tmp_path, clock, store, max_rate=1000)
    for port in range(200):
        store.record(T - S + port, udp_frame(A, B, (port, 7)))
    clock.now_ns = T + 100 * S
    async with running(site) as run:
        site.log(*({"ts": T / S, **CONN, "id.orig_p": p, "id.resp_p": 7, "proto": "udp"} for p in range(200)))
        await run.until(lambda: run.service.statistics().finished == 200)
        await trio.lowlevel.checkpoint()
    assert {site.packets(i)[0] for i in range(200)} == {
        (T - S + port, udp_frame(A, B, (port, 7))) for port in range(200)
    }
    assert all(len(site.packets(i)) == 1 for i in range(200))
