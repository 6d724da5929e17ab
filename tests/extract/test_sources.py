"""Segments on disk: their names, what is found of them, and files that change their names meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard

from appliance.extract.names import SegmentName
from appliance.extract.sources import FOREVER_NS, FileSource, find_sources, read_source
from appliance.native import index_pcap
from tests.native.packets import make_pcap, udp_frame

S = 10**9
T = 1_795_256_100 * S  # 2026-11-21T10:15:00Z


def frames(*times: int) -> list[tuple[int, bytes, int]]:
    data = udp_frame("10.0.0.1", "10.0.0.2", (1, 2))
    return [(time, data, len(data)) for time in times]


def segment(directory: Path, name: str, *times: int, is_indexed: bool = True, is_nano: bool = True) -> Path:
    path = directory / name
    path.write_bytes(make_pcap(frames(*times), nano=is_nano))
    if is_indexed:
        index_pcap(path, path.with_name(name.removesuffix(".part") + ".idx"))
    return path


def test_a_name_says_recorder_time_and_member() -> None:
    """Also where the recorder's name looks like a time; what is no segment's name is None."""
    name = "edge-20261121T101500.123456789Z-3.pcap"
    assert SegmentName.parse(name) == SegmentName("edge", T + 123456789, 3)
    assert SegmentName.parse(f"a-{name}") == SegmentName("a-edge", T + 123456789, 3)
    for ending in (".part", ".zst", ".zst.part", ".idx", ".idx.part", ".idx.new"):
        assert SegmentName.parse(name + ending) == SegmentName("edge", T + 123456789, 3)
    for other in ("edge.pcap", "edge-20261321T101500.123456789Z-3.pcap", "edge-20261121T101500Z-3.pcap", name + ".bak"):
        assert SegmentName.parse(other) is None


@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize("is_nano", [True, False])
def test_a_source_knows_its_times(tmp_path: Path, is_indexed: bool, is_nano: bool) -> None:
    """From the index both, else from the PCAP the first one only."""
    path = segment(tmp_path, "a.pcap", T + 5000, T + S, is_indexed=is_indexed, is_nano=is_nano)
    source = read_source(path)
    assert source is not None
    assert (source.first_ns, source.linktype, source.is_growing) == (T + 5000, 1, False)
    assert source.last_ns == (T + S if is_indexed else FOREVER_NS)


def test_what_has_no_packets_is_no_source(tmp_path: Path) -> None:
    """An empty file, one with nothing but its header, and one that only has its room; something else is refused."""
    path = tmp_path / "a.pcap.part"
    for content in (b"", make_pcap([]), make_pcap([]) + bytes(4096)):
        path.write_bytes(content)
        assert read_source(path) is None
    path.write_bytes(b"something else, and long enough for a header and a record")
    with pytest.raises(ValueError, match="no PCAP"):
        read_source(path)


def test_a_directory_is_searched_by_name_and_time(tmp_path: Path) -> None:
    """Segments of one recorder whose packets are in time, growing ones included; other files are none."""
    old = segment(tmp_path, "edge-20261121T101500.000000000Z-0.pcap", T, T + 9 * S)
    new = segment(tmp_path, "edge-20261121T101510.000000000Z-0.pcap", T + 10 * S, T + 19 * S, is_indexed=False)
    member = segment(tmp_path, "edge-20261121T101505.000000000Z-1.pcap.part", T + 5 * S, is_indexed=False)
    segment(tmp_path, "core-20261121T101500.000000000Z-0.pcap", T)
    (tmp_path / "edge-20261121T101700.000000000Z-0.pcap.part").write_bytes(b"")
    (tmp_path / "edge.gaps.jsonl").write_bytes(b"{}\n")
    (tmp_path / "edge-20261121T101800.000000000Z-0.pcap.zst.part").write_bytes(b"x")
    assert [source.path for source in find_sources(tmp_path, "edge")] == [old, member, new]
    assert [source.is_growing for source in find_sources(tmp_path, "edge")] == [False, True, False]
    assert len(find_sources(tmp_path)) == 4
    assert [source.path for source in find_sources(tmp_path, "edge", to_ns=T + 4 * S)] == [old]
    assert [source.path for source in find_sources(tmp_path, "edge", from_ns=T + 12 * S)] == [member, new]


def test_names_alone_rule_out_what_is_long_gone(tmp_path: Path) -> None:
    """Segments hours before and after the time are not opened, so it does not matter that they cannot be read."""
    for name in ("20261121T051500.000000000Z", "20261121T061500.000000000Z", "20261121T141500.000000000Z"):
        (tmp_path / f"edge-{name}-0.pcap").mkdir()
    wanted = segment(tmp_path, "edge-20261121T101500.000000000Z-0.pcap", T)
    (tmp_path / "edge-20261121T061500.000000000Z-0.pcap").rmdir()
    assert [source.path for source in find_sources(tmp_path, "edge", from_ns=T + 3 * 3600 * S, to_ns=T)] == []
    (tmp_path / "edge-20261121T051500.000000000Z-0.pcap").rmdir()
    assert [source.path for source in find_sources(tmp_path, "edge", from_ns=T, to_ns=T)] == [wanted]


def test_a_source_is_found_under_its_new_name(tmp_path: Path) -> None:
    """After it was finished, then after it was compressed, then no more."""
    part = segment(tmp_path, "edge-20261121T101500.000000000Z-0.pcap.part", T)
    content = part.read_bytes()
    source = FileSource(part, is_growing=True)
    for step in ("growing", "finished", "compressed"):
        if step == "finished":
            part.rename(tmp_path / part.stem)
        elif step == "compressed":
            packed = tmp_path / (part.stem + ".zst")
            packed.write_bytes(zstandard.compress(content))
            (tmp_path / part.stem).unlink()
        with source.open() as opened:
            assert opened.index_fd is not None
            assert os.pread(opened.pcap_fd, len(content) + 1, 0) == content
    packed.unlink()
    with pytest.raises(FileNotFoundError), source.open():
        pass


def test_a_source_is_found_when_its_name_gets_the_time_of_its_first_packet(tmp_path: Path) -> None:
    """A segment is opened before its first packet comes."""
    part = segment(tmp_path, "edge-20261121T101459.000000000Z-0.pcap.part", T + 7, is_indexed=False)
    source = read_source(part)
    assert source is not None
    part.rename(tmp_path / "edge-20261121T101500.000000007Z-0.pcap")
    with source.open() as opened:
        assert opened.index_fd is None
        assert os.pread(opened.pcap_fd, 4, 0)


def test_a_damaged_compressed_segment_says_so(tmp_path: Path) -> None:
    """Both when it is looked at and when it is read."""
    path = tmp_path / "a.pcap.zst"
    path.write_bytes(zstandard.compress(make_pcap(frames(T)))[:-9])
    with FileSource(path).open() as opened, pytest.raises(ValueError, match="unpacked"):
        _ = opened.pcap_fd
    path.write_bytes(b"no zstd")
    with pytest.raises(ValueError, match="unpacked"):
        read_source(path)
