"""Many handlers on one socket: each gets every packet, none hurts another, and they come and go while packets flow."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dpkt
import pytest
import trio
import trio.testing
import zstandard
from structlog.typing import EventDict

from appliance.capture.segments import SegmentWriter
from appliance.config import CaptureGroup, Keep, Size
from appliance.runtime import tidy

from .harness import HEADER, RECORD, Bench, handler_table, later, packets_in, wait_until

Clock = trio.testing.MockClock


def two(folder: Path, **second: Any) -> Bench:
    return Bench(
        folder,
        handlers=[
            handler_table(folder, "a{seq}.pcap", name="a"),
            handler_table(folder, "b{seq}.pcap", **{"name": "b", **second}),
        ],
    )


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk of handler ``b`` writes nothing until this is set."""
    event = threading.Event()
    flush = SegmentWriter._flush

    def wait_and_flush(writer: Any, load: Any) -> None:
        if load.plan.handler == "b":
            event.wait()
        flush(writer, load)

    monkeypatch.setattr(SegmentWriter, "_flush", wait_and_flush)
    yield event
    event.set()


async def test_every_handler_gets_every_packet(tmp_path: Path) -> None:
    """With books of its own; those of the socket count each packet once."""
    bench = two(tmp_path)
    sent = [b"%03d" % n for n in range(700)]
    async with bench.running():
        await bench.send(*sent)
    assert bench.packets() == {"a1.pcap": sent, "b1.pcap": sent}
    assert (bench.account.received, bench.account.delivered) == (700, 700)
    assert [bench.books(name).delivered for name in "ab"] == [700, 700]
    assert sorted(segment.handler for segment in bench.items()) == ["a", "b"]


