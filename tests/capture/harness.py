"""A capturer with everything around it, senders for it, and an independent look at its files."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dpkt
import trio
import trio.testing

from appliance.capture.capturer import SocketCapture
from appliance.capture.disks import Disks
from appliance.capture.figures import HandlerFigures
from appliance.capture.handler import HandlerTask, Surroundings
from appliance.config import Capture, CaptureGroup, Handler, Size
from appliance.model import Segment
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.queue import ItemQueue

S = 10**9
HOUR_S = 3600
WALL_NS = 1_700_000_000 * S  # 2023-11-14T22:13:20Z
TO_THE_HOUR_S = HOUR_S - 13 * 60 - 20
HEADER = 24
RECORD = 16


class Packet(NamedTuple):
    ts_ns: int
    data: bytes
    wire_len: int


def packets_in(path: Path, *, linktype: int = 147, snaplen: int = 65535) -> list[Packet]:
    """The records of a nanosecond PCAP, read by the book; dpkt must see the same."""
    raw = path.read_bytes()
    magic, major, minor, _, _, found_snaplen, found_linktype = struct.unpack_from("=IHHiIII", raw)
    assert (magic, major, minor, found_snaplen, found_linktype) == (0xA1B23C4D, 2, 4, snaplen, linktype)
    packets, at = [], HEADER
    while at < len(raw):
        seconds, nanos, caplen, wire_len = struct.unpack_from("=IIII", raw, at)
        packets.append(Packet(seconds * S + nanos, raw[at + RECORD : at + RECORD + caplen], wire_len))
        at += RECORD + caplen
    assert at == len(raw)
    with path.open("rb") as file:
        assert [data for _, data in dpkt.pcap.Reader(file)] == [packet.data for packet in packets]
    return packets


async def wait_until(condition: Callable[[], object]) -> None:
    """Let the loop, its threads and the kernel go on until `condition` holds; real time."""
    patience = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        await trio.lowlevel.checkpoint()


async def later(clock: trio.testing.MockClock, seconds: float) -> None:
    """Let everybody wait for what he waits for, then let time pass."""
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)


def handler_table(folder: Path, pattern: str = "%H-{seq}.pcap", *, name: str = "raw", **more: Any) -> Handler:
    """`rotate_size` in bytes; an hour is the default."""
    if "rotate_size" in more:
        more["rotate_size"] = Size(more["rotate_size"])
    return Handler(name=name, log_dir=str(folder), file_name_pattern=pattern, **{"rotate_log_index": "hour", **more})


class Bench:
    """See the module. Segments arrive in `queue`."""

    def __init__(
        self,
        folder: Path,
        pattern: str = "%H-{seq}.pcap",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        buffer: int = 1 << 20,
        socket: dict[str, Any] | None = None,
        handlers: Sequence[Handler] = (),
        **handler: Any,
    ) -> None:
        self.folder = folder
        self._clock = trio.lowlevel.current_clock()  # worker threads read it, too
        self._began_s = self._clock.current_time()
        self.wall_ns = WALL_NS
        self.config = Capture(
            **{
                "name": "c", "conn_type": "udp", "address": (host, port), "receive_buffer": Size(buffer),
                "handler": tuple(handlers) or (self.handler(pattern, **handler),), **(socket or {}),
            }
        )  # fmt: skip
        self.ledger = Ledger()
        self.account = self.ledger.account("capture.c", unit="packets")
        self.segments = self.ledger.account("capture.c.segments", unit="segments")
        self.taken = Account("hook.h", unit="segments")
        self.queue = ItemQueue(self.taken, policy="drop_newest", max_records=10**6, max_bytes=1 << 30)
        dispatcher = Dispatcher()
        dispatcher.subscribe("hook.h", self.queue, on=["segment:*"], sources=[])
        self.around = Surroundings(
            ledger=self.ledger,
            dispatcher=dispatcher,
            disks=Disks(),
            host="h",
            state_dir=folder / "state",
            clock_ns=self.clock_ns,
        )
        self.capture = SocketCapture(CaptureGroup((self.config,)), around=self.around)

    def handler(self, pattern: str = "%H-{seq}.pcap", **more: Any) -> Handler:
        return handler_table(self.folder, pattern, **more)

    def clock_ns(self) -> int:
        return self.wall_ns + int((self._clock.current_time() - self._began_s) * S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the capturer; at the end it is stopped, and the books are looked at."""
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: self.capture.run(task_status=task_status))
            yield
            self.capture.stop()
        self.check()

    def check(self) -> None:
        for account in (*self.ledger, self.taken):
            figures = account.statistics()
            assert figures.imbalance == 0, figures
            if account is not self.taken:
                assert account.queued == 0, figures

    def books(self, name: str = "raw") -> Account:
        """The account of a handler."""
        return self.ledger.account(f"handler.c/{name}", unit="packets")

    def task(self, name: str = "raw") -> HandlerTask:
        (task,) = self.capture.find(name)
        return task

    def figures(self, name: str = "raw") -> HandlerFigures:
        return self.task(name).statistics()

    @property
    def port(self) -> int:
        return int(self.capture.statistics().address.rpartition(":")[2])

    async def send(self, *packets: bytes) -> None:
        """Send and wait until the capturer has them."""
        expected = self.account.delivered + self.account.lost + len(packets)
        self.throw(packets)
        await wait_until(lambda: self.account.delivered + self.account.lost >= expected)

    def throw(self, packets: Sequence[bytes]) -> None:
        """Only send."""
        host = self.config.address[0] or "127.0.0.1"
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for packet in packets:
                sender.sendto(packet, (host, self.port))

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def packets(self, **style: Any) -> dict[str, list[bytes]]:
        """The packets of every finished file."""
        return {name: [packet.data for packet in packets_in(self.folder / name, **style)] for name in self.names()}

    def packets_of(self, name: str) -> list[bytes]:
        """The packets of one finished file."""
        return [packet.data for packet in packets_in(self.folder / name)]

    def items(self) -> list[Segment]:
        """The segments that were announced, taken from the queue."""
        return [item for item in self.queue._items if isinstance(item, Segment)]
