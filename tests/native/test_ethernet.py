"""Frames of real interfaces in a namespace of our own: both directions, tags, lengths, drops, filters, the end."""

from __future__ import annotations

import errno
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.native import (
    EthernetReceiver,
    PacketBatch,
    PcapBlock,
    PcapFormat,
    Received,
    Stored,
    compile_filter,
    make_file_header,
)

from .netns import ip, namespace, veth
from .readers import Record, epoch_ns, records, run, tshark

TIMEOUT_S = 5
NEAR, FAR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
TO_NEAR, TO_FAR = NEAR + FAR, FAR + NEAR
ETH_P_ALL, ETH_P_TEST = 3, 0x88B5  # the second is for local experiments, IEEE 802


@pytest.fixture
def _veth() -> Iterator[None]:
    with veth():
        yield


def sender(interface: str) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.bind((interface, 0))
    return found


def frame(payload: bytes, *, to: bytes = TO_NEAR, kind: int = ETH_P_TEST) -> bytes:
    return to + struct.pack(">H", kind) + payload


def tagged(payload: bytes, tci: int, tpid: int = 0x8100) -> bytes:
    return TO_NEAR + struct.pack(">HHH", tpid, tci, ETH_P_TEST) + payload


def received(receiver: EthernetReceiver, count: int) -> list[Record]:
    """What comes, until there are that many."""
    block = PcapBlock(1 << 22)
    while receiver.counts().packets < count:
        assert select.select([receiver], [], [], TIMEOUT_S)[0]
        assert receiver.receive(block, 10_000) is Received.EMPTY
    return records(block.peek())


@pytest.mark.usefixtures("_veth")
def test_both_directions_are_recorded() -> None:
    """What comes in and what goes out, in order, with the kernel's times and true lengths."""
    receiver = EthernetReceiver("near")
    sent = []
    begin_ns = time.time_ns()
    with sender("near") as near, sender("far") as far:
        for i in range(20):
            data = frame(bytes([i]) * (50 * i + 1), to=(TO_NEAR, TO_FAR)[i % 2])
            (far, near)[i % 2].send(data)
            sent.append(data)
    found = received(receiver, 20)
    assert [record.data for record in found] == sent
    assert [record.wire_len for record in found] == [len(data) for data in sent]
    times = [record.ts_ns for record in found]
    assert times == sorted(times)
    assert begin_ns <= times[0] <= times[-1] <= time.time_ns()
    counts = receiver.counts()
    assert (counts.packets, counts.bytes, counts.truncated, counts.untimed) == (20, sum(map(len, sent)), 0, 0)
    assert counts.kernel_drops == 0


@pytest.mark.usefixtures("_veth")
def test_tags_are_put_back() -> None:
    """All 16 bits of the tag and the protocol that says it is one; what lies deeper is untouched."""
    receiver = EthernetReceiver("near")
    payload = b"x" * 60
    double = TO_NEAR + struct.pack(">HHHHH", 0x88A8, 0x2FFF, 0x8100, 7, ETH_P_TEST) + payload
    sent = [frame(payload), tagged(payload, 5), tagged(payload, 0xFFFF), tagged(payload, 0), tagged(payload, 9, 0x88A8)]
    sent.append(double)
    with sender("far") as far:
        for data in sent:
            far.send(data)
    found = received(receiver, len(sent))
    assert [(record.data, record.wire_len) for record in found] == [(data, len(data)) for data in sent]


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("snaplen", [1, 11, 12, 13, 14, 18, 64, 1000])
def test_what_is_cut_keeps_its_true_length(snaplen: int) -> None:
    """Cut by the snap length, with and without a tag that is put back."""
    receiver = EthernetReceiver("near", snaplen=snaplen)
    sent = [frame(b"y" * 500), tagged(b"z" * 500, 0x1234), frame(b"")]
    with sender("far") as far:
        for data in sent:
            far.send(data)
    found = received(receiver, len(sent))
    # a tag has no place in a frame whose addresses are not whole
    first = [sent[0], sent[1] if snaplen >= 12 else sent[1][:12] + sent[1][16:], sent[2]]
    assert [record.data for record in found] == [data[:snaplen] for data in first]
    assert [record.wire_len for record in found] == [len(data) for data in first]
    assert receiver.counts().truncated == sum(len(data) > snaplen for data in first)


