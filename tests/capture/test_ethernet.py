"""Frames of real interfaces, in a namespace of the test's own: whole, with their tags, filtered, and after a pause."""

from __future__ import annotations

import gzip
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dpkt
import pytest
import trio
import trio._core._thread_cache as thread_cache
import trio.testing
from structlog.typing import EventDict

from appliance.capture import ethernet
from appliance.errors import ApplianceError, PrivilegeError
from tests.native.netns import ip, namespace, veth

from .harness import Bench, packets_in, wait_until

MIX = Path("/work/shared/golden/mix1.pcap")
FAR = bytes.fromhex("020000000002")
NEAR = bytes.fromhex("020000000001")


def use_new_threads() -> None:
    """Threads that wait for work are where they were started: in another namespace."""
    thread_cache.THREAD_CACHE._idle_workers.clear()


@pytest.fixture
def wire() -> Iterator[None]:
    """Two connected interfaces, ``near`` and ``far``."""
    with veth():
        use_new_threads()
        yield
    use_new_threads()


def bench_on(folder: Path, interface: str = "near", *, handler: dict[str, Any] | None = None, **more: Any) -> Bench:
    table = {"conn_type": "ethernet", "address": (interface, 3), **more}
    return Bench(folder, "{seq}.pcap", buffer=8 << 20, socket=table, **(handler or {}))


def frames(folder: Path, snaplen: int = 262144) -> list[bytes]:
    return [packet.data for packet in packets_in(folder / "1.pcap", linktype=1, snaplen=snaplen)]


def put(*sent: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("far", 0))
        for frame in sent:
            sender.send(frame)


def udp(port: int, payload: bytes = b"x" * 40) -> bytes:
    datagram = dpkt.udp.UDP(sport=1, dport=port, data=payload, ulen=8 + len(payload))
    packet = dpkt.ip.IP(src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=17, data=datagram, len=28 + len(payload))
    return bytes(dpkt.ethernet.Ethernet(src=FAR, dst=NEAR, data=packet))


