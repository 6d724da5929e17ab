"""A recorder that is told what it recorded, a clock that is set, and evidence between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.config import Duration, Evidence, Size
from appliance.evidence.service import EvidenceService, Filter
from appliance.evidence.surroundings import Surroundings
from appliance.extract.sources import FileSource
from appliance.hooks.filter import Everything
from appliance.model import EventBatch, LogBatch, Segment
from appliance.native import FlowKey
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.packets import Gap, Source
from appliance.runtime.queue import ItemQueue
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Timestamp, Value
from tests.fakes import FakePublisher, is_balanced
from tests.native.packets import make_pcap, read_records, tcp_frame, udp_frame

S = 10**9
T = 1_795_256_100 * S
"""2026-11-21T10:15:00Z, where the tests begin."""
DEADLINE_S = 20.0
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


class Clock:
    """Wall time that stands still until it is set."""

    def __init__(self) -> None:
        self.now_ns = T

    def __call__(self) -> int:
        return self.now_ns


class FakeStore:
    """A recorder whose packets are those of a test. Its one segment grows."""

    def __init__(self, directory: Path) -> None:
        self.name = "edge"
        self.directory = directory
        self.told_gaps: list[Gap] = []
        self.lifted: list[FlowKey] = []
        self.waited: list[int] = []
        self.is_behind = False
        self.records: list[tuple[int, bytes, int]] = []
        self._number = 0
        directory.mkdir(exist_ok=True)

    def record(self, ts_ns: int, frame: bytes) -> None:
        self.records.append((ts_ns, frame, len(frame)))

    def forget_before(self, ts_ns: int) -> None:
        """The ring in memory moves on."""
        self.records = [record for record in self.records if record[0] >= ts_ns]

    @property
    def oldest_ns(self) -> int | None:
        return self.records[0][0] if self.records else None

    def sources(self) -> list[Source]:
        if not self.records:
            return []
        self._number += 1
        path = self.directory / f"memory-{self._number}.pcap"
        path.write_bytes(make_pcap(self.records))
        return [FileSource(path, first_ns=self.records[0][0], last_ns=self.records[-1][0])]

    def gaps(self, from_ns: int, to_ns: int) -> list[Gap]:
        return [gap for gap in self.told_gaps if gap.from_ns <= to_ns and gap.to_ns >= from_ns]

    async def wait_recorded(self, until_ns: int) -> None:
        self.waited.append(until_ns)
        await trio.lowlevel.checkpoint()
        if self.is_behind:
            await trio.sleep_forever()

    def lift(self, key: FlowKey, now_ns: int) -> None:
        self.lifted.append(key)


class Site:
    """Evidence of one table with everything around it; used within `open_site`."""

    def __init__(self, folder: Path, clock: Clock, store: FakeStore | None, **config: Any) -> None:
        self.folder = folder
        self.clock = clock
        self.ledger = Ledger()
        self.account = self.ledger.account("evidence.notices")
        self.segments = ItemQueue(Account("hook.h"), policy="block", max_records=10_000, max_bytes=1 << 30)
        dispatcher = Dispatcher()
        dispatcher.subscribe("hook.h", self.segments, on=("segment:*",), sources=())
        self.outlet = Outlet()
        self.publisher = FakePublisher()
        self.outlet.open("broker", self.publisher)
        self.recorders = {} if store is None else {"edge": store}
        self.around = Surroundings(self.recorders, dispatcher, self.ledger, self.outlet, folder)
        keys: dict[str, Any] = {"name": "notices", "on": ("log:*",), "recorder": "edge", "queue": "block"}
        keys |= {"before": seconds(60), "after": seconds(30), "directory": str(folder / "evidence")}
        self.config = Evidence(**(keys | config))
        self.queue = ItemQueue(self.account, policy="block", max_records=100_000, max_bytes=1 << 30)
        self.turn = trio.Lock()
        self.where: Filter = Everything()

    def make(self) -> EvidenceService:
        return EvidenceService(
            self.config, where=self.where, queue=self.queue, around=self.around, turn=self.turn, clock_ns=self.clock
        )

    # ── what comes in ──

    def log(self, *records: dict[str, Any], path: str = "notice") -> None:
        data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        assert self.queue.put_nowait(LogBatch(path=path, source="zmq.a", data=data, count=len(records))) is None

    def event(self, name: str, *args: Value, ts_ns: int | None = None) -> None:
        stamp = None if ts_ns is None else Timestamp(ts_ns)
        payload = encode_message(Event.make(name, *args, timestamp=stamp))
        data = len(payload).to_bytes(4) + payload
        batch = EventBatch(name=name, topic="t", source="broker", data=data, count=1, received_ns=self.clock.now_ns)
        assert self.queue.put_nowait(batch) is None

    # ── what comes out ──

    def files(self, ending: str) -> list[Path]:
        return sorted(path for path in (self.folder / "evidence").glob(f"*{ending}"))

    def note(self, number: int = 0) -> dict[str, Any]:
        found = [path for path in self.files(".json") if "left-out" not in path.name]
        return msgspec.json.decode(found[number].read_bytes())  # type: ignore[no-any-return]

    def packets(self, number: int = 0) -> list[tuple[int, bytes]]:
        """Of a finished PCAP, which is checked to be in order."""
        records = [(ts, data) for ts, data, _ in read_records(self.files(".pcap")[number].read_bytes()[24:])]
        assert [ts for ts, _ in records] == sorted(ts for ts, _ in records)
        return records

    async def segment(self) -> Segment:
        """The next file that consumers are told of."""
        with trio.fail_after(DEADLINE_S):
            async with self.segments.lease(1) as parcel:
                (item,) = parcel.items
                assert isinstance(item, Segment)
                parcel.deliver(1)
                return item


class Running:
    """A service that runs."""

    def __init__(self, site: Site, service: EvidenceService) -> None:
        self.site, self.service = site, service

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that threads are at."""
        with trio.fail_after(DEADLINE_S):
            while not is_so():  # noqa: ASYNC110 - threads tell nobody
                await trio.sleep(0.005)

    async def wait_settled(self) -> None:
        await self.until(lambda: not self.site.account.queued)

    async def wait_idle(self) -> None:
        """Everything that can be done now is done."""
        await self.wait_settled()
        work = self.service._work
        await self.until(lambda: not work._busy and not (work._due and work._due[0][0] <= self.site.clock.now_ns))

    async def go_to(self, now_ns: int) -> None:
        """Set the clock, and wait until what is due then is done."""
        self.site.clock.now_ns = now_ns
        self.service._work._changed.set()
        await self.wait_idle()


def seconds(number: float) -> Duration:
    return Duration(int(number * S))


def size(number: int) -> Size:
    return Size(number)


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Running]:
    """A generation of the service; at its end it is stopped and its books are looked at."""
    service = site.make()
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        yield Running(site, service)
        service.stop()
        with trio.fail_after(DEADLINE_S):
            while nursery.child_tasks:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.005)
    assert is_balanced(site.account, site.ledger.account("evidence.notices.segments", unit="segments"))


tcp = partial(tcp_frame, A, B, (1234, 80))
udp = udp_frame
