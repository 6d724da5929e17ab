"""Names, gaps, the catalogue and what a crash leaves: without an interface."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.extract.names import SegmentName, index_of, plain_of
from appliance.native import SegmentIndex
from appliance.recorder.catalogue import Catalogue
from appliance.recorder.gaps import GapLog
from appliance.recorder.repair import repair
from appliance.runtime.packets import Gap

from .harness import S, udp

T = 1_700_000_000 * S


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True), st.integers(0, 1 << 62), st.integers(0, 63))
def test_name_says_what_it_was_made_of(recorder: str, time_ns: int, member: int) -> None:
    """Whatever the recorder is called."""
    name = SegmentName(recorder, time_ns, member)
    assert SegmentName.parse(f"{name}.zst") == name


def test_name_of_something_else_is_none() -> None:
    """Also with a day that does not exist."""
    for name in ("edge-20261121T101500.123456789Z-0.pcap", "edge.pcap", "edge-20261341T101500.123456789Z-0.pcap"):
        assert (SegmentName.parse(name) is not None) == ("1121" in name)


def test_names_beside_a_segment() -> None:
    """Index, journal, and the plain name."""
    assert index_of(Path("/d/a.pcap.zst")) == index_of(Path("/d/a.pcap")) == Path("/d/a.pcap.idx")
    assert index_of(Path("/d/a.pcap.part")) == Path("/d/a.pcap.idx.part")
    assert plain_of(Path("/d/a.pcap.part")) == plain_of(Path("/d/a.pcap.zst")) == Path("/d/a.pcap")


class TestGapLog:
    """The file of gaps."""

    def test_what_is_written_is_read_again(self, tmp_path: Path) -> None:
        """With the time of the last look."""
        gaps = GapLog(tmp_path / "g")
        assert gaps.load() is None
        gaps.add(Gap(T, T + S, "kernel", 5))
        gaps.add(Gap(T + 9 * S, T + 9 * S, "budget", None, 100))
        gaps.flush(T + 20 * S)
        again = GapLog(tmp_path / "g")
        assert again.load() == T + 20 * S
        assert again.between(0, 1 << 62) == gaps.between(0, 1 << 62)
        assert again.between(T + 2 * S, T + 8 * S) == []
        assert len(again.between(T + S, T + 9 * S)) == 2

    def test_gaps_that_follow_each_other_are_one(self, tmp_path: Path) -> None:
        """Of one reason; what is not known of one is not known of both."""
        gaps = GapLog(tmp_path / "g")
        for n in range(5):
            gaps.add(Gap(T + n * S, T + (n + 1) * S, "kernel", 10, None))
        gaps.add(Gap(T + 5 * S, T + 6 * S, "disk", 1, 2))
        assert gaps.between(0, 1 << 62) == [Gap(T, T + 5 * S, "kernel", 50), Gap(T + 5 * S, T + 6 * S, "disk", 1, 2)]

    def test_file_is_bounded_to_the_newest(self, tmp_path: Path) -> None:
        """It is written again when it has twice as many lines."""
        gaps = GapLog(tmp_path / "g", limit=10)
        for n in range(100):
            gaps.add(Gap(T + n * 10 * S, T + n * 10 * S, "kernel", 1))
            gaps.flush(T)
            assert len((tmp_path / "g").read_bytes().splitlines()) <= 20
        again = GapLog(tmp_path / "g")
        again.load()
        assert again.between(0, 1 << 62)[-10:] == gaps.between(0, 1 << 62)
        assert gaps.between(0, 1 << 62)[0].from_ns == T + 900 * S

    def test_torn_line_is_passed_over(self, tmp_path: Path) -> None:
        """And nothing is appended to it."""
        path = tmp_path / "g"
        path.write_bytes(b'{"from_ns":1,"to_ns":2,"reason":"kernel"}\n{"from_ns":3,')
        gaps = GapLog(path)
        gaps.load()
        gaps.add(Gap(T, T, "disk", 1))
        gaps.flush(T)
        again = GapLog(path)
        again.load()
        assert [gap.reason for gap in again.between(0, 1 << 62)] == ["kernel", "disk"]

    def test_what_cannot_be_written_is_written_later(self, tmp_path: Path) -> None:
        """It is remembered meanwhile."""
        gaps = GapLog(tmp_path / "no" / "g")
        gaps.add(Gap(T, T, "disk", 1))
        gaps.flush(T)
        assert gaps.errors == 1
        assert len(gaps.between(0, 1 << 62)) == 1
        (tmp_path / "no").mkdir()
        gaps.flush(T + S)
        again = GapLog(tmp_path / "no" / "g")
        assert again.load() == T + S
        assert again.between(0, 1 << 62) == [Gap(T, T, "disk", 1)]


def write(folder: Path, seconds: int, *, packets: int = 3, ending: str = "", recorder: str = "edge") -> Path:
    """A segment of UDP packets."""
    path = folder / f"{SegmentName(recorder, T + seconds * S, 0)}{ending}"
    frame = udp(0, 0)
    records = b""
    for n in range(packets):
        records += struct.pack("=IIII", 1_700_000_000 + seconds, n, len(frame), len(frame)) + frame
    path.write_bytes(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1) + records)
    os.utime(path, ns=(T + seconds * S, T + seconds * S + packets - 1))
    return path


class TestCatalogue:
    """Finished segments, and room for new ones."""

    def test_oldest_go_first_exactly_enough(self, tmp_path: Path) -> None:
        """With their indexes; those of others and what grows stay."""
        paths = [write(tmp_path, n) for n in range(6)]
        index_of(paths[0]).write_bytes(bytes(100))
        other = write(tmp_path, 0, recorder="edge-2")
        growing = write(tmp_path, 0, ending=".part")
        catalogue = Catalogue(tmp_path, "edge")
        assert catalogue.scan() == []
        size = paths[1].stat().st_size
        assert catalogue.bytes == 6 * size + 100
        gone = catalogue.enforce(lambda _: 4 * size, growing=1)
        assert [entry.path for entry in gone] == paths[:3]
        assert (gone[0].first_ns, gone[0].last_ns, gone[0].size) == (T, T + 2, size + 100)
        assert set(tmp_path.iterdir()) == {*paths[3:], other, growing}
        assert catalogue.enforce(lambda used: used, growing=0) == []
        assert (catalogue.deleted_files, catalogue.bytes) == (3, 3 * size)

    def test_segment_that_a_look_at_the_disk_found_first_is_there_once(self, tmp_path: Path) -> None:
        """Whoever has finished it adds it a moment later."""
        paths = [write(tmp_path, n) for n in (1, 2)]
        catalogue = Catalogue(tmp_path, "edge")
        catalogue.scan()
        catalogue.add(paths[0])
        assert [entry.path for entry in catalogue.entries()] == paths
        assert catalogue.bytes == sum(path.stat().st_size for path in paths)

    def test_what_others_removed_is_told(self, tmp_path: Path) -> None:
        """Once; and what they put there is found."""
        paths = [write(tmp_path, n) for n in range(3)]
        catalogue = Catalogue(tmp_path, "edge")
        catalogue.scan()
        paths[1].unlink()
        more = write(tmp_path, 9)
        assert [entry.path for entry in catalogue.scan()] == [paths[1]]
        assert catalogue.scan() == []
        assert [entry.path for entry in catalogue.entries()] == [paths[0], paths[2], more]


class TestRepair:
    """What a crash left."""

    def test_torn_segment_is_whole_indexed_and_named_after_its_first_packet(self, tmp_path: Path) -> None:
        """The file's time is that of its last packet."""
        part = write(tmp_path, 5, ending=".part")
        index_of(part).write_bytes(b"journal")
        with part.open("ab") as file:
            file.write(bytes(7))
        (found,) = repair(tmp_path, "edge", with_index=True)
        final = tmp_path / str(SegmentName("edge", T + 5 * S, 0))
        assert (found.path, found.cut, found.error) == (final, 7, "")
        assert set(tmp_path.iterdir()) == {final, index_of(final)}
        assert final.stat().st_mtime_ns == T + 5 * S + 2
        with index_of(final).open("rb") as file:
            assert SegmentIndex(file.fileno()).info().packets == 3

    def test_segment_that_was_opened_ahead_of_time_and_begun(self, tmp_path: Path) -> None:
        """A crash may come before it is called ``.part``; one that was not begun goes without a word."""
        write(tmp_path, 5, ending=".next")
        write(tmp_path, 6, packets=0, ending=".next")
        (tmp_path / f"{SegmentName('edge', T, 0)}.next").touch()
        (found,) = repair(tmp_path, "edge", with_index=True)
        assert found.path == tmp_path / str(SegmentName("edge", T + 5 * S, 0))
        assert sorted(path.name for path in tmp_path.iterdir()) == [found.path.name, f"{found.path.name}.idx"]

    def test_nothing_is_left_of_what_held_nothing(self, tmp_path: Path) -> None:
        """Empty segments, indexes and journals without a segment, half of an index."""
        write(tmp_path, 1, packets=0, ending=".part")
        kept = write(tmp_path, 2)
        for name in ("2.idx.new", "3.idx", "3.idx.part"):
            at, _, ending = name.partition(".")
            (tmp_path / f"{SegmentName('edge', T + int(at) * S, 0)}.{ending}").touch()
        other = write(tmp_path, 1, ending=".part", recorder="other")
        repair(tmp_path, "edge", with_index=True)
        assert set(tmp_path.iterdir()) == {kept, other}

    def test_segment_that_another_process_writes_is_left_alone(self, tmp_path: Path) -> None:
        """With its journal."""
        part = write(tmp_path, 1, ending=".part")
        index_of(part).touch()
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert repair(tmp_path, "edge", with_index=True) == []
        assert set(tmp_path.iterdir()) == {part, index_of(part)}

    @pytest.mark.parametrize("content", [b"no capture file at all" * 9, bytes(100)])
    def test_what_is_no_segment_stays_as_it_is(self, tmp_path: Path, content: bytes) -> None:
        """And is told."""
        part = tmp_path / f"{SegmentName('edge', T, 0)}.part"
        part.write_bytes(content)
        (found,) = repair(tmp_path, "edge", with_index=True)
        assert found.path is None
        assert found.error
        assert part.read_bytes() == content
