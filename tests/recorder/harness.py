"""A recorder on a veth pair with everything around it, a generator with serial numbers, and what its files hold."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import dpkt
import trio
import trio._core._thread_cache as thread_cache

from appliance.config import Duration, Limit, Recorder, Size
from appliance.model import Segment
from appliance.recorder.figures import RecorderFigures
from appliance.recorder.recorder import Recorder as RecorderService
from appliance.recorder.recorder import Surroundings
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.queue import ItemQueue
from appliance.runtime.shares import DiskShares
from tests.native.netns import veth

S = 10**9
DAY = 86_400 * S
"""So that no test depends on the minute in which it runs."""
MIB = 1 << 20
NEAR, FAR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SERIAL = struct.Struct(">IQ")
"""Flow and serial number, where the payload begins."""


def use_new_threads() -> None:
    """Threads that wait for work are where they were started: in another namespace."""
    thread_cache.THREAD_CACHE._idle_workers.clear()


@contextmanager
def wire() -> Iterator[None]:
    """Two connected interfaces, ``near`` and ``far``, for this thread and for those that it starts."""
    with veth():
        use_new_threads()
        yield
    use_new_threads()


def udp(flow: int, serial: int, *, size: int = 60) -> bytes:
    """A frame of that flow."""
    payload = SERIAL.pack(flow, serial).ljust(size, b".")
    datagram = dpkt.udp.UDP(sport=1000 + flow % 60000, dport=53, data=payload, ulen=8 + len(payload))
    packet = dpkt.ip.IP(src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=17, data=datagram, len=28 + len(payload))
    return bytes(dpkt.ethernet.Ethernet(src=FAR, dst=NEAR, data=packet))


class Generator:
    """Sends numbered frames from ``far``."""

    def __init__(self, flows: int = 4, *, size: int = 60) -> None:
        self._flows, self.size = flows, size
        self.sent: Counter[int] = Counter()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("far", 0))

    def send(self, count: int) -> None:
        """So many, each flow in turn."""
        for n in range(count):
            flow = n % self._flows
            self._socket.send(udp(flow, self.sent[flow], size=self.size))
            self.sent[flow] += 1

    def send_raw(self, frame: bytes, count: int) -> None:
        """So many times the same, as fast as it goes; not counted."""
        for _ in range(count):
            self._socket.send(frame)

    @property
    def total(self) -> int:
        return self.sent.total()

    def close(self) -> None:
        self._socket.close()


async def wait_until(condition: Callable[[], object]) -> None:
    """Let the loop, its threads and the kernel go on until `condition` holds; real time."""
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        await trio.sleep(0.005)


def table(folder: Path, **more: Any) -> Recorder:
    """A recorder ``edge`` on ``near`` with small limits."""
    sizes = {
        name: Size(value)
        for name, value in {"ring": 32 * MIB, "segment_size": MIB, **more}.items()
        if name in ("ring", "segment_size", "budget", "min_free", "memory")
    }
    if "cutoff" in more:
        more["cutoff"] = Limit(more["cutoff"])
    return Recorder(
        **{
            "name": "edge",
            "interface": "near",
            "directory": str(folder),
            "segment_every": Duration(DAY),
            **more,
            **sizes,
        }
    )


class Bench:
    """See the module. Segments that were announced arrive in `queue`."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.ledger = Ledger()
        self.account = self.ledger.account("recorder.edge", unit="packets")
        self.taken = Account("hook.h", unit="segments")
        self.queue = ItemQueue(self.taken, policy="drop_newest", max_records=10**6, max_bytes=1 << 30)
        dispatcher = Dispatcher()
        dispatcher.subscribe("hook.h", self.queue, on=["segment:*"], sources=[])
        self.around = Surroundings(ledger=self.ledger, dispatcher=dispatcher, shares=DiskShares(), recorders={})
        self.recorder = self.make(**more)

    def make(self, **more: Any) -> RecorderService:
        return RecorderService(table(self.folder, **more), around=self.around)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RecorderService]:
        """Run the recorder; at the end it is stopped, and the books are looked at."""
        recorder = self.recorder
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: recorder.run(task_status=task_status))
            yield recorder
            recorder.stop()
        self.check()

    def check(self) -> None:
        for account in self.ledger:
            figures = account.statistics()
            assert figures.imbalance == 0, figures
            assert figures.queued == 0, figures

    def figures(self) -> RecorderFigures:
        return self.recorder.statistics()

    async def recorded(self, expected: int = 0) -> None:
        """Wait until so many packets have come, and all that came is with the readers."""
        await wait_until(lambda: self.figures().packets >= expected)
        await self.recorder.wait_recorded(time.time_ns())

    def files(self) -> list[Path]:
        """Finished segments, in the order of time."""
        return sorted(self.folder.glob("edge-*.pcap"))

    def items(self) -> list[Segment]:
        """The segments that were announced, taken from the queue."""
        return [item for item in self.queue._items if isinstance(item, Segment)]

    def missing(self, reason: str) -> int:
        return sum(gap.packets or 0 for gap in self.recorder.gaps(0, 1 << 62) if gap.reason == reason)


def frames(paths: list[Path]) -> list[bytes]:
    """The frames of whole files."""
    found = []
    for path in paths:
        with path.open("rb") as file:
            found += [data for _, data in dpkt.pcap.Reader(file)]
    return found


def serials(paths: list[Path]) -> dict[int, list[int]]:
    """Flow → its serial numbers in the order of the files."""
    found: dict[int, list[int]] = {}
    for frame in frames(paths):
        flow, serial = SERIAL.unpack_from(frame, 42)
        found.setdefault(flow, []).append(serial)
    return found


def check_order(found: dict[int, list[int]]) -> int:
    """No duplicate and no reordering within a flow; returns the number of packets."""
    for flow, numbers in found.items():
        assert numbers == sorted(set(numbers)), f"flow {flow}"
    return sum(map(len, found.values()))
