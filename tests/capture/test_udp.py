"""The UDP capturer on real sockets and files: whole packets, exact rotation, exact books. Time is moved by the test."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.config import CaptureGroup
from appliance.errors import ApplianceError
from appliance.native.pcap import PcapBlock

from .harness import HEADER, HOUR_S, RECORD, TO_THE_HOUR_S, Bench, S, handler_table, later, packets_in, wait_until

Clock = trio.testing.MockClock


def sized(count: int, size: int, first: int = 0) -> list[bytes]:
    return [str(n).encode().ljust(size, b".") for n in range(first, first + count)]


async def test_packets_are_recorded_as_they_came(tmp_path: Path) -> None:
    """Payload, true length, the kernel's time, in order; the empty and the largest datagram, too."""
    bench = Bench(tmp_path)
    before_ns = time.time_ns()
    sent = [b"", b"x", bytes(range(256)), b"y" * 65507, b"last"]
    async with bench.running():
        await bench.send(*sent)
    (file,) = tmp_path.glob("*.pcap")
    packets = packets_in(file)
    assert [packet.data for packet in packets] == sent
    assert [packet.wire_len for packet in packets] == list(map(len, sent))
    times = [packet.ts_ns for packet in packets]
    assert before_ns <= times[0]
    assert times == sorted(times)
    assert times[-1] <= time.time_ns()
    figures = bench.capture.statistics()
    assert (figures.packets, figures.bytes, figures.truncated, figures.untimed) == (5, sum(map(len, sent)), 0, 0)
    assert figures.last_packet_ns == times[-1]


async def test_finished_segment_is_announced(tmp_path: Path) -> None:
    """With its place, size, and times."""
    bench = Bench(tmp_path)
    async with bench.running():
        await bench.send(b"one", b"three")
    (segment,) = bench.items()
    packets = packets_in(Path(segment.path))
    assert segment.path == str(tmp_path / "22-1.pcap")
    assert (segment.handler, segment.source, segment.linktype) == ("raw", "capture.c", 147)
    assert (segment.packets, segment.disk_size) == (2, HEADER + 2 * RECORD + 8)
    assert (segment.first_ns, segment.last_ns) == (packets[0].ts_ns, packets[1].ts_ns)
    assert (bench.segments.received, bench.segments.delivered) == (1, 1)


async def test_nothing_received_leaves_no_file(tmp_path: Path) -> None:
    """A file is opened with its first packet."""
    bench = Bench(tmp_path)
    async with bench.running():
        pass
    assert (bench.names(), bench.items()) == ([], [])


# ── rotation ──


async def test_idle_segment_ends_at_the_boundary(tmp_path: Path, mock_clock: Clock) -> None:
    """Without a packet; the next one has the new hour's name."""
    bench = Bench(tmp_path)
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.names() == ["22-1.pcap.part"])
        await later(mock_clock, TO_THE_HOUR_S - 1.5)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.names() == ["22-1.pcap.part"]
        await later(mock_clock, 0.5)
        await wait_until(bench.items)
        assert bench.names() == ["22-1.pcap"]
        await later(mock_clock, 5 * HOUR_S)
        await bench.send(b"b")
    assert bench.packets() == {"22-1.pcap": [b"a"], "04-2.pcap": [b"b"]}


async def test_packets_reach_the_disk_within_a_second(tmp_path: Path, mock_clock: Clock) -> None:
    """Also when only a few come."""
    bench = Bench(tmp_path)
    async with bench.running():
        await bench.send(b"a")
        await trio.testing.wait_all_tasks_blocked()
        assert (bench.names(), bench.books().delivered) == ([], 0)
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered == 1)


async def test_no_deadline_without_rotation(tmp_path: Path, mock_clock: Clock) -> None:
    """`rotate_log = false`: the file lasts until the end."""
    bench = Bench(tmp_path, rotate_log=False)
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 1000 * HOUR_S)
        await bench.send(b"b")
    assert bench.packets() == {"22-1.pcap": [b"a", b"b"]}


@pytest.mark.parametrize("step_h", [-5, 5])
async def test_stepped_wall_clock_does_not_rotate(tmp_path: Path, mock_clock: Clock, step_h: int) -> None:
    """The segment lives as long as was planned."""
    bench = Bench(tmp_path)
    async with bench.running():
        await bench.send(b"a")
        bench.wall_ns += step_h * HOUR_S * S
        await later(mock_clock, TO_THE_HOUR_S - 10)
        await bench.send(b"b")
        await later(mock_clock, 11)
        await wait_until(lambda: bench.names() == ["22-1.pcap"])
    assert bench.packets() == {"22-1.pcap": [b"a", b"b"]}


