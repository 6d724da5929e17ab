"""Evidence over restarts, between all its stages."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from appliance.evidence.jobs import Job
from appliance.evidence.state import State
from appliance.runtime.queue import ItemQueue
from tests.native.packets import make_pcap, read_records, udp_frame

from .harness import A, B, Clock, FakeStore, S, Site, T, running, tcp
from .test_service import NOTICE

ROOT = Path(__file__).parents[2]
FRAMES = [(T - 2 * S, tcp(2)), (T - S, tcp(16)), (T + S, tcp(16, 10)), (T + 2 * S, tcp(16, 20))]


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    return FakeStore(tmp_path / "recorder")


async def take_first_stage(site: Site, store: FakeStore) -> None:
    """A run that ends before the time after the alarm has passed; then the ring moves on."""
    for ts, frame in FRAMES[:2]:
        store.record(ts, frame)
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
    store.forget_before(T + S)
    for ts, frame in FRAMES[2:]:
        store.record(ts, frame)


def again(site: Site) -> Site:
    """The next process."""
    assert isinstance(site.recorders["edge"], FakeStore)
    return Site(site.folder, site.clock, site.recorders["edge"])


async def test_stages_of_two_runs_are_one_file(tmp_path: Path, store: FakeStore) -> None:
    """What the first one took, the recorder need not have any more."""
    site = Site(tmp_path, Clock(), store)
    await take_first_stage(site, store)
    site = again(site)
    site.clock.now_ns = T + 31 * S
    async with running(site):
        segment = await site.segment()
    assert site.packets() == FRAMES
    assert segment.packets == 4


async def test_a_piece_that_is_gone_is_taken_again(tmp_path: Path, store: FakeStore) -> None:
    """As far as it is there; what is not is said. Files that nobody knows go."""
    site = Site(tmp_path, Clock(), store)
    await take_first_stage(site, store)
    stages = tmp_path / "evidence" / ".notices.stages"
    (piece,) = stages.iterdir()
    piece.unlink()
    (stages / "unknown.pcap").write_bytes(b"?")
    site = again(site)
    site.clock.now_ns = T + 31 * S
    async with running(site):
        await site.segment()
    assert site.packets() == FRAMES[2:]
    assert "before_oldest" in [each["reason"] for each in site.note()["missing"]]
    assert list(stages.iterdir()) == []


async def test_a_folder_that_vanishes_is_made_again(tmp_path: Path, store: FakeStore) -> None:
    """What the recorder still has is taken again."""
    site = Site(tmp_path, Clock(), store)
    for ts, frame in FRAMES:
        store.record(ts, frame)
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        shutil.rmtree(tmp_path / "evidence")
        store.forget_before(T - S)
        await run.go_to(T + 31 * S)
        await site.segment()
    assert site.packets() == FRAMES[1:]
    assert [each["reason"] for each in site.note()["missing"]] == ["before_oldest"]


async def test_a_file_that_was_finished_is_told_of(tmp_path: Path, store: FakeStore) -> None:
    """A crash after it got its name, and before anybody heard of it: nothing is written twice."""
    site = Site(tmp_path, Clock(), store)
    await take_first_stage(site, store)
    state = (tmp_path / "pending" / "notices.db").read_bytes()
    site = again(site)
    site.clock.now_ns = T + 31 * S
    async with running(site):
        first = await site.segment()
    for ending in ("-wal", "-shm"):
        (tmp_path / "pending" / f"notices.db{ending}").unlink(missing_ok=True)
    (tmp_path / "pending" / "notices.db").write_bytes(state)
    site = again(site)
    async with running(site) as run:
        assert (await site.segment()).path == first.path
        await run.wait_idle()
    assert len(site.files(".pcap")) == len(site.files(".json")) == 1


async def test_a_crash_while_a_file_is_put_together(tmp_path: Path, store: FakeStore) -> None:
    """Its half is thrown away and made again, under the same name."""
    site = Site(tmp_path, Clock(), store)
    await take_first_stage(site, store)
    site = again(site)
    (job,) = await jobs_of(site)
    pcap = site.make()._files.path(job, "pcap")
    pcap.with_name(pcap.name + ".part").write_bytes(b"half")
    pcap.with_suffix(".json").write_text("{}")
    site.clock.now_ns = T + 31 * S
    async with running(site):
        assert (await site.segment()).path == str(pcap)
    names = {path.name for path in (tmp_path / "evidence").iterdir() if path.is_file()}
    assert names == {pcap.name, pcap.with_suffix(".json").name}
    assert site.packets() == FRAMES


async def test_a_damaged_state_is_set_aside(tmp_path: Path, store: FakeStore, told: list[dict[str, object]]) -> None:
    """What was pending is lost, which is said; new alarms are taken."""
    (tmp_path / "pending").mkdir()
    (tmp_path / "pending" / "notices.db").write_bytes(b"no database at all, " * 500)
    store.record(T - S, tcp(2))
    site = Site(tmp_path, Clock(), store)
    site.clock.now_ns = T + 31 * S
    async with running(site):
        site.log(NOTICE)
        assert (await site.segment()).packets == 1
    assert (tmp_path / "pending" / "notices.db.damaged").exists()
    assert [entry["log_level"] for entry in told].count("error") == 1


async def test_a_state_that_cannot_be_written_settles_nothing(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service fails; started again, it takes the same records, and joins nothing to what was never written."""

    def refuse(self: State, *_: object) -> None:
        raise OSError(28, "No space left on device")

    put = State.put
    site = Site(tmp_path, Clock(), store)
    service = site.make()
    site.log(NOTICE)
    monkeypatch.setattr(State, "put", refuse)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await service.run()
    monkeypatch.setattr(State, "put", put)
    assert (site.account.delivered, site.account.queued) == (0, 1)
    store.record(T - S, tcp(2))
    site.clock.now_ns = T + 31 * S
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        assert (await site.segment()).packets == 1
        service.stop()
    assert (site.account.delivered, site.note()["alarms"]) == (1, 1)