@pytest.mark.usefixtures("_veth")
def test_a_filter_of_the_kernel() -> None:
    """Only what passes comes, tags are seen although they lie beside the frame, and cuts are told."""
    receiver = EthernetReceiver("near", program=compile_filter("vlan 5", snaplen=30, interface="near"))
    wanted = tagged(b"wanted" * 100, 0xE005)
    with sender("far") as far:
        for data in (frame(b"no"), tagged(b"no", 6), wanted, frame(b"no")):
            far.send(data)
    (record,) = received(receiver, 1)
    assert record.wire_len == len(wanted)
    assert record.data == wanted[:34]
    assert receiver.receive(PcapBlock(1 << 20), 10) is Received.EMPTY


@pytest.mark.usefixtures("_veth")
def test_changing_the_filter() -> None:
    """What waits was judged by the old filter and is thrown away and counted; a bad one changes nothing."""
    receiver = EthernetReceiver("near", snaplen=200)
    with sender("far") as far:
        for i in range(5):
            far.send(frame(bytes([i])))
        block = PcapBlock(1 << 20)
        assert receiver.receive(block, 10, max_bytes=40) is Received.LIMIT
        assert (receiver.pending, len(records(block.peek()))) == (4, 1)
        far.send(frame(b"waits in the kernel"))
        assert receiver.set_filter(compile_filter("ether[14] = 7", interface="near")) == 5
        far.send(frame(b"\x08"))
        far.send(frame(b"\x07"))
        assert [record.data[14:] for record in received(receiver, 2)] == [b"\x07"]
        for program in (b"1234567", b"\xff" * 8, b"\0" * 8 * 4097):
            with pytest.raises(ValueError, match="filter program"):
                receiver.set_filter(program)
            with pytest.raises(ValueError, match="out of range"):
                EthernetReceiver("near", program=program)
        far.send(frame(b"\x08"))
        assert receiver.receive(block, 10) is Received.EMPTY
        assert receiver.set_filter(None) == receiver.set_filter(None) == 0
        far.send(frame(b"\x08"))
        assert [record.data[14:] for record in received(receiver, 3)] == [b"\x08"]


@pytest.mark.usefixtures("_veth")
def test_drops_are_counted_exactly() -> None:
    """With a small buffer, what was sent is what came plus what the kernel dropped, also while nobody reads."""
    receiver = EthernetReceiver("near", receive_buffer=4096)
    assert 0 < receiver.granted <= 8192
    with sender("far") as far:
        for sent in (200, 400):
            for _ in range(200):
                far.send(frame(b"x" * 1000))
            assert receiver.counts().kernel_drops > 0
            assert receiver.receive(PcapBlock(1 << 22), 1000) is Received.EMPTY
            counts = receiver.counts()
            assert counts.packets + counts.kernel_drops == sent


@pytest.mark.usefixtures("_veth")
def test_a_buffer_is_granted() -> None:
    """With the privilege of an administrator even beyond the system's limit."""
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    assert EthernetReceiver("near", receive_buffer=2 * limit).granted == 2 * limit
    assert EthernetReceiver("near").granted > 0


@pytest.mark.usefixtures("_veth")
def test_batches_serve_many_files() -> None:
    """The same frames in every block."""
    receiver, batch = EthernetReceiver("near"), PacketBatch(slots=16, slot_bytes=9018)
    sent = [tagged(bytes([i]) * i * 90, i) for i in range(1, 17)]
    with sender("far") as far:
        for data in sent:
            far.send(data)
    assert receiver.fill(batch) is Received.MORE
    blocks = [PcapBlock(1 << 20, format=kind, ip_headers=True) for kind in PcapFormat]
    assert {batch.copy_to(block) for block in blocks} == {Stored(16, Received.EMPTY)}
    assert [record.data for record in records(blocks[0].peek())] == sent
    assert [(packet.data, packet.sender, packet.local) for packet in batch.packets()] == [
        (data, None, None) for data in sent
    ]
    assert receiver.fill(batch) is Received.EMPTY
    assert len(batch) == 0