async def test_packet_limit_is_exact(tmp_path: Path) -> None:
    """However many come at once."""
    bench = Bench(tmp_path, "{seq}.pcap", rotate_packets=7)
    sent = sized(25, 30)
    async with bench.running():
        await bench.send(*sent)
    assert bench.packets() == {
        "1.pcap": sent[:7], "2.pcap": sent[7:14], "3.pcap": sent[14:21], "4.pcap": sent[21:],
    }  # fmt: skip
    assert [segment.packets for segment in bench.items()] == [7, 7, 7, 4]


@pytest.mark.parametrize("limit", [4096, 4097, 100_000])
@pytest.mark.parametrize("size", [1, 1000, 3000])
async def test_no_segment_exceeds_the_size(tmp_path: Path, limit: int, size: int) -> None:
    """Each is as full as can be; the kernel tells how long the next datagram is."""
    bench = Bench(tmp_path, "{seq}.pcap", rotate_size=limit, buffer=4 << 20)
    sent = sized(60 if size > 1 else 600, size)
    async with bench.running():
        await bench.send(*sent)
    sizes = [segment.disk_size for segment in bench.items()]
    assert max(sizes) <= limit
    assert all(length + RECORD + size > limit for length in sizes[:-1])
    assert sizes == [Path(segment.path).stat().st_size for segment in bench.items()]
    assert [data for segment in bench.items() for data in bench.packets()[Path(segment.path).name]] == sent


async def test_datagram_larger_than_the_size_has_a_file_of_its_own(tmp_path: Path) -> None:
    """What is before and after it is elsewhere."""
    bench = Bench(tmp_path, "{seq}.pcap", rotate_size=4096)
    async with bench.running():
        await bench.send(b"a", b"x" * 5000, b"b")
    assert bench.packets() == {"1.pcap": [b"a"], "2.pcap": [b"x" * 5000], "3.pcap": [b"b"]}


async def test_large_datagram_after_a_pause_does_not_overshoot(tmp_path: Path, mock_clock: Clock) -> None:
    """Its size is asked for when it is there, not when the one before it was."""
    bench = Bench(tmp_path, "{seq}.pcap", rotate_size=4096)
    async with bench.running():
        await bench.send(b"a" * 2000)
        await trio.testing.wait_all_tasks_blocked()
        await bench.send(b"b" * 3000)
    assert [segment.disk_size for segment in bench.items()] == [HEADER + RECORD + 2000, HEADER + RECORD + 3000]