async def jobs_of(site: Site) -> list[Job]:
    """What a run has left."""
    state = await trio.to_thread.run_sync(State, site.folder / "pending" / "notices.db")
    jobs = state.load()
    state.close()
    return jobs


async def test_generations_take_turns(tmp_path: Path, store: FakeStore) -> None:
    """At a reload the successor starts first, and goes on when the predecessor has ended."""
    site = Site(tmp_path, Clock(), store)
    for ts, frame in FRAMES:
        store.record(ts, frame)
    async with running(site) as run:
        site.log(NOTICE)
        await run.wait_idle()
        queue, site.queue = site.queue, ItemQueue(site.account, policy="block", max_records=99, max_bytes=1 << 20)
        successor = site.make()
        async with trio.open_nursery() as nursery:
            await nursery.start(successor.run)
            assert successor.statistics().pending == 0
            site.clock.now_ns = T + 31 * S
            site.queue.adopt(queue)
            await site.segment()
            successor.stop()
    assert site.packets() == FRAMES


@pytest.mark.slow
def test_kills_at_random_moments_lose_no_alarm(tmp_path: Path) -> None:
    """Each gets its file, with all of its packets, once or, if it was killed while it said so, told of twice."""
    chance = random.Random(7)
    count = 40
    deadline = time.monotonic() + 150
    frames = [[(T - S + i * 1000 + n, udp_frame(A, B, (n + 1, 7), serial=i)) for i in range(4)] for n in range(count)]
    records = sorted((ts, data, len(data)) for flow in frames for ts, data in flow)
    (tmp_path / "packets.pcap").write_bytes(make_pcap(records))
    kills = 0
    while time.monotonic() < deadline:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.evidence.victim", os.fspath(tmp_path), str(count)], cwd=ROOT
        )
        try:
            process.wait(timeout=(0.6 + chance.random()) * (1 + kills / 4))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert process.returncode == 0
    assert kills
    pcaps = sorted((tmp_path / "evidence").glob("*.pcap"))
    assert len(pcaps) == len(list((tmp_path / "evidence").glob("*.json"))) == count
    assert not list((tmp_path / "evidence").glob("*.part"))
    found = [[(ts, data) for ts, data, _ in read_records(path.read_bytes()[24:])] for path in pcaps]
    assert sorted(found) == frames
    told = (tmp_path / "told").read_text().splitlines()
    assert set(told) == {path.name for path in pcaps}
