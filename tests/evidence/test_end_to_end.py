"""The whole appliance: packets on a wire, a recorder that writes only what is asked for, and Zeek's records."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from appliance.app import Appliance
from appliance.cli.details import describe
from appliance.config import load
from appliance.evidence.requests import ANSWER, ANSWER_TOPIC, REQUEST, REQUEST_TOPIC
from appliance.model import LogBatch
from appliance.parts import prepare
from appliance.zeek.values import Address, Count, Port, Timespan, Timestamp, Value, Vector
from tests.broker.harness import House as BrokerHouse
from tests.broker.harness import event as broker_event
from tests.broker.harness import run_houses
from tests.recorder.harness import Generator, serials, wait_until, wire

S = 10**9
SITE = """
[appliance]
name = "test"
state_dir = "state"
[api]
listen = []
[[recorder]]
name = "edge"
interface = "near"
ring = "32MiB"
memory = "64MiB"
write = "{write}"
directory = "{folder}/edge"
[[evidence]]
name = "notices"
on = ["log:notice"]
recorder = "edge"
before = "{before}"
after = "{after}"
max_rate = 50
directory = "{folder}/evidence"
"""

REQUESTS = """
[broker]
listen = ["127.0.0.1:0"]
tls = "off"
[[evidence]]
name = "requests"
on = ["event:BroAppliance::evidence_request"]
recorder = "edge"
directory = "{folder}/requests"
"""


@pytest.fixture
def generator() -> Iterator[Generator]:
    """Sends to the interface ``near``, which is recorded."""
    with wire():
        made = Generator(flows=3)
        yield made
        made.close()


class House:
    """An appliance that runs, and a door of its own."""

    def __init__(self, appliance: Appliance, folder: Path) -> None:
        self.appliance, self.folder = appliance, folder
        self._door = appliance.ledger.account("zmq.test")

    async def log(self, *records: dict[str, Any], path: str = "notice") -> None:
        data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        batch = LogBatch(path=path, source="zmq.test", data=data, count=len(records))
        self._door.received += batch.count
        await self.appliance.dispatcher.dispatch(batch, self._door, patience_s=5.0)

    def files(self, ending: str) -> list[Path]:
        return sorted((self.folder / "evidence").glob(f"*{ending}"))

    def notes(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(path.read_bytes()) for path in self.files(".json")]


def flow(number: int, ts_ns: int, **more: Any) -> dict[str, Any]:
    """A record about a flow of the generator."""
    ends = {"id.orig_h": "10.0.0.1", "id.orig_p": 1000 + number, "id.resp_h": "10.0.0.2", "id.resp_p": 53}
    return {"ts": ts_ns / S, "uid": f"Cflow{number:012}", "proto": "udp", **ends, **more}


@asynccontextmanager
async def house(
    folder: Path, *, write: str = "triggered", before: str = "10s", after: str = "3s", more: str = ""
) -> AsyncIterator[House]:
    """Everything must balance at its end."""
    path = folder / "site.toml"
    path.write_text(SITE.format(folder=folder, write=write, before=before, after=after) + more)
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        yield House(appliance, folder)
        appliance.stop()
    assert all(account.statistics().imbalance == 0 for account in appliance.ledger)


def status_of(h: House) -> str:
    """What the command shows."""
    status = msgspec.json.decode(msgspec.json.encode(h.appliance.status()))
    (line,) = [line for line in status["services"] if line["service"]["name"] == "evidence.notices"]
    return describe(line)


async def test_notice_after_its_packets_gets_all_of_them(tmp_path: Path, generator: Generator) -> None:
    """From the first packet of its connection to those after the notice; nothing else reaches the disk."""
    async with house(tmp_path) as h:
        began_ns = time.time_ns()
        generator.send(3000)
        await trio.sleep(1.5)
        await h.log(flow(1, began_ns, note="Late"))
        generator.send(300)
        await wait_until(lambda: h.files(".pcap"))
        await wait_until(lambda: "1 finished" in status_of(h))
    assert serials(h.files(".pcap")) == {1: list(range(1100))}
    (note,) = h.notes()
    assert note["packets"] == 1100
    assert {each["reason"] for each in note["missing"]} <= {"stopped", "memory"}
    assert list((tmp_path / "edge").glob("*.pcap*")) == []


async def test_connection_is_whole_although_it_began_long_before(tmp_path: Path, generator: Generator) -> None:
    """Its record tells when that was."""
    async with house(tmp_path, write="all", before="10ms") as h:
        began_ns = time.time_ns()
        generator.send(30)
        await trio.sleep(0.5)
        generator.send(3)
        await h.log(flow(2, began_ns, duration=0.6), path="conn")
        await h.log(flow(2, time.time_ns()))
        await wait_until(lambda: h.files(".pcap"))
    assert serials(h.files(".pcap")) == {2: list(range(11))}


async def test_reload_goes_on_with_what_is_pending(tmp_path: Path, generator: Generator) -> None:
    """The new table's limits hold for it, and alarms that come meanwhile are taken by one of the two."""
    async with house(tmp_path) as h:
        began_ns = time.time_ns()
        generator.send(30)
        await h.log(flow(0, began_ns))
        await wait_until(lambda: h.appliance.ledger.account("evidence.notices").delivered == 1)
        text = (tmp_path / "site.toml").read_text()
        (tmp_path / "site.toml").write_text(text.replace("max_rate = 50", "max_rate = 51"))
        h.appliance.reload()
        await h.log(flow(1, began_ns))
        assert (await h.appliance.wait_reloaded()).ok
        await h.log(flow(2, began_ns))
        await wait_until(lambda: len(h.files(".pcap")) == 3)
        await wait_until(lambda: "0 pending" in status_of(h))
    assert serials(h.files(".pcap")) == {number: list(range(10)) for number in range(3)}