@pytest.mark.parametrize("limits", [{"rotate_packets": 150}, {"rotate_size": 12_000_000}])
async def test_limits_are_exact_however_the_packets_come(tmp_path: Path, limits: dict[str, Any]) -> None:
    """Far from the limit straight from the socket, close to it by the batch."""
    bench = Bench(tmp_path, "{seq}.pcap", buffer=8 << 20, **limits)
    sent = sized(400, 40_000)
    async with bench.running():
        for begin in range(0, len(sent), 50):
            await bench.send(*sent[begin : begin + 50])
    counts = [segment.packets for segment in bench.items()]
    whole: int = limits.get("rotate_packets", (12_000_000 - HEADER) // (RECORD + 40_000))
    assert counts == [whole] * (len(sent) // whole) + [len(sent) % whole]
    assert [data for segment in bench.items() for data in bench.packets()[Path(segment.path).name]] == sent


async def test_second_handler_joins_and_leaves(tmp_path: Path) -> None:
    """The first one misses nothing when it is no longer alone, and when it is again; each packet has both its ends if
    the second one asks for them.
    """
    bench = Bench(tmp_path, "first.pcap")
    async with bench.running():
        await bench.send(*sized(100, 20))
        await bench.capture.add_handler(handler_table(tmp_path, "second.pcap", name="second", linktype="ip"))
        await bench.send(*sized(100, 20, 100))
        assert await bench.capture.remove_handler("second") == 1
        await bench.send(*sized(100, 20, 200))
    first = [packet.data for packet in packets_in(tmp_path / "first.pcap")]
    second = packets_in(tmp_path / "second.pcap", linktype=101, snaplen=262144)
    assert first == sized(300, 20)
    assert [packet.data[28:] for packet in second] == sized(100, 20, 100)
    assert {packet.data[12:20] for packet in second} == {bytes([127, 0, 0, 1] * 2)}


async def test_only_handler_without_room_leaves_packets_with_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its disk hangs both blocks fill, then the socket is left alone; nothing is lost if that was long enough."""
    monkeypatch.setattr("appliance.capture.capturer.BLOCK_MAX", 1)  # so 128 KiB
    is_stuck = threading.Event()
    may_go_on = threading.Event()
    flush = PcapBlock.flush

    def hang(block: PcapBlock, fd: int) -> int:
        is_stuck.set()
        may_go_on.wait(20)
        return flush(block, fd)

    monkeypatch.setattr(PcapBlock, "flush", hang)
    bench = Bench(tmp_path, buffer=4 << 20)
    sent = sized(300, 1000)
    async with bench.running():
        bench.throw(sent)
        await wait_until(is_stuck.is_set)
        await wait_until(lambda: bench.account.received > 100)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.account.received < 300
        may_go_on.set()
        await wait_until(lambda: bench.account.received == 300)
    assert bench.packets() == {"22-1.pcap": sent}
    assert bench.account.lost == 0


# ── change and stop ──


def with_handler(bench: Bench, **handler: Any) -> CaptureGroup:
    return CaptureGroup((msgspec.structs.replace(bench.config, handler=(bench.handler(**handler),)),))


async def test_changed_handler_keeps_the_socket(tmp_path: Path) -> None:
    """The segment that is open ends under its old name, the next has the new one; no packet is lost between them."""
    bench = Bench(tmp_path, "{name}-{seq}.pcap")
    async with bench.running():
        address = bench.capture.statistics().address
        await bench.send(b"a")
        bench.throw([b"b"])
        assert bench.capture.apply(with_handler(bench, pattern="new-{name}-{seq}.pcap", name="second"))
        await wait_until(bench.items)
        await bench.send(b"c")
        assert bench.capture.statistics().address == address
    assert [segment.handler for segment in bench.items()] == ["raw", "second"]
    assert bench.packets() in (
        {"raw-1.pcap": [b"a", b"b"], "new-second-1.pcap": [b"c"]},
        {"raw-1.pcap": [b"a"], "new-second-1.pcap": [b"b", b"c"]},
    )


async def test_handler_changed_while_idle_is_used_for_the_next_packet(tmp_path: Path) -> None:
    """There is no segment to end."""
    bench = Bench(tmp_path)
    async with bench.running():
        assert bench.capture.apply(with_handler(bench, pattern="x.pcap"))
        await trio.testing.wait_all_tasks_blocked()
        await bench.send(b"a")
    assert bench.packets() == {"x.pcap": [b"a"]}


async def test_changed_address_is_not_taken_over(tmp_path: Path) -> None:
    """That needs another socket, so the service is started again by whoever asked."""
    bench = Bench(tmp_path)
    other = CaptureGroup((msgspec.structs.replace(bench.config, address=("127.0.0.1", 1)),))
    assert not bench.capture.apply(other)
    assert bench.capture.group.first is bench.config


async def test_stop_takes_what_has_come(tmp_path: Path) -> None:
    """Everything that waits in the socket is in the file."""
    bench = Bench(tmp_path)
    sent = sized(500, 100)
    async with bench.running():
        bench.throw(sent)
        bench.capture.stop()
    assert bench.packets() == {"22-1.pcap": sent}


@pytest.mark.parametrize("handlers", [1, 2])
async def test_stop_ends_although_packets_go_on_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handlers: int
) -> None:
    """What came after the stop is nobody's; here each round of one packet is answered with two more."""
    tables = [handler_table(tmp_path, "{name}.pcap", name=f"h{n}") for n in range(handlers)]
    bench = Bench(tmp_path, handlers=tables)
    draw, take = bench.capture.draw, bench.capture.take

    async def draw_and_send(view: Any) -> bool:
        if handlers == 1:
            bench.throw([b"more", b"more"])
        return await draw(view)

    async def take_and_send(batch: Any) -> None:
        bench.throw([b"more", b"more"])
        await take(batch)

    monkeypatch.setattr(bench.capture, "draw", draw_and_send)
    monkeypatch.setattr(bench.capture, "take", take_and_send)
    async with bench.running():
        bench.throw([b"first"])
        await wait_until(lambda: bench.account.received > 3)
    assert bench.account.lost == 0


async def test_stop_before_run_ends_at_once(tmp_path: Path) -> None:
    """A service may be told to stop before it runs."""
    bench = Bench(tmp_path)
    bench.capture.stop()
    await bench.capture.run()
    assert bench.names() == []


async def test_cancellation_books_what_is_in_no_file(tmp_path: Path, mock_clock: Clock) -> None:
    """The file has what was flushed, and is announced; the rest is dropped for shutdown."""
    bench = Bench(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        await bench.send(b"a", b"b")
        await later(mock_clock, 1)
        await wait_until(lambda: bench.books().delivered == 2)
        await bench.send(b"c")
        nursery.cancel_scope.cancel()
    bench.check()
    assert bench.packets() == {"22-1.pcap": [b"a", b"b"]}
    assert bench.books().dropped == {"shutdown": 1}
    assert [segment.packets for segment in bench.items()] == [2]


async def test_run_again_after_a_failure(tmp_path: Path, mock_clock: Clock) -> None:
    """As the supervisor does: the second run begins a segment of its own, and the books go on."""
    bench = Bench(tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        await bench.send(b"a")
        nursery.cancel_scope.cancel()
    async with bench.running():
        await bench.send(b"b")
    assert bench.packets() == {"22-2.pcap": [b"b"]}
    assert bench.books().dropped == {"shutdown": 1}


# ── the kernel ──


async def test_kernel_drops_are_booked_exactly(tmp_path: Path) -> None:
    """With a tiny buffer every packet that was sent is either recorded or booked as dropped by the kernel."""
    bench = Bench(tmp_path, buffer=4096)
    sent = sized(1000, 500)
    async with bench.running():
        bench.throw(sent)
        await wait_until(lambda: bench.account.received)
        bench.throw(sent)
    dropped = bench.account.dropped["kernel"]
    assert 0 < dropped < 2000
    assert bench.account.received == 2000
    assert bench.account.delivered == len(bench.packets()["22-1.pcap"]) == 2000 - dropped
    assert bench.capture.statistics().kernel_drops == dropped


async def test_small_buffer_is_told(tmp_path: Path, told: list[EventDict], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the privilege the kernel grants what net.core.rmem_max says, and the log says how to mend it."""
    monkeypatch.setattr("appliance.capture.sockets.SO_RCVBUFFORCE", 8)  # SO_RCVBUF
    bench = Bench(tmp_path, buffer=1 << 30)
    async with bench.running():
        assert bench.capture.statistics().receive_buffer < 1 << 30
    assert [(entry["event"][:38], entry["hint"]) for entry in told] == [
        ("the kernel granted a smaller receive b", "sysctl -w net.core.rmem_max=1073741824")
    ]


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]:"), ("127.0.0.1", "127.0.0.1:"), ("", "0.0.0.0:")])
async def test_address_as_bound_is_shown(tmp_path: Path, host: str, shown: str) -> None:
    """Also that of IPv6; packets arrive there."""
    try:
        bench = Bench(tmp_path, host=host)
        async with bench.running():
            assert bench.capture.statistics().address.startswith(shown)
            await bench.send(b"a")
    except* ApplianceError:
        if host == "::1":
            pytest.skip("no IPv6 here")
        raise
    assert bench.packets() == {"22-1.pcap": [b"a"]}
    assert bench.capture.statistics().address == ""


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("192.0.2.1", "cannot bind 192.0.2.1:0/udp: Cannot assign requested address"),
        ("nowhere", "cannot open nowhere:0/udp"),
    ],
)
async def test_address_that_cannot_be_bound_is_told(tmp_path: Path, host: str, told: str) -> None:
    """An error for people, before anything is recorded."""
    with pytest.raises(ApplianceError, match=told):
        await Bench(tmp_path, host=host).capture.run()


async def test_address_in_use_is_told(tmp_path: Path) -> None:
    """With the reason, not a traceback."""
    bench = Bench(tmp_path)
    async with bench.running():
        other = Bench(tmp_path, port=bench.port)
        with pytest.raises(ApplianceError, match=r"Address already in use \(another program uses it\)"):
            await other.capture.run()
