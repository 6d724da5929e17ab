"""``/v1/extract`` on a real Unix socket, and ``broappliance extract`` as its client; the recorder is a directory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trio
import trio.testing

import appliance.api.extract
from appliance.api.extract import MAX_AT_ONCE, ExtractRoutes
from appliance.api.server import ApiServer
from appliance.cli import main
from appliance.config import Api
from appliance.extract.gaps import read_gaps
from appliance.extract.names import SegmentName
from appliance.extract.sources import FileSource, find_sources
from appliance.native import FlowKey
from appliance.runtime.packets import Gap, PacketStore, Source
from tests.extract.flows import S, T, Timed, write_segment
from tests.native.packets import ETHERNET, UDP, Packet, read_records, udp_frame

from .harness import Response, closing, parse_response

A, B = "10.0.0.1", "10.0.0.2"


pytestmark = pytest.mark.usefixtures("told")  # what is logged is not printed


class DirectoryStore:
    """What is in a directory; remembers until when it was to have recorded."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self.waited_ns: list[int] = []

    @property
    def oldest_ns(self) -> int | None:
        return T

    def sources(self) -> list[Source]:
        found: list[Source] = [*find_sources(self.directory, self.name)]
        return found

    def gaps(self, from_ns: int, to_ns: int) -> list[Gap]:
        return read_gaps(self.directory, self.name, from_ns=from_ns, to_ns=to_ns, now_ns=T)

    async def wait_recorded(self, until_ns: int) -> None:
        self.waited_ns.append(until_ns)

    def lift(self, key: FlowKey, now_ns: int) -> None:
        del key, now_ns


def fill(directory: Path, recorder: str, count: int, *, size: int = 60) -> None:
    """A packet a second."""
    packets = []
    for i in range(count):
        data = udp_frame(A, B, (1000 + i % 2, 53), size, serial=i)
        packets.append(Timed(T + i * S, Packet(ETHERNET, data, IPv4Address(A), IPv4Address(B), UDP, (1, 53), 0, 0)))
    write_segment(directory, str(SegmentName(recorder, T, 0)), packets, "indexed")


class Bench:
    """A socket, two recorders that have packets, and a map of uids."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "api.sock"
        self.folder = folder
        for name, count in (("edge", 10), ("core", 4)):
            fill(folder, name, count)
        with sqlite3.connect(folder / "uids.db") as database:
            database.execute("create table flow(uid, proto, src, sport, dst, dport, from_ns, to_ns)")
            ends = (IPv4Address(A).packed, 1001, IPv4Address(B).packed, 53)
            database.execute("insert into flow values ('C1', 17, ?, ?, ?, ?, ?, ?)", (*ends, T + 7 * S, T + 8 * S))
        database.close()
        self.stores = {name: DirectoryStore(name, folder) for name in ("edge", "core")}
        recorders: dict[str, PacketStore] = dict(self.stores)
        self.recorders = recorders
        self.routes = ExtractRoutes(lambda: self.recorders, state_dir=str(folder), now_ns=lambda: T + 100 * S)
        self.server = ApiServer(Api(listen=(f"unix:{self.path}",)), self.routes.endpoints())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.server.run)
            yield
            self.server.stop()

    async def get(self, target: str, method: str = "GET") -> Response:
        async with await trio.open_unix_socket(str(self.path)) as stream:
            await stream.send_all(closing(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))
            return parse_response(b"".join([data async for data in stream]))

    async def run(self, *arguments: str) -> int:
        """The command line, in a thread."""
        return await trio.to_thread.run_sync(main, ["extract", "--socket", str(self.path), *arguments])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_packets_are_sent_and_reported(bench: Bench) -> None:
    """Of one recorder, in time; the report is where the header says."""
    async with bench.serving():
        answer = await bench.get(f"/v1/extract/pcap?recorder=edge&port=1001&from={T // S + 2}&to={T // S + 8}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/vnd.tcpdump.pcap")
        assert [time for time, *_ in read_records(answer.body[24:])] == [T + i * S for i in (3, 5, 7)]
        report = await bench.get(answer.headers["extract-report"])
        assert (report.json["packets"], report.json["bytes"]) == (3, len(answer.body))
        assert report.json["is_complete"]
    assert bench.stores["edge"].waited_ns == [T + 8 * S]
    assert bench.stores["core"].waited_ns == []


async def test_all_recorders_are_asked_and_told(bench: Bench) -> None:
    """Their packets are merged; nobody waits for the future."""
    async with bench.serving():
        assert (await bench.get("/v1/extract")).json == {
            "recorders": [{"name": "core", "oldest_ns": T}, {"name": "edge", "oldest_ns": T}],
            "running": 0,
        }
        answer = await bench.get("/v1/extract/pcap?host=10.0.0.2")
    assert len(read_records(answer.body[24:])) == 14
    assert bench.stores["core"].waited_ns == [T + 100 * S]


async def test_a_uid_stands_for_its_connection_and_time(bench: Bench) -> None:
    """As the map of uids has it; an unknown one is said to be so."""
    async with bench.serving():
        answer = await bench.get("/v1/extract/pcap?uid=C1&recorder=edge")
        assert [time for time, *_ in read_records(answer.body[24:])] == [T + i * S for i in (3, 5, 7, 9)]
        assert (await bench.get("/v1/extract/pcap?uid=C2")).status == 409


@pytest.mark.parametrize(
    ("target", "status", "where"),
    [
        ("/v1/extract/pcap?port=x", 400, "port"),
        ("/v1/extract/pcap?bpf=tuesday", 400, "bpf"),
        ("/v1/extract/pcap?recorder=none", 400, "recorder"),
        ("/v1/extract/pcap?recorder=edge&recorder=core", 400, "recorder"),
        ("/v1/extract/pcap?max-bytes=many", 400, "max-bytes"),
        ("/v1/extract/pcap?" + "&".join(["host=10.0.0.1"] * 40), 400, ""),
        ("/v1/extract/reports/7", 404, None),
        ("/v1/extract/reports/x", 404, None),
        ("/v1/extract/else", 404, None),
    ],
)
async def test_refusals(bench: Bench, target: str, status: int, where: str | None) -> None:
    """With the condition that is wrong; nothing runs afterwards."""
    async with bench.serving():
        answer = await bench.get(target)
        assert (answer.status, answer.json.get("where")) == (status, where)
        assert bench.routes.running == 0
        assert (await bench.get("/v1/extract/pcap", "POST")).status == 405


async def test_without_recorders_there_is_nothing(bench: Bench) -> None:
    """They may have gone by a reload."""
    bench.recorders = {}
    async with bench.serving():
        assert (await bench.get("/v1/extract")).status == 404


async def hold(bench: Bench, started: trio.Event) -> None:
    """Ask for much and read the head only."""
    async with await trio.open_unix_socket(str(bench.path)) as stream:
        await stream.send_all(b"GET /v1/extract/pcap?recorder=much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await stream.receive_some(10)
        started.set()
        await trio.sleep_forever()


async def wait_until_idle(bench: Bench) -> None:
    while bench.routes.running:  # noqa: ASYNC110 - it tells nobody
        await trio.sleep(0.01)


async def test_few_at_once_and_an_end_when_the_client_goes(bench: Bench) -> None:
    """One more is sent away until a place is free again."""
    fill(bench.folder, "much", 3000, size=1400)
    bench.recorders["much"] = DirectoryStore("much", bench.folder)
    async with bench.serving():
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_AT_ONCE):
                started = trio.Event()
                nursery.start_soon(hold, bench, started)
                await started.wait()
            assert (await bench.get("/v1/extract/pcap")).status == 503
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await wait_until_idle(bench)
        assert (await bench.get("/v1/extract/pcap")).status == 200


async def test_a_client_that_takes_nothing_is_cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for it cannot make room meanwhile."""
    monkeypatch.setattr(appliance.api.extract, "STALL_S", 0.05)
    fill(bench.folder, "much", 3000, size=1400)
    bench.recorders["much"] = DirectoryStore("much", bench.folder)
    async with bench.serving(), trio.open_nursery() as nursery:
        started = trio.Event()
        nursery.start_soon(hold, bench, started)
        await started.wait()
        with trio.fail_after(10):
            await wait_until_idle(bench)
        nursery.cancel_scope.cancel()


