"""New files, as other programs read them."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import dpkt
import pytest

from appliance.errors import ApplianceError
from appliance.pcap.batch import Interface
from appliance.pcap.encode import Format, make_encoder
from appliance.pcap.reader import Packet
from appliance.pcap.write import Output, Stream

from .build import ETHERNET, read, udp_frame

S = 10**9
T0 = 1_795_254_931 * S + 123_456_789


def write(path: Path, kind: Format, packets: list[Packet]) -> None:
    with path.open("wb") as file:
        output = Output(Stream(file), kind)
        for packet in packets:
            output.add(packet)
        output.end(ETHERNET)
        assert (output.size, output.packets) == (file.tell(), len(packets))


def tshark(path: Path, *fields: str) -> list[list[str]]:
    wanted = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", path, "-T", "fields", *wanted], capture_output=True, check=True, text=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_tshark_reads_what_was_written(tmp_path: Path, kind: Format) -> None:
    """Nanoseconds, lengths on the wire, and what is in the packets."""
    frames = [udp_frame(5000 + i, bytes(i)) for i in range(9)]
    packets = [Packet(T0 + i, 0, ETHERNET, len(frame) + i, frame) for i, frame in enumerate(frames)]
    write(tmp_path / "x", kind, packets)
    rows = tshark(tmp_path / "x", "frame.time_epoch", "frame.len", "frame.cap_len", "udp.dstport")
    seen = [(time.split(".")[1][:9], int(length), int(caplen), int(port)) for time, length, caplen, port in rows]
    assert seen == [(f"{123456789 + i}", len(frame) + i, len(frame), 5000 + i) for i, frame in enumerate(frames)]
    assert [packet[3:] for packet in read(tmp_path / "x")] == [packet[3:] for packet in packets]


def test_pcapng_holds_several_link_types(tmp_path: Path) -> None:
    """Equal interfaces become one."""
    raw = Interface(linktype=101, snaplen=96, name="tün0")
    frame = udp_frame(53)
    packets = [
        Packet(T0, 0, ETHERNET, len(frame), frame),
        Packet(T0 + 1, 1, raw, len(frame) - 14, frame[14:]),
        Packet(T0 + 2, 2, Interface(linktype=1, snaplen=65535), len(frame), frame),
    ]
    write(tmp_path / "x", "pcapng", packets)
    rows = tshark(tmp_path / "x", "frame.interface_id", "frame.encap_type", "frame.interface_name", "udp.dstport")
    assert [(row[0], row[3]) for row in rows] == [("0", "53"), ("1", "53"), ("0", "53")]
    assert rows[1][2] == "tün0"
    assert read(tmp_path / "x")[1].interface == raw


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_file_without_packets_can_be_read(tmp_path: Path, kind: Format) -> None:
    """It has a header."""
    write(tmp_path / "x", kind, [])
    assert subprocess.run(["capinfos", tmp_path / "x"], capture_output=True).returncode == 0
    assert read(tmp_path / "x") == []


def test_dpkt_reads_nanoseconds(tmp_path: Path) -> None:
    """Another reader than Wireshark's."""
    write(tmp_path / "x", "pcap", [Packet(T0, 0, ETHERNET, 3, b"abc")])
    reader = dpkt.pcap.Reader(io.BytesIO((tmp_path / "x").read_bytes()))
    assert reader.datalink() == 1
    ((_, data),) = reader
    assert data == b"abc"


def test_a_time_beyond_32_bits_is_for_pcapng(tmp_path: Path) -> None:
    """PCAP counts seconds in 32 bits without a sign."""
    late = Packet(2**32 * S, 0, ETHERNET, 1, b"x")
    with pytest.raises(ApplianceError, match="2106"):
        make_encoder("pcap", ETHERNET).encode(late)
    write(tmp_path / "x", "pcapng", [late])
    assert read(tmp_path / "x")[0].ts_ns == late.ts_ns
