"""The ring on real interfaces in a namespace of our own: what was sent is in the files, or counted as dropped."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.native import (
    NEW_GROUP,
    OutputKind,
    PcapBlock,
    Ring,
    RingOutput,
    RingStatus,
    compile_filter,
)

from .netns import ip, namespace, veth
from .readers import epoch_ns, run, tshark
from .recording import Recording, drain, recorded

NEAR, FAR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
TO_NEAR, TO_FAR = NEAR + FAR, FAR + NEAR
ETH_P_TEST = 0x88B5  # for local experiments, IEEE 802
PACKET_VNET_HDR = 15
IMIX = [64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64]
FILES = [OutputKind.CACHED, OutputKind.DIRECT]


@pytest.fixture
def _veth() -> Iterator[None]:
    with veth():
        yield


SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20


def sender(interface: str, *, has_queue: bool = True) -> socket.socket:
    """A queue drops what comes when its interface is up already and the kernel's other half has not noticed yet."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if not has_queue:
        found.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    found.bind((interface, 0))
    return found


def frame(payload: bytes, *, to: bytes = TO_NEAR, kind: int = ETH_P_TEST) -> bytes:
    return to + struct.pack(">H", kind) + payload


def tagged(payload: bytes, tci: int, tpid: int = 0x8100) -> bytes:
    return TO_NEAR + struct.pack(">HHH", tpid, tci, ETH_P_TEST) + payload


def double_tagged(payload: bytes) -> bytes:
    return TO_NEAR + struct.pack(">HHHHH", 0x88A8, 0xEFFF, 0x8100, 7, ETH_P_TEST) + payload


def filler(length: int) -> bytes:
    return bytes(i * 7 & 255 for i in range(length))


def sized(size: int) -> Callable[[int], bytes]:
    body = filler(size - 22)
    return lambda number: frame(number.to_bytes(8, "big") + body)


def imix(number: int) -> bytes:
    return frame(number.to_bytes(8, "big") + filler(IMIX[number % 12] - 22))


def vlan(number: int) -> bytes:
    make = (lambda payload: tagged(payload, number & 0xFFFF), lambda payload: tagged(payload, 5, 0x88A8), double_tagged)
    return make[number % 3](number.to_bytes(8, "big") + b"v" * 80)


SHAPES: dict[str, Callable[[int], bytes]] = {
    "64": sized(64), "imix": imix, "1400": sized(1400), "jumbo": sized(9000), "vlan": vlan
}  # fmt: skip


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_sent_is_recorded_or_counted(tmp_path: Path, shape: str, kind: OutputKind) -> None:
    """Every byte in order, over many segments; a ring too small for the load drops, and says how many."""
    ring = Ring("near", ring_bytes=8 << 20, retire_ms=5)
    sent = [SHAPES[shape](number) for number in range(4000)]
    with Recording(ring, tmp_path, kind=kind, max_bytes=1 << 20) as recording, sender("far") as far:
        for data in sent:
            far.send(data)
    counts, found = ring.counts(), recording.records()
    assert counts.packets + counts.kernel_drops == len(sent)
    assert (counts.stored, counts.damaged, counts.truncated, counts.waiting) == (counts.packets, 0, 0, 0)
    assert counts.tags == (counts.packets if shape == "vlan" else 0)
    if counts.kernel_drops:  # a busy machine
        pool = iter(sent)
        assert all(any(record.data == data for data in pool) for record in found)
    else:
        assert [record.data for record in found] == sent
    assert [record.wire_len for record in found] == [len(record.data) for record in found]
    assert sum(segment.packets for segment in recording.segments) == len(found) == counts.stored
    assert sum(segment.wire_bytes for segment in recording.segments) == counts.bytes
    times = [record.ts_ns for record in found]
    assert times == sorted(times)
    assert [(s.error, s.lost_packets, s.bytes <= 1 << 20) for s in recording.segments] == [(0, 0, True)] * len(
        recording.segments
    )
    assert recording.seen == [RingStatus.FULL] * (len(recording.segments) - 1)


