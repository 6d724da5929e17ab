"""Cutting: where pieces begin, what they are called, that nothing is lost or overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.pcap.batch import Interface
from appliance.pcap.cut import FIELDS, Limits, Piece, cut
from appliance.pcap.encode import Format
from appliance.pcap.reader import Packet
from appliance.runtime.pattern import PathPattern

from .build import ETHERNET, read

S = 10**9
T0 = 1_795_254_931 * S  # 2026-11-21 09:55:31


def packets(*times: int, size: int = 4) -> list[Packet]:
    return [Packet(T0 + time, 0, ETHERNET, size, i.to_bytes(4) * (size // 4)) for i, time in enumerate(times)]


def run(folder: Path, given_: list[Packet], name: str = "{seq}.pcap", **limits: int) -> list[Piece]:
    return list(cut(given_, Limits(**limits), pattern(folder, name)))


def pattern(folder: Path, name: str) -> PathPattern:
    return PathPattern(f"{PathPattern.escape(str(folder))}/{name}", fields=FIELDS)


def test_pieces_begin_at_multiples_of_the_interval(tmp_path: Path) -> None:
    """Their names are rounded down to it; the packet at the boundary is the next one's."""
    times = [0, 28 * S, 29 * S - 1, 29 * S, 88 * S, 300 * S]
    pieces = run(tmp_path, packets(*times), "%H%M%S.pcap", every_ns=30 * S)
    assert [(Path(piece.path).name, piece.packets) for piece in pieces] == [
        ("095530.pcap", 3), ("095600.pcap", 1), ("095630.pcap", 1), ("100030.pcap", 1),
    ]  # fmt: skip
    assert (pieces[0].first_ns - T0, pieces[0].last_ns - T0) == (0, 29 * S - 1)


def test_the_packet_that_crosses_a_limit_begins_the_next_piece(tmp_path: Path) -> None:
    """No piece is larger than asked for, unless one packet is."""
    given_ = packets(*range(5), size=84)  # 100 bytes in the file each, after 24 of the header
    assert [piece.packets for piece in run(tmp_path, given_, max_bytes=224)] == [2, 2, 1]
    assert [piece.packets for piece in run(tmp_path, given_, max_bytes=223)] == [1] * 5
    assert [piece.packets for piece in run(tmp_path, given_, max_bytes=1)] == [1] * 5
    assert [piece.packets for piece in run(tmp_path, given_, max_packets=3)] == [3, 2]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 60)), max_size=25),
    st.integers(0, 300), st.integers(0, 6), st.integers(0, 30),
)  # fmt: skip
def test_nothing_is_lost_and_limits_hold(
    given_: list[tuple[int, int]], max_bytes: int, max_packets: int, every: int
) -> None:
    """Whatever limits are combined; a dry run tells the same names and figures."""
    source = [
        Packet(T0 + time * S, 0, ETHERNET, size, bytes([i]) * size) for i, (time, size) in enumerate(sorted(given_))
    ]
    limits = Limits(max_bytes=max_bytes, max_packets=max_packets, every_ns=every * S)
    with TemporaryDirectory() as name:
        where = pattern(Path(name), "%H%M%S.pcap")
        planned = list(cut(source, limits, where, dry_run=True))
        assert not list(Path(name).iterdir())
        pieces = list(cut(source, limits, where))
        assert planned == pieces
        stored = [packet for piece in pieces for packet in read(Path(piece.path))]
        assert [(packet.ts_ns, packet.data) for packet in stored] == [(p.ts_ns, p.data) for p in source]
        for piece in pieces:
            assert Path(piece.path).stat().st_size == piece.size
            assert not max_packets or piece.packets <= max_packets
            assert not max_bytes or piece.size <= max_bytes or piece.packets == 1
            assert not every or piece.first_ns // (every * S) == piece.last_ns // (every * S)


def test_files_that_exist_stay(tmp_path: Path) -> None:
    """A number goes into the new name, and the dry run knows it."""
    (tmp_path / "x.pcap").write_text("mine")
    dry = list(cut(packets(0, 1), Limits(max_packets=1), pattern(tmp_path, "x.pcap"), dry_run=True))
    pieces = run(tmp_path, packets(0, 1), "x.pcap", max_packets=1)
    assert [Path(piece.path).name for piece in pieces] == ["x-1.pcap", "x-2.pcap"]
    assert dry == pieces
    assert (tmp_path / "x.pcap").read_text() == "mine"


def test_an_early_packet_stays_in_its_piece(tmp_path: Path) -> None:
    """Time that goes back does not begin a piece."""
    pieces = run(tmp_path, packets(40 * S, 10 * S, 41 * S), every_ns=30 * S)
    assert [(piece.packets, piece.first_ns - T0) for piece in pieces] == [(3, 10 * S)]


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_each_piece_is_a_file_of_its_own(tmp_path: Path, kind: Format) -> None:
    """With the descriptions of its interfaces."""
    for piece in cut(packets(1, 2, 3), Limits(max_packets=1), pattern(tmp_path, "{seq}"), kind=kind):
        (packet,) = read(Path(piece.path))
        assert packet.interface.linktype == 1


def test_a_failure_leaves_no_torn_file(tmp_path: Path) -> None:
    """Finished pieces stay, the unfinished one goes."""

    def source() -> Iterator[Packet]:
        yield from packets(1, 2, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(cut(source(), Limits(max_packets=2), pattern(tmp_path, "{seq}.pcap")))
    assert [path.name for path in tmp_path.iterdir()] == ["000001.pcap"]


def test_several_link_types_do_not_fit_into_one_pcap(tmp_path: Path) -> None:
    """The message says what does."""
    given_ = [*packets(1), Packet(T0, 0, Interface(linktype=101, snaplen=0), 1, b"x")]
    with pytest.raises(ApplianceError, match=r"several link types \(1, 101\), a PCAP file has one \(use pcapng\)"):
        run(tmp_path, given_, max_packets=9)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_the_disk_says_is_told(tmp_path: Path) -> None:
    """With the name of the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ApplianceError, match=r"cannot write .*/file: File exists"):
        run(tmp_path, packets(1), "file/x.pcap", max_packets=9)