async def test_peer_on_the_cluster_asks_and_is_answered(tmp_path: Path, generator: Generator) -> None:
    """Over Broker: what is asked for on the time machine's topic, which nobody has configured."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    more = REQUESTS.format(folder=tmp_path)
    async with house(tmp_path, more=more) as h:
        port = int((tmp_path / "state" / "broker.ports").read_text().rpartition(":")[2])
        peer = BrokerHouse(tmp_path, connect=(f"127.0.0.1:{port}",), listen=(), subscribe=(ANSWER_TOPIC,))
        async with run_houses(peer):
            await peer.wait_peers(1)
            generator.send(30)
            ends: list[Value] = [Address.parse("10.0.0.1"), Port(1002, 2), Address.parse("10.0.0.2"), Port(53, 2)]
            what = Vector([b"conn", Timestamp(time.time_ns()), *ends])
            args: list[Value] = [b"r1", b"why", what, Timespan(10 * S), Timespan(0), b"edge", b""]
            await wait_until(lambda: peer.publish(REQUEST_TOPIC, broker_event(REQUEST, *args)).peers)
            with trio.fail_after(20):
                while not (answers := await peer.events(ANSWER)):  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)
        assert not h.files(".pcap")
    ((id_, recorder, path, packets, *_),) = answers
    assert isinstance(path, bytes)
    assert (id_, recorder, packets) == (b"r1", b"edge", Count(10))
    assert serials([Path(path.decode())]) == {2: list(range(10))}


async def test_scan_costs_as_many_files_as_allowed(tmp_path: Path, generator: Generator) -> None:
    """Ten thousand alarms at once; the recorder loses nothing by it, and each alarm is accounted for."""
    async with house(tmp_path) as h:
        generator.send(3000)
        now_ns = time.time_ns()
        for first in range(0, 10_000, 1000):
            await h.log(*(flow(number, now_ns) for number in range(first, first + 1000)))
        generator.send(3000)
        account = h.appliance.ledger.account("evidence.notices")
        await wait_until(lambda: account.delivered + account.dropped.get("rate_limit", 0) == 10_000)
        assert 50 <= account.delivered < 100  # some more may begin while a slow machine takes them in
        await wait_until(lambda: len(h.files(".json")) == account.delivered)
        assert account.dropped.keys() == {"rate_limit"}
        assert h.appliance.ledger.account("recorder.edge", unit="packets").dropped == {}
    assert serials(h.files(".pcap")) == {number: list(range(2000)) for number in range(3)}