def tagged(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + struct.pack(">HH", 0x8100, vlan) + frame[12:]


READERS = {"pcap": dpkt.pcap.Reader, "pcapng": dpkt.pcapng.Reader}


async def recorded(bench: Bench, count: int) -> None:
    await wait_until(lambda: bench.account.delivered >= count)


@pytest.mark.usefixtures("wire")
async def test_frames_are_whole_and_of_link_type_1(tmp_path: Path) -> None:
    """As they were sent, jumbo ones and those with a tag, too; what is for others is seen as well."""
    bench = bench_on(tmp_path)
    other = bytes(6) + udp(2)[6:]
    sent = [udp(1), udp(2, bytes(8000)), tagged(udp(3), 42), other]
    async with bench.running():
        put(*sent)
        await recorded(bench, 4)
    assert frames(tmp_path) == sent
    (segment,) = bench.items()
    assert (segment.linktype, segment.packets) == (1, 4)


@pytest.mark.usefixtures("wire")
@pytest.mark.parametrize("capture_format", ["pcap", "pcapng"])
async def test_frames_are_read_by_others(tmp_path: Path, capture_format: str) -> None:
    """By dpkt and tshark: link type, lengths, and times that are the sender's within a millisecond, never backwards."""
    if shutil.which("tshark") is None:
        pytest.skip("no tshark here")
    bench = bench_on(tmp_path, handler={"format": capture_format})
    sent = [tagged(udp(n), n) if n % 3 else udp(n, bytes(n * 40)) for n in range(1, 40)]
    async with bench.running():
        began_ns = time.time_ns()
        put(*sent)
        ended_ns = time.time_ns()
        await recorded(bench, len(sent))
    path = tmp_path / "1.pcap"
    with path.open("rb") as file:
        reader = READERS[capture_format](file)
        assert reader.datalink() == 1
        assert [packet for _, packet in reader] == sent
    fields = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type", "udp.dstport")
    shown = await trio.run_process(
        ["tshark", "-r", str(path), "-T", "fields", *(f"-e{field}" for field in fields)],
        capture_stdout=True,
        capture_stderr=True,
    )
    lines = [line.split("\t") for line in shown.stdout.decode().splitlines()]
    times = [int(line[0].replace(".", "").ljust(19, "0")[:19]) for line in lines]
    assert times == sorted(times)
    assert began_ns - 10**6 <= times[0] <= times[-1] <= ended_ns + 10**6
    assert [line[1:] for line in lines] == [
        [str(len(frame)), str(len(frame)), "1", str(port)] for port, frame in enumerate(sent, start=1)
    ]


@pytest.mark.usefixtures("wire")
async def test_filter_leaves_out_what_it_does_not_match(tmp_path: Path) -> None:
    """In the kernel: nothing of it is counted."""
    bench = bench_on(tmp_path, filter="udp port 53")
    async with bench.running():
        put(udp(52), udp(53), udp(54), udp(53))
        await recorded(bench, 2)
        await trio.testing.wait_all_tasks_blocked(0.02)
    assert frames(tmp_path) == [udp(53)] * 2
    assert bench.account.received == 2


@pytest.mark.usefixtures("wire")
async def test_long_frames_are_cut_and_counted(tmp_path: Path) -> None:
    """`snaplen`: the record tells the true length."""
    bench = bench_on(tmp_path, snaplen=100)
    frame = udp(1, bytes(500))
    async with bench.running():
        put(frame)
        await recorded(bench, 1)
    (packet,) = packets_in(tmp_path / "1.pcap", linktype=1, snaplen=100)
    assert (packet.data, packet.wire_len) == (frame[:100], len(frame))
    assert bench.capture.statistics().truncated == bench.figures().truncated == 1


@pytest.mark.usefixtures("wire")
async def test_interface_that_goes_down_goes_on_later(tmp_path: Path, told: list[EventDict]) -> None:
    """The socket stays; what comes after it is up again is in the same file."""
    bench = bench_on(tmp_path)
    async with bench.running():
        put(udp(1))
        await recorded(bench, 1)
        ip("link", "set", "dev", "near", "down")
        await wait_until(lambda: told)
        ip("link", "set", "dev", "near", "up")
        while bench.account.delivered < 2:  # the far end drops what it is given until it has noticed, without a word
            put(udp(2))
            await trio.sleep(0.01)
    assert dict.fromkeys(frames(tmp_path)) == {udp(1): None, udp(2): None}
    assert [entry["event"] for entry in told] == ["the interface is down; it goes on when it is up again"]


@pytest.mark.usefixtures("wire")
async def test_interface_that_goes_for_good_is_an_error(tmp_path: Path) -> None:
    """The supervisor tries again, and the file is finished."""
    bench = bench_on(tmp_path)
    with pytest.RaisesGroup(pytest.RaisesExc(ApplianceError, match="cannot capture from near"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
            put(udp(1))
            await recorded(bench, 1)
            ip("link", "del", "dev", "near")
    bench.check()
    assert bench.capture.statistics().handlers[0].queued == 0


async def test_capability_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person can mend that; the supervisor does not try again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(ethernet, "EthernetReceiver", refuse)
    with pytest.raises(PrivilegeError, match="cannot capture from lo: CAP_NET_RAW is missing"):
        await bench_on(tmp_path, "lo").capture.run()


async def test_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Or is none that has frames."""
    with namespace(), pytest.raises(ApplianceError, match="cannot capture from nosuch0: there is no such interface"):
        await bench_on(tmp_path, "nosuch0").capture.run()


@pytest.mark.usefixtures("wire")
async def test_filter_that_is_none_is_told(tmp_path: Path) -> None:
    """In libpcap's words."""
    with pytest.raises(ApplianceError, match="filter 'port port'"):
        await bench_on(tmp_path, filter="port port").capture.run()


def read_frames(path: Path) -> list[bytes]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        return [data for _, data in dpkt.pcap.Reader(file)]


@pytest.mark.slow
@pytest.mark.usefixtures("wire")
async def test_replayed_capture_is_recorded_packet_for_packet(tmp_path: Path) -> None:
    """By tcpreplay if it is here; the frames in their order, and not one is missing."""
    if not MIX.exists():
        pytest.skip("the golden captures are not here")
    sent = [frame for frame in read_frames(MIX) if len(frame) <= 9014]
    bench = bench_on(tmp_path)
    async with bench.running():
        if shutil.which("tcpreplay") and len(sent) == len(read_frames(MIX)):
            command = ["tcpreplay", "-q", "--mbps=200", "-i", "far", str(MIX)]
            await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        else:
            await trio.to_thread.run_sync(lambda: put(*sent))
        await recorded(bench, len(sent))
    assert bench.capture.statistics().kernel_drops == 0
    assert frames(tmp_path) == sent
    if shutil.which("capinfos"):
        shown = subprocess.run(["capinfos", "-cEM", tmp_path / "1.pcap"], capture_output=True, text=True, check=True)
        assert f"Number of packets:   {len(sent)}" in shown.stdout
        assert "encapsulation:  ether" in shown.stdout