@pytest.mark.usefixtures("_veth")
def test_an_interface_goes_down_and_comes_back() -> None:
    """Once ENETDOWN, then silence, then frames again on the same socket."""
    receiver, block = EthernetReceiver("near"), PcapBlock(1 << 20)
    ip("link", "set", "dev", "near", "down")
    assert select.select([receiver], [], [], TIMEOUT_S)[0]
    with pytest.raises(OSError, match="down") as caught:
        receiver.receive(block, 10)
    assert caught.value.errno == errno.ENETDOWN
    assert receiver.receive(block, 10) is Received.EMPTY
    ip("link", "set", "dev", "near", "up")
    with sender("far") as far:
        far.send(frame(b"back"))
    assert received(receiver, 1)[0].data == frame(b"back")


@pytest.mark.usefixtures("_veth")
def test_a_new_filter_does_not_hide_an_error() -> None:
    """An interface that went down while it was changed is told, and the filter is the new one."""
    receiver = EthernetReceiver("near")
    nothing = compile_filter("ether proto 1", interface="near")
    ip("link", "set", "dev", "near", "down")
    with pytest.raises(OSError, match="down"):
        receiver.set_filter(nothing)
    ip("link", "set", "dev", "near", "up")
    with sender("far") as far:
        far.send(frame(b"filtered"))
    assert receiver.receive(PcapBlock(1000000), 10) is Received.EMPTY
    assert receiver.counts().packets == 0


@pytest.mark.usefixtures("_veth")
def test_an_interface_that_is_down_at_the_start() -> None:
    """It can be opened; the first receive says so."""
    ip("link", "set", "dev", "near", "down")
    receiver = EthernetReceiver("near")
    with pytest.raises(OSError, match="down") as caught:
        receiver.fill(PacketBatch())
    assert caught.value.errno == errno.ENETDOWN


@pytest.mark.usefixtures("_veth")
def test_an_interface_disappears() -> None:
    """ENODEV, after what had come before; another of that name needs another receiver."""
    receiver, block = EthernetReceiver("near"), PcapBlock(1 << 20)
    with sender("far") as far:
        far.send(frame(b"last words"))
    ip("link", "delete", "dev", "near")
    with pytest.raises(OSError, match="device") as caught:
        receiver.receive(block, 10)
    assert caught.value.errno == errno.ENODEV
    receiver.receive(block, 10)
    assert [record.data for record in records(block.peek())] == [frame(b"last words")]


@pytest.mark.usefixtures("_veth")
def test_promiscuous_as_long_as_it_lives() -> None:
    """The interface counts who wants everything."""

    def promiscuity() -> int:
        shown = run("ip", "-details", "link", "show", "dev", "near").split()
        return int(shown[shown.index("promiscuity") + 1])

    receiver = EthernetReceiver("near", promiscuous=False)
    assert promiscuity() == 0
    other = EthernetReceiver("near")
    assert promiscuity() == 1
    other.close()
    assert promiscuity() == 0
    receiver.close()


@pytest.mark.usefixtures("_veth")
def test_a_single_protocol() -> None:
    """Only its frames come; zero means all."""
    one, every = EthernetReceiver("near", protocol=ETH_P_TEST), EthernetReceiver("near", protocol=0)
    with sender("far") as far:
        far.send(frame(b"a", kind=0x88B6))
        far.send(frame(b"b"))
    assert [record.data[14:] for record in received(one, 1)] == [b"b"]
    assert [record.data[14:] for record in received(every, 2)] == [b"a", b"b"]