@pytest.mark.usefixtures("_veth")
def test_trains_that_the_kernel_did_not_cut(tmp_path: Path) -> None:
    """A frame of generic segmentation offload, many times longer than the interface allows, is one record."""
    ring = Ring("near")
    ring.listen()
    body = filler(60_000)
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + 20 + len(body), 1, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    )
    data = frame(header + struct.pack(">HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 100, 0, 0) + body, kind=0x0800)
    offload = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)  # VIRTIO_NET_HDR_F_NEEDS_CSUM, GSO_TCPV4
    with sender("far") as far:
        far.setsockopt(socket.SOL_PACKET if hasattr(socket, "SOL_PACKET") else 263, PACKET_VNET_HDR, 1)
        for _ in range(30):
            far.send(offload + data)
    found = recorded(ring, tmp_path)
    if ring.counts().packets > 30:
        pytest.skip("this kernel cuts trains before they reach a veth")
    assert [(record.data, record.wire_len) for record in found] == [(data, len(data))] * 30


@pytest.mark.usefixtures("_veth")
def test_both_directions_with_the_kernels_times(tmp_path: Path) -> None:
    """What goes out and what comes in, once each, in order and in time."""
    ring = Ring("near")
    begin_ns = time.time_ns()
    sent = []
    with sender("near") as near, sender("far") as far:
        far.send(frame(b"nobody listens yet"))
        ring.listen()
        for i in range(20):
            sent.append(frame(bytes([i]) * 60, to=(TO_NEAR, TO_FAR)[i % 2]))
            (far, near)[i % 2].send(sent[-1])
    found = recorded(ring, tmp_path)
    assert [record.data for record in found] == sent
    assert begin_ns <= found[0].ts_ns <= found[-1].ts_ns <= time.time_ns()


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("snaplen", [1, 11, 12, 13, 14, 18, 64, 1000])
def test_what_is_cut_keeps_its_true_length(tmp_path: Path, snaplen: int) -> None:
    """Cut by the snap length, with and without a tag that is put back."""
    ring = Ring("near", snaplen=snaplen)
    ring.listen()
    sent = [frame(b"y" * 500), tagged(b"z" * 500, 0x1234), frame(b"")]
    with sender("far") as far:
        for data in sent:
            far.send(data)
    # a tag has no place in a frame whose addresses are not whole
    first = [sent[0], sent[1] if snaplen >= 12 else sent[1][:12] + sent[1][16:], sent[2]]
    found = recorded(ring, tmp_path)
    assert [(record.data, record.wire_len) for record in found] == [(data[:snaplen], len(data)) for data in first]
    assert ring.counts().truncated == sum(len(data) > snaplen for data in first)


@pytest.mark.usefixtures("_veth")
def test_a_filter_and_its_change(tmp_path: Path) -> None:
    """Only what passes comes, what waits in the ring stays, and a bad program changes nothing."""
    ring = Ring("near", program=compile_filter("vlan 5", snaplen=30, interface="near"))
    ring.listen()
    wanted = tagged(b"wanted" * 100, 0xE005)
    with sender("far") as far:
        for data in (frame(b"no"), tagged(b"no", 6), wanted, frame(b"no")):
            far.send(data)
        for program in (b"1234567", b"\xff" * 8, b"\0" * 8 * 4097):
            with pytest.raises(ValueError, match="filter program"):
                ring.set_filter(program)
            with pytest.raises(ValueError, match="out of range"):
                Ring("near", program=program)
        far.send(tagged(b"also", 5))
        ring.set_filter(compile_filter("ether[14] = 7", interface="near"))
        for data in (wanted, frame(b"\x08"), frame(b"\x07")):
            far.send(data)
        ring.set_filter(None)
        far.send(frame(b"any"))
    found = recorded(ring, tmp_path)
    assert [record.data for record in found] == [wanted[:34], tagged(b"also", 5), frame(b"\x07"), frame(b"any")]
    assert found[0].wire_len == len(wanted)


@pytest.mark.usefixtures("_veth")
def test_a_filter_changes_under_load(tmp_path: Path) -> None:
    """What passes the old and the new filter is all there."""
    ring = Ring("near", ring_bytes=16 << 20, retire_ms=5)
    programs = [compile_filter(text, interface="near") for text in ("ether[14] < 8", "ether[14] > 3")]
    with Recording(ring, tmp_path, max_bytes=1 << 20) as recording, sender("far") as far:
        for number in range(4000):
            far.send(frame(bytes([number % 12]) + number.to_bytes(4, "big") + b"x" * 300))
            if number % 100 == 99:
                ring.set_filter(programs[number // 100 % 2])
    found = {int.from_bytes(record.data[15:19], "big") for record in recording.records()}
    assert ring.counts().kernel_drops == 0
    assert found >= {number for number in range(4000) if 3 < number % 12 < 8}
    assert len(found) == ring.counts().stored
    assert found < set(range(4000))


@pytest.mark.usefixtures("_veth")
def test_drops_are_counted_exactly(tmp_path: Path) -> None:
    """While nobody reads, what was sent is what the ring keeps plus what the kernel counts; and again after that."""
    ring = Ring("near", ring_bytes=2 << 20)
    ring.listen()
    stored = 0
    with sender("far") as far:
        for sent in (4000, 8000):
            for _ in range(4000):
                far.send(frame(b"x" * 1400))
            stored += len(recorded(ring, tmp_path))
            counts = ring.counts()
            assert counts.stored == stored
            assert counts.packets + counts.kernel_drops == sent
            assert counts.kernel_drops > 0
            assert counts.freezes > 0


@pytest.mark.usefixtures("_veth")
def test_without_an_output_packets_are_discarded_and_counted() -> None:
    """The ring is emptied, and says what it threw away."""
    ring = Ring("near")
    ring.listen()
    with sender("far") as far:
        for _ in range(100):
            far.send(frame(b"x" * 86))
    drain(ring, None)
    counts = ring.counts()
    assert (counts.packets, counts.discarded, counts.discarded_bytes, counts.stored) == (100, 100, 10_000, 0)


@pytest.mark.usefixtures("_veth")
def test_segments_by_time(tmp_path: Path) -> None:
    """The first packet from a moment on belongs into the next segment, and none is lost between them."""
    ring, output = Ring("near"), RingOutput()
    ring.listen()
    with sender("far") as far, (tmp_path / "a").open("xb+") as first, (tmp_path / "b").open("xb+") as second:
        for number in range(5):
            far.send(frame(bytes([number]) * 60))
        # a segment without packets takes any
        output.begin(first.fileno(), linktype=1, until_ns=1)
        while ring.run(output, run_ms=20) is not RingStatus.FULL:
            pass
        assert ring.run(output) is RingStatus.FULL
        assert ring.counts().waiting + ring.counts().stored == ring.counts().packets
        assert output.finish().packets == 1
        output.begin(second.fileno(), linktype=1, until_ns=2**63)
        drain(ring, output)
        assert output.finish().packets == 4


@pytest.mark.usefixtures("_veth")
def test_calls_are_bounded_and_can_be_woken() -> None:
    """A call ends after its blocks, after its time, or when another thread says so."""
    ring = Ring("near", ring_bytes=8 << 20)
    ring.listen()
    assert ring.run(None) is RingStatus.IDLE
    assert ring.run(None, run_ms=1) is RingStatus.IDLE
    ring.wake()
    ring.wake()
    assert ring.run(None, run_ms=60_000) is RingStatus.WOKEN
    assert ring.run(None) is RingStatus.IDLE
    with sender("far") as far:
        while ring.counts().kernel_drops == 0:
            far.send(frame(b"x" * 8000))
    for blocks in range(1, 8):
        assert ring.run(None, max_blocks=1) is RingStatus.MORE
        assert ring.counts().blocks == blocks


@pytest.mark.usefixtures("_veth")
def test_an_interface_goes_down_and_comes_back(tmp_path: Path) -> None:
    """Told once, nothing lost before and after, on the same ring."""
    ring = Ring("near", retire_ms=5)
    with Recording(ring, tmp_path) as recording:
        for number in range(3):
            with sender("far", has_queue=False) as far:
                far.send(frame(bytes([number]) * 60))
            while ring.counts().packets == number:  # what waits in the interface is lost with it
                time.sleep(0.001)
            ip("link", "set", "dev", "near", "down")
            while len(recording.seen) == number:
                time.sleep(0.001)
            ip("link", "set", "dev", "near", "up")
    assert recording.seen == [RingStatus.DOWN] * 3
    assert ring.error == errno.ENETDOWN
    assert [record.data[14] for record in recording.records()] == [0, 1, 2]


@pytest.mark.usefixtures("_veth")
def test_an_interface_that_is_down_at_the_start(tmp_path: Path) -> None:
    """It can be opened, says so, and records when it is up."""
    ip("link", "set", "dev", "near", "down")
    ring = Ring("near")
    ring.listen()
    assert ring.run(None) is RingStatus.DOWN
    assert ring.run(None) is RingStatus.IDLE
    ip("link", "set", "dev", "near", "up")
    with sender("far", has_queue=False) as far:
        far.send(frame(b"up"))
    assert [record.data for record in recorded(ring, tmp_path)] == [frame(b"up")]


@pytest.mark.usefixtures("_veth")
def test_an_interface_disappears(tmp_path: Path) -> None:
    """Gone, after all that had come before; a new one of that name needs a new ring, the output may stay."""
    ring, output = Ring("near", retire_ms=500), RingOutput()
    ring.listen()
    with (tmp_path / "pcap").open("xb+") as file:
        output.begin(file.fileno(), linktype=1)
        with sender("far") as far:
            far.send(frame(b"last words"))
        ip("link", "delete", "dev", "near")
        seen: list[RingStatus] = []
        while not seen or seen[-1] is not RingStatus.GONE:
            seen.append(ring.run(output, run_ms=1000))
        assert ring.error == errno.ENODEV
        assert ring.run(output, run_ms=1000) is RingStatus.GONE
        assert output.segment().packets == 1
        assert output.finish().packets == 1


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("members", [2, 4])
def test_members_of_a_fanout_share_by_flow(tmp_path: Path, members: int) -> None:
    """Together they have every packet once, and each flow is at one of them, in order."""
    rings = [Ring("near", ring_bytes=4 << 20, fanout=NEW_GROUP)]
    group = rings[0].fanout
    assert group is not None
    rings += [Ring("near", ring_bytes=4 << 20, fanout=group) for _ in range(members - 1)]
    sent = []
    with sender("far") as far:
        far.send(frame(b"nobody listens yet"))
        for ring in rings:
            ring.listen()
        for number in range(1000):
            flow = number % 50
            udp = struct.pack(">HHHH", 1000 + flow, 53, 12, 0) + number.to_bytes(4, "big")
            header = struct.pack(
                ">BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, bytes([10, 0, 0, flow]), bytes([10, 0, 1, 1])
            )
            sent.append(frame(header + udp, kind=0x0800))
            far.send(sent[-1])
    found = [[record.data for record in recorded(ring, tmp_path)] for ring in rings]
    assert sorted(data for part in found for data in part) == sorted(sent)
    assert sum(bool(part) for part in found) > 1
    flows = [{data[29] for data in part} for part in found]
    assert sum(map(len, flows)) == 50
    for part in found:
        assert part == [data for data in sent if data[29] in {one[29] for one in part}]


@pytest.mark.usefixtures("_veth")
def test_promiscuous_as_long_as_it_lives() -> None:
    """The interface counts who wants everything."""

    def promiscuity() -> int:
        shown = run("ip", "-details", "link", "show", "dev", "near").split()
        return int(shown[shown.index("promiscuity") + 1])

    ring = Ring("near", promiscuous=False)
    assert promiscuity() == 0
    other = Ring("near", hardware_time=True)
    assert promiscuity() == 1
    assert not other.has_hardware_time
    other.close()
    assert promiscuity() == 0
    ring.close()


def test_loopback_shows_each_packet_once(tmp_path: Path) -> None:
    """It goes out and comes in, and is one packet, also for the members of a group."""
    with namespace():
        ip("link", "set", "dev", "lo", "up")
        rings = [Ring("lo"), Ring("lo", fanout=NEW_GROUP)]
        for ring in rings:
            ring.listen()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            for i in range(3):
                sock.sendto(bytes([i]), sock.getsockname())
        for ring in rings:
            assert [record.data[-1] for record in recorded(ring, tmp_path)] == [0, 1, 2]


def test_other_kinds_of_interfaces_have_their_link_type(tmp_path: Path) -> None:
    """A tunnel without a header gives raw IP, as Wireshark reads it too."""
    with namespace():
        made = subprocess.run(["ip", "tuntap", "add", "dev", "tun0", "mode", "tun"], capture_output=True)
        if made.returncode:
            pytest.skip("no tun device here")
        assert Ring("tun0").linktype == 101


def test_what_cannot_be_opened() -> None:
    """An unknown name, limits out of range, a closed ring; no descriptor is left behind."""
    with namespace():
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        for name in ("nowhere0", "", "x" * 1000):
            with pytest.raises(OSError, match=r".") as caught:
                Ring(name)
            assert caught.value.errno == errno.ENODEV
        wrong: list[dict[str, Any]] = [
            *({"snaplen": 0}, {"snaplen": 262145}, {"ring_bytes": 1 << 20}, {"ring_bytes": 4097 << 20}),
            *({"retire_ms": 0}, {"retire_ms": 10_001}, {"fanout": 65536}),
        ]
        for limits in wrong:
            with pytest.raises(ValueError, match="out of range"):
                Ring("lo", **limits)
        ring = Ring("lo")
        ring.close()
        for call in (ring.fileno, ring.listen, ring.wake, ring.counts, lambda: ring.run(None)):
            with pytest.raises(ValueError, match="closed"):
                call()
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_without_the_capability() -> None:
    """A PermissionError, and nothing else; CAP_NET_RAW alone is enough."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv(1) to give capabilities away")
    code = (
        "from appliance.native import Ring\n"
        "try:\n    print(Ring('lo', hardware_time=True).linktype)\nexcept PermissionError:\n    print('refused')"
    )
    for capabilities, said in (("-all", "refused\n"), ("-all,+net_raw", "1\n")):
        drop = ("setpriv", "--bounding-set", capabilities, "--inh-caps", "-all", sys.executable, "-c", code)
        assert subprocess.run(drop, capture_output=True, text=True, timeout=60).stdout == said


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
def test_a_replayed_file_is_recorded_as_it_was(tmp_path: Path, kind: OutputKind) -> None:
    """Through tcpreplay and an interface: packet for packet, tags and jumbo frames included, as tshark sees it."""
    sent = [frame(b"p" * size) for size in (46, 100, 1500, 8000)] + [
        tagged(b"q" * 100, 0xA00A),
        tagged(b"r", 1, 0x88A8),
        double_tagged(b"s" * 50),
    ]
    sent = [data + i.to_bytes(4, "big") for i, data in enumerate(sent * 50)]
    original = tmp_path / "original"
    block = PcapBlock(1 << 21)
    block.header(262144, 1)
    block.extend([(10**18 + i * 1000, data, len(data)) for i, data in enumerate(sent)])
    original.write_bytes(block.peek())
    ring = Ring("near", ring_bytes=16 << 20)
    with Recording(ring, tmp_path, kind=kind):
        run("tcpreplay", "--intf1=far", "--topspeed", str(original))
    copy = tmp_path / "000000.pcap"
    fields = ("frame.len", "frame.cap_len", "eth.dst", "vlan.id", "vlan.priority", "data.data")
    assert tshark(copy, *fields) == tshark(original, *fields)
    times = [epoch_ns(row[0]) for row in tshark(copy, "frame.time_epoch")]
    assert times == sorted(times)