async def test_stalled_disk_costs_the_other_handlers_nothing(
    tmp_path: Path, stalled: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment its packets are dropped and booked, and the segment says how many are missing."""
    monkeypatch.setattr("appliance.capture.capturer.BLOCK_MAX", 128 << 10)
    monkeypatch.setattr("appliance.capture.capturer.PATIENCE_S", 0.01)
    bench = two(tmp_path)
    async with bench.running():
        for _ in range(60):
            await bench.send(*[bytes(1000)] * 20)
        stalled.set()
        await bench.send(b"last")
    assert bench.books("a").delivered == 1201
    assert bench.books("a").dropped == {}
    lost = bench.books("b").dropped["disk"]
    assert 0 < lost < 1200
    assert bench.books("b").delivered == 1201 - lost
    assert {segment.handler: segment.drops for segment in bench.items()} == {"a": 0, "b": lost}
    assert bench.account.dropped == {}
    assert (bench.figures("b").handler_drops, bench.figures("a").handler_drops) == (lost, 0)


async def test_alone_it_is_waited_for(
    tmp_path: Path, stalled: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps what comes meanwhile: its buffer is there for that."""
    monkeypatch.setattr("appliance.capture.capturer.BLOCK_MAX", 128 << 10)
    bench = Bench(tmp_path, "b.pcap", name="b", buffer=4 << 20)
    sent = [b"%04d" % n + bytes(996) for n in range(800)]
    async with bench.running():
        bench.throw(sent)
        await wait_until(lambda: bench.account.received)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert bench.account.delivered < 800
        stalled.set()
        await wait_until(lambda: bench.account.delivered == 800)
    assert bench.packets() == {"b.pcap": sent}


async def test_handlers_come_and_go_while_packets_flow(tmp_path: Path) -> None:
    """Each has exactly the packets of its time; its file is finished when `remove_handler` returns."""
    bench = Bench(tmp_path, "{name}-{seq}.pcap")
    async with bench.running():
        await bench.send(b"1")
        await bench.capture.add_handler(bench.handler("{name}-{seq}.pcap", name="more"))
        await bench.send(b"2")
        assert [handler.name for handler in bench.capture.statistics().handlers] == ["raw", "more"]
        assert await bench.capture.remove_handler("raw") == 1
        assert bench.packets_of("raw-1.pcap") == [b"1", b"2"]
        await bench.send(b"3")
        assert await bench.capture.remove_handler("nobody") == 0
        assert bench.capture.statistics().segments == 1
    assert bench.packets() == {"raw-1.pcap": [b"1", b"2"], "more-1.pcap": [b"2", b"3"]}


async def test_second_handler_of_a_name_is_refused(tmp_path: Path) -> None:
    """In one capture; the first one is not touched."""
    bench = Bench(tmp_path)
    async with bench.running():
        with pytest.raises(ValueError, match="capture 'c' has a handler 'raw' already"):
            await bench.capture.add_handler(bench.handler("x.pcap"))
        await bench.send(b"a")
    assert bench.packets() == {"22-1.pcap": [b"a"]}


async def test_packets_without_a_handler_are_unwanted(tmp_path: Path) -> None:
    """They are neither kept nor called lost."""
    bench = Bench(tmp_path)
    async with bench.running():
        await bench.capture.remove_handler("raw")
        bench.throw([b"a"])
        await wait_until(lambda: bench.account.dropped.get("unwanted") == 1)
    assert bench.account.lost == 0


async def test_changed_tables_are_taken_over_without_a_gap(tmp_path: Path) -> None:
    """Handlers of two captures on one socket: one changes, one goes, one comes, one stays as it is."""
    one = [handler_table(tmp_path, "{name}{seq}", name=name) for name in ("stays", "changes", "goes")]
    bench = Bench(tmp_path, handlers=one)
    other = bench.config.__class__(
        name="d",
        conn_type="udp",
        address=bench.config.address,
        handler=(handler_table(tmp_path, "d{seq}", name="comes"),),
    )
    changed = handler_table(tmp_path, "new{seq}", name="changes")
    async with bench.running():
        await bench.send(b"1")
        table = bench.config.__class__(
            **{**{f: getattr(bench.config, f) for f in bench.config.__struct_fields__}, "handler": (one[0], changed)}
        )
        assert bench.capture.apply(CaptureGroup((table, other)))
        await bench.send(b"2")
    assert bench.packets() == {
        "stays1": [b"1", b"2"], "changes1": [b"1"], "goes1": [b"1"], "new1": [b"2"], "d1": [b"2"],
    }  # fmt: skip
    assert {segment.source for segment in bench.items() if segment.handler == "comes"} == {"capture.d"}


# ── statistics ──


async def test_figures_are_right_from_the_first_moment(tmp_path: Path, mock_clock: Clock) -> None:
    """Numbers, not texts; no division by a second that has not passed; a rotation changes nothing."""
    bench = Bench(tmp_path, "{seq}.pcap")
    assert bench.capture.statistics().packets_per_s.last_1s == 0
    async with bench.running():
        figures = bench.figures()
        assert (figures.packets, figures.bytes, figures.packets_per_s.last_1s, figures.age_s) == (0, 0, 0.0, 0.0)
        await bench.send(*[bytes(100)] * 50)
        await later(mock_clock, 0.5)
        assert bench.figures().packets_per_s.last_1s == 100.0
        await later(mock_clock, 0.5)
        await bench.capture.rotate("raw")
        for _ in range(9):
            await later(mock_clock, 1)
        await trio.testing.wait_all_tasks_blocked()
        figures, whole = bench.figures(), bench.capture.statistics()
        assert (figures.packets, figures.bytes) == (whole.packets, whole.bytes) == (50, 5000)
        assert (figures.packets_per_s.last_1s, figures.packets_per_s.last_10s) == (0.0, 5.0)
        assert figures.bytes_per_s.last_10s == whole.bytes_per_s.last_10s == 500.0
        assert figures.age_s == 10.0
        assert figures.last_packet_ns == whole.last_packet_ns > 0


async def test_kernel_drops_are_in_every_segment_that_misses_them(tmp_path: Path) -> None:
    """The sum over the segments is what the socket's statistics say."""
    bench = Bench(tmp_path, "{seq}.pcap", buffer=4096, format="pcapng")
    async with bench.running():
        for number in range(1, 4):
            bench.throw([bytes(500)] * 200)
            await wait_until(lambda n=number: bench.capture.statistics() and bench.account.received == 200 * n)  # type: ignore[misc]
            assert len(await bench.capture.rotate("raw")) == 1
    drops = bench.capture.statistics().kernel_drops
    assert drops == bench.account.dropped["kernel"] > 0
    assert [segment.drops > 0 for segment in bench.items()] == [True, True, True]
    assert sum(segment.drops for segment in bench.items()) == drops == bench.figures().kernel_drops
    for segment in bench.items():
        assert struct.pack("=HHQ", 7, 8, segment.drops) in Path(segment.path).read_bytes()[-100:]  # isb_osdrop


# ── formats ──


async def test_ip_headers_are_the_true_ones(tmp_path: Path) -> None:
    """Link type 101: sender, receiver, ports, lengths; readers find the payload."""
    bench = Bench(tmp_path, "f.pcap", linktype="ip")
    async with bench.running():
        port = bench.port
        await bench.send(b"hello", b"")
    packets = packets_in(tmp_path / "f.pcap", linktype=101, snaplen=262144)
    for packet, payload in zip(packets, (b"hello", b""), strict=True):
        ip = dpkt.ip.IP(packet.data)
        assert (ip.src, ip.dst, ip.p) == (b"\x7f\0\0\1", b"\x7f\0\0\1", 17)
        assert (ip.data.dport, ip.data.ulen, ip.data.data) == (port, 8 + len(payload), payload)
    (segment,) = bench.items()
    assert (segment.linktype, segment.disk_size) == (101, HEADER + 2 * (RECORD + 28) + 5)


async def test_pcapng_has_names_and_statistics(tmp_path: Path) -> None:
    """dpkt reads it: the interface, the comment, the packets."""
    bench = Bench(tmp_path, "f.pcapng", format="pcapng")
    async with bench.running():
        await bench.send(b"one", b"two")
    with (tmp_path / "f.pcapng").open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert reader.datalink() == 147
        assert [data for _, data in reader] == [b"one", b"two"]
        assert any(option.data == b"udp 127.0.0.1:0" for option in reader.idb.opts)
    assert b"capture c, handler raw" in (tmp_path / "f.pcapng").read_bytes()[:200]


async def test_finished_files_are_compressed_and_then_announced(tmp_path: Path) -> None:
    """So that nobody is given a name that is about to go."""
    bench = Bench(tmp_path, "{seq}.pcap", compress="zstd")
    async with bench.running():
        await bench.send(b"a" * 1000)
        (segment,) = await bench.capture.rotate("raw")
        assert segment.path == str(tmp_path / "1.pcap.zst")
        assert segment.disk_size == (tmp_path / "1.pcap.zst").stat().st_size
        await bench.send(b"b")
    assert bench.names() == ["1.pcap.zst", "2.pcap.zst"]
    assert [segment.path for segment in bench.items()] == [str(tmp_path / name) for name in bench.names()]
    plain = zstandard.ZstdDecompressor().decompress((tmp_path / "1.pcap.zst").read_bytes())
    assert plain.endswith(b"a" * 1000)
    assert bench.figures().tidied.compressed_files == 2


async def test_oldest_files_go(tmp_path: Path, mock_clock: Clock, told: list[EventDict]) -> None:
    """Exactly enough of them; the other handler's files are not its business."""
    keep = Keep(size=Size(3 * (HEADER + RECORD + 100)))
    bench = two(tmp_path, keep=keep)
    async with bench.running():
        for _ in range(6):
            await bench.send(bytes(100))
            await bench.capture.rotate("a")
            await bench.capture.rotate("b")
            await later(mock_clock, 1)
        await later(mock_clock, tidy.LOOK_EVERY_S)
        await wait_until(lambda: bench.figures("b").tidied.deleted_files == 3)
    assert bench.names() == [*(f"a{n}.pcap" for n in range(1, 7)), "b4.pcap", "b5.pcap", "b6.pcap"]
    assert told == []