async def test_the_command_asks_the_appliance(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """And writes what comes; the report comes from there, too."""
    gap = {"from_ns": T + 30 * S, "to_ns": T + 31 * S, "reason": "kernel", "packets": 7, "bytes": None}
    (bench.folder / "core.gaps.jsonl").write_text(json.dumps(gap))
    out = bench.folder / "out.pcap"
    async with bench.serving():
        assert await bench.run("--out", str(out), "--recorder", "edge", "--uid", "C1") == 0
        assert len(read_records(out.read_bytes()[24:])) == 4
        assert capsys.readouterr().out.startswith("4 packets, ")
        assert await bench.run("--count", "--max-size", "100B", "--from=-200s") == 3
        shown = capsys.readouterr()
        assert shown.out.startswith("1 packets, 100 bytes, ")
        assert "missing: kernel" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--port", "x"], 2, "--port: a condition is wrong: 'x' is no port"),
        (["--recorder", "none"], 2, "--recorder: a condition is wrong: there is no such recorder"),
        (["--uid", "C2"], 1, "the uid C2 is not known"),
    ],
)
async def test_the_command_tells_what_the_appliance_refuses(
    bench: Bench, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the exit code for it; no file is left."""
    async with bench.serving():
        assert await bench.run("--out", str(bench.folder / "out.pcap"), *arguments) == code
    assert words in capsys.readouterr().err
    assert not list(bench.folder.glob("out.pcap*"))


async def test_an_answer_that_ends_early_is_no_file(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A segment that cannot be opened for want of descriptors, in place of what else may happen in the middle."""

    class Exhausted(FileSource):
        def open(self):  # type: ignore[no-untyped-def]
            raise OSError(24, "Too many open files")

    class Store(DirectoryStore):
        def sources(self) -> list[Source]:
            return [Exhausted(self.directory / "x.pcap")]

    bench.recorders = {"edge": Store("edge", bench.folder)}
    async with bench.serving():
        assert await bench.run("--out", str(bench.folder / "out.pcap")) == 1
    assert "ends early" in capsys.readouterr().err
    assert not list(bench.folder.glob("out.pcap*"))


async def test_reading_is_paced(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    """By the bytes that are read, whether they are sent or not; what is given is the same."""
    async with bench.serving():
        whole = await bench.get("/v1/extract/pcap?recorder=edge")
    paced = ExtractRoutes(
        lambda: bench.recorders, state_dir=str(bench.folder), bytes_per_s=100, now_ns=lambda: T + 100 * S
    )
    bench.server = ApiServer(Api(listen=(f"unix:{bench.path}.2",)), paced.endpoints())
    bench.path = bench.path.with_name(f"{bench.path.name}.2")
    async with bench.serving():
        began = trio.current_time()
        answer = await bench.get("/v1/extract/pcap?recorder=edge")
        took_s = trio.current_time() - began
        report = (await bench.get(answer.headers["extract-report"])).json
    assert answer.body == whole.body
    assert took_s == pytest.approx(report["read_bytes"] / 100, rel=0.2)