def test_loopback_shows_each_packet_once() -> None:
    """It goes out and comes in, and is one packet."""
    with namespace():
        ip("link", "set", "dev", "lo", "up")
        receiver = EthernetReceiver("lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            for i in range(3):
                sock.sendto(bytes([i]), sock.getsockname())
        assert [record.data[-1] for record in received(receiver, 3)] == [0, 1, 2]


def test_other_kinds_of_interfaces_are_refused() -> None:
    """What has no Ethernet header is not called Ethernet."""
    with namespace():
        made = subprocess.run(["ip", "tuntap", "add", "dev", "tun0", "mode", "tun"], capture_output=True)
        if made.returncode:
            pytest.skip("no tun device here")
        with pytest.raises(OSError, match="family") as caught:
            EthernetReceiver("tun0")
        assert caught.value.errno == errno.EPFNOSUPPORT


def test_what_cannot_be_opened() -> None:
    """An unknown name, limits out of range, a closed receiver; no descriptor is left behind."""
    with namespace():
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        for name in ("nowhere0", "", "x" * 1000):
            with pytest.raises(OSError, match=r".") as caught:
                EthernetReceiver(name)
            assert caught.value.errno == errno.ENODEV
        wrong: list[dict[str, Any]] = [
            *({"snaplen": 0}, {"snaplen": 262145}, {"protocol": 65536}, {"slots": 0}, {"slots": 1025}),
        ]
        for limits in wrong:
            with pytest.raises(ValueError, match="out of range"):
                EthernetReceiver("lo", **limits)
        receiver = EthernetReceiver("lo")
        receiver.close()
        with pytest.raises(ValueError, match="closed"):
            receiver.fileno()
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_without_the_capability() -> None:
    """A PermissionError, and nothing else."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv(1) to give capabilities away")
    code = (
        "from appliance.native import EthernetReceiver\n"
        "try:\n    EthernetReceiver('lo')\nexcept PermissionError:\n    print('refused')"
    )
    drop = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-c", code)
    assert subprocess.run(drop, capture_output=True, text=True, timeout=60).stdout == "refused\n"


@pytest.mark.usefixtures("_veth")
@pytest.mark.parametrize("kind", list(PcapFormat))
def test_a_replayed_file_is_recorded_as_it_was(tmp_path: Path, kind: PcapFormat) -> None:
    """Through tcpreplay and an interface: packet for packet, tags and jumbo frames included, as tshark sees it."""
    sent = [frame(b"p" * size) for size in (46, 100, 1500, 8000)] + [
        tagged(b"q" * 100, 0xA00A),
        tagged(b"r", 1, 0x88A8),
    ]
    sent = [data + i.to_bytes(4, "big") for i, data in enumerate(sent * 50)]
    original, copy = tmp_path / "original.pcap", tmp_path / "copy.pcap"
    block = PcapBlock(1 << 21)
    block.header(262144, 1)
    block.extend([(10**18 + i * 1000, data, len(data)) for i, data in enumerate(sent)])
    original.write_bytes(block.peek())
    receiver = EthernetReceiver("near", receive_buffer=8 << 20)
    run("tcpreplay", "--intf1=far", "--topspeed", str(original))
    recorded = PcapBlock(1 << 22, format=kind)
    while receiver.counts().packets < len(sent):
        assert select.select([receiver], [], [], TIMEOUT_S)[0]
        receiver.receive(recorded, 10_000)
    copy.write_bytes(make_file_header(kind, snaplen=262144, linktype=1, interface="near") + recorded.peek())
    fields = ("frame.len", "frame.cap_len", "eth.dst", "vlan.id", "vlan.priority", "data.data")
    assert tshark(copy, *fields) == tshark(original, *fields)
    times = [epoch_ns(row[0]) for row in tshark(copy, "frame.time_epoch")]
    assert times == sorted(times)
    assert receiver.counts()[:4] == (len(sent), sum(map(len, sent)), 0, 0)
