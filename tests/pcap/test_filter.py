"""Filter programs, against tcpdump."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pcap.filter import Program

from .build import header, record, udp_frame

FRAMES = [udp_frame(port, bytes([port % 256]) * size) for port in (53, 80, 5353, 65535) for size in (0, 1, 20, 900)]
FRAMES += [frame[:12] + b"\x81\x00\x00\x05" + frame[12:] for frame in FRAMES[:4]]
FRAMES += [frame[:30] for frame in FRAMES[:3]] + [b"", b"\xff" * 14]


@pytest.mark.parametrize(
    "text",
    [
        "udp", "udp port 53", "not udp port 53", "port 80 or port 5353", "vlan 5 and udp", "host 10.0.0.1", "ip6",
        "less 60", "greater 100", "udp[8] = 53", "udp[4:2] > 10 and udp[4:2] < 30", "portrange 60-6000",
        "ip[0] & 0xf != 5", "len % 2 = 0", "ether[0] = 255",
        "(len * 3 - 7) / 2 ^ 5 > 60", "(-len + 100) < 30", "len << 2 > 300",
    ],
)  # fmt: skip
def test_the_same_packets_pass_as_in_tcpdump(tmp_path: Path, text: str) -> None:
    """The program is tcpdump's own, the packets it keeps as well."""
    path = tmp_path / "x.pcap"
    path.write_bytes(
        header() + b"".join(record(i, frame, length=max(60, len(frame))) for i, frame in enumerate(FRAMES))
    )
    listing = subprocess.run(["tcpdump", "-ddd", "-r", path, text], capture_output=True, text=True, check=True).stdout
    program = Program(
        b"".join(struct.pack("=HBBI", *(int(word) for word in line.split())) for line in listing.splitlines()[1:])
    )
    kept = subprocess.run(["tcpdump", "-r", path, "-w", "-", text], capture_output=True, check=True).stdout
    ours = [record(i, f, length=max(60, len(f)), precision="us") for i, f in enumerate(FRAMES)
            if program.matches(f, max(60, len(f)))]  # fmt: skip
    assert len(kept) - 24 == sum(map(len, ours))


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3), st.integers(0, 3), st.integers(0, 30)), max_size=9).map(
        lambda rows: b"".join(struct.pack("=HBBI", *row) for row in [*rows, (6, 0, 0, 1)])
    ),
    st.binary(max_size=20),
)
def test_any_program_is_refused_or_ends(code: bytes, data: bytes) -> None:
    """What is unknown or leads out of itself is refused."""
    try:
        program = Program(code)
    except ValueError:
        return
    assert program.matches(data, len(data)) in (True, False)


def test_pieces_of_instructions_are_refused() -> None:
    """Each has eight bytes."""
    with pytest.raises(ValueError, match="whole number"):
        Program(b"1234567")
