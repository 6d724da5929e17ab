"""Packets out of segments: against a search through all of them, and when segments are not as they were."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError, ConfigError
from appliance.extract.extraction import Extraction, plan
from appliance.extract.names import SegmentName
from appliance.extract.query import Query
from appliance.extract.sources import FileSource, OpenFile, find_sources
from appliance.native import index_pcap
from appliance.runtime.packets import Gap
from tests.native.packets import RAW, make_pcap, read_records, udp_frame

from .flows import KINDS, S, T, Timed, frames, queries, wants, write_segment

A, B = "10.0.0.1", "10.0.0.2"


def records_of(extraction: Extraction) -> list[tuple[int, bytes, int]]:
    return read_records(b"".join(extraction)[24:])


def segment(directory: Path, number: int, *times: int, is_indexed: bool = True, linktype: int = 1) -> Path:
    """One packet from a port of its own at each time."""
    name = str(SegmentName("edge", times[0], 0))
    path = directory / name
    data = [udp_frame(A, B, (number, 9), serial=i) for i in range(len(times))]
    path.write_bytes(make_pcap([(time, each, 60) for time, each in zip(times, data, strict=True)], linktype=linktype))
    if is_indexed:
        index_pcap(path, directory / f"{name}.idx")
    return path


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_query_over_any_segments_finds_what_a_search_finds(data: st.DataObject) -> None:
    """Members of a fanout group, cut into segments that are plain, indexed, compressed, or growing with a journal."""
    packets = [
        Timed(T + time, packet)
        for time, packet in sorted(
            data.draw(st.lists(st.tuples(st.integers(0, 50), frames()), max_size=30)), key=lambda each: each[0]
        )
    ]
    members: list[list[Timed]] = [[], [], []]
    for each in packets:
        members[data.draw(st.integers(0, 2))].append(each)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for member, own in enumerate(members):
            while own:
                count = data.draw(st.integers(1, len(own)))
                kind = data.draw(st.sampled_from(KINDS if count == len(own) else KINDS[:-1]))
                part, own = own[:count], own[count:]
                # Two segments may begin at the same nanosecond: the name of the second has the next one.
                name = SegmentName("edge", part[0].ts_ns, member)
                while any(directory.glob(f"{name}*")):
                    name = name._replace(time_ns=name.time_ns + 1)
                write_segment(directory, str(name), part, kind)
        query = data.draw(queries(packets))
        sources = find_sources(directory, "edge", from_ns=query.from_ns, to_ns=query.to_ns)
        extraction = Extraction(query, sources)
        found = records_of(extraction)
    expected = [
        each.record for each in packets if query.from_ns <= each.ts_ns <= query.to_ns and wants(query, each.packet)
    ]
    assert sorted(found) == sorted(expected)
    assert [time for time, *_ in found] == sorted(time for time, *_ in found)
    report = extraction.report
    assert report.is_complete
    assert (report.packets, report.bytes) == (len(found), 24 + sum(16 + len(each[1]) for each in found))
    assert (report.first_ns, report.last_ns) == ((found[0][0], found[-1][0]) if found else (None, None))


def test_only_what_the_index_points_to_is_read(tmp_path: Path) -> None:
    """Of a segment of some mebibytes the pages around three packets, of one without the flow nothing but its index."""
    frame, wanted = udp_frame(A, B, (1, 2), 1400), udp_frame(A, B, (7, 7))
    records = [(T + i, frame, 1400) for i in range(4000)]
    for i in (10, 2000, 3900):
        records[i] = (T + i, wanted, 60)
    for name, content in (
        ("edge-20261121T101500.000000000Z-0", records),
        ("edge-20261121T101501.000000000Z-0", records[11:1999]),
    ):
        path = tmp_path / f"{name}.pcap"
        path.write_bytes(make_pcap(content))
        index_pcap(path, tmp_path / f"{name}.pcap.idx")
    extraction = Extraction(Query(ports=(7, 7)), find_sources(tmp_path))
    assert records_of(extraction) == [records[i] for i in (10, 2000, 3900)]
    report = extraction.report
    assert report.read_bytes <= 24 + 3 * (1 << 14) + 3 * 1416
    assert report.unindexed == 0


def test_sources_are_open_only_when_their_time_has_come(tmp_path: Path) -> None:
    """So many segments that follow each other are read with one open at a time."""
    paths = [segment(tmp_path, i, T + i * S, T + i * S + 5) for i in range(20)]
    opened: set[Path] = set()
    most: list[int] = []

    class Watched(FileSource):
        @contextmanager
        def open(self) -> Iterator[OpenFile]:
            with super().open() as file:
                opened.add(self.path)
                most.append(len(opened))
                yield file
                opened.discard(self.path)

    sources = [Watched(path, first_ns=T + i * S, last_ns=T + i * S + 5) for i, path in enumerate(paths)]
    assert len(records_of(Extraction(Query(), sources))) == 40
    assert most == [1] * 20
    assert not opened


def test_a_plan_leaves_out_what_is_not_in_time() -> None:
    """And puts the others into the order in which they begin; what grows may have anything that is yet to come."""
    first, second = FileSource(Path("a"), first_ns=10, last_ns=20), FileSource(Path("b"), first_ns=5, last_ns=9)
    growing = FileSource(Path("c"), first_ns=21, last_ns=22, is_growing=True)
    unknown = FileSource(Path("d"))
    everything = [first, second, growing, unknown]
    assert plan(Query(from_ns=10, to_ns=20), everything) == [unknown, first]
    assert plan(Query(from_ns=30), everything) == [unknown, growing]
    assert plan(Query(), everything) == [unknown, second, first, growing]


def test_a_limit_leaves_whole_packets_and_says_so(tmp_path: Path) -> None:
    """With the file's header."""
    segment(tmp_path, 1, T, T + 1, T + 2)
    extraction = Extraction(Query(), find_sources(tmp_path), max_bytes=24 + 2 * 76)
    assert len(records_of(extraction)) == 2
    assert (extraction.report.bytes, extraction.report.is_capped) == (24 + 2 * 76, True)
    assert not extraction.report.is_complete
    assert not Extraction(Query(), [], max_bytes=0).report.is_capped


def test_a_segment_that_is_deleted_meanwhile_is_a_gap(tmp_path: Path) -> None:
    """Its span is named, the others are read."""
    gone, _ = segment(tmp_path, 1, T, T + 5), segment(tmp_path, 2, T + 10)
    sources = find_sources(tmp_path)
    gone.unlink()
    extraction = Extraction(Query(from_ns=T + 1), sources)
    assert len(records_of(extraction)) == 1
    report = extraction.report
    assert report.gaps == (Gap(T + 1, T + 5, "deleted"),)
    assert [flaw.source for flaw in report.flaws] == [str(gone)]
    assert not report.is_complete


def test_a_damaged_segment_is_a_gap_and_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Torn at its end, with nonsense in it, or no PCAP any more."""
    torn = segment(tmp_path, 1, T, T + 1, is_indexed=False)
    broken = segment(tmp_path, 2, T + 10, T + 11, is_indexed=False)
    other = segment(tmp_path, 3, T + 20)
    sources = find_sources(tmp_path)
    torn.write_bytes(torn.read_bytes()[:-1])
    broken.write_bytes(broken.read_bytes()[: 24 + 76] + b"\xff" * 76)
    other.write_bytes(b"something else, much longer than the header of a PCAP")
    extraction = Extraction(Query(), sources)
    assert [time for time, *_ in records_of(extraction)] == [T, T + 10]
    assert [gap.reason for gap in extraction.report.gaps] == ["damaged"] * 3
    assert {flaw.source for flaw in extraction.report.flaws} == {str(torn), str(broken), str(other)}


def test_a_damaged_index_costs_time_only(tmp_path: Path) -> None:
    """The segment is read whole; the index is told of."""
    path = segment(tmp_path, 1, T, T + 1)
    index = path.with_name(f"{path.name}.idx")
    index.write_bytes(b"\0" * len(index.read_bytes()))
    extraction = Extraction(Query(ports=(1,)), find_sources(tmp_path))
    assert len(records_of(extraction)) == 2
    report = extraction.report
    assert (report.is_complete, report.unindexed, len(report.flaws)) == (True, 1, 1)


def test_gaps_of_the_time_make_it_incomplete_but_the_cutoff_does_not(tmp_path: Path) -> None:
    """Those outside the time are none; what was cut off is counted."""
    segment(tmp_path, 1, T)
    gaps = [
        Gap(T + 5, T + 9, "kernel", 3, None),
        Gap(T - 9, T - 1, "down"),
        Gap(T + 1, T + 2, "cutoff", 40, 60_000),
        Gap(T, T, "budget", None, 1 << 30),
    ]
    extraction = Extraction(Query(from_ns=T, to_ns=T + 5), find_sources(tmp_path), gaps)
    assert len(records_of(extraction)) == 1
    report = extraction.report
    assert (report.gaps, report.cutoff_packets) == ((gaps[3], gaps[0]), 40)
    assert not report.is_complete
    document = report.document()
    assert document["missing"] == [
        "budget: from 2026-11-21T10:15:00.000000000Z to 2026-11-21T10:15:00.000000000Z (1,073,741,824 bytes)",
        "kernel: from 2026-11-21T10:15:00.000000005Z to 2026-11-21T10:15:00.000000009Z (3 packets)",
    ]
    msgspec.json.encode(document)
    only_cut = Extraction(Query(from_ns=T + 1, to_ns=T + 2), [], gaps)
    assert only_cut.report.is_complete


def test_an_expression_is_one_more_condition(tmp_path: Path) -> None:
    """Compiled for the link type of the segments; nonsense is a mistake of the one who asks."""
    segment(tmp_path, 1, T, T + 1)
    segment(tmp_path, 2, T + 2)
    sources = find_sources(tmp_path)
    assert len(records_of(Extraction(Query(bpf="udp src port 1"), sources))) == 2
    assert records_of(Extraction(Query(bpf="udp src port 1", ports=(2,)), sources)) == []
    with pytest.raises(ConfigError, match="no filter") as caught:
        Extraction(Query(bpf="tuesday"), sources)
    assert caught.value.key == "bpf"


def test_link_types_are_not_mixed(tmp_path: Path) -> None:
    """One PCAP holds one: that is said before anything is read, or as soon as it is seen."""
    first, second = segment(tmp_path, 1, T), segment(tmp_path, 2, T + 1, linktype=RAW)
    with pytest.raises(ApplianceError, match=r"link types \(1, 101\)"):
        Extraction(Query(), find_sources(tmp_path))
    with pytest.raises(ApplianceError, match="link type is 101"):
        list(Extraction(Query(), [FileSource(first), FileSource(second)]))
    assert b"".join(Extraction(Query(from_ns=T + 1), find_sources(tmp_path, from_ns=T + 1)))[20:24] == b"\x65\0\0\0"


def test_nothing_found_is_a_pcap_without_packets(tmp_path: Path) -> None:
    """That other programs can read."""
    extraction = Extraction(Query(hosts=(IPv4Address(A),)), [])
    assert extraction.write(tmp_path / "x.pcap") == tmp_path / "x.pcap"
    assert (tmp_path / "x.pcap").read_bytes() == make_pcap([])
    assert extraction.report.is_complete


def test_progress_goes_from_nothing_to_everything(tmp_path: Path) -> None:
    """In sources, whether they are read, left out, or gone."""
    for i in range(4):
        segment(tmp_path, i, T + i * S, is_indexed=i != 2)
    seen: list[tuple[float, int]] = []
    extraction = Extraction(
        Query(ports=(2,)), find_sources(tmp_path), progress=lambda done, total: seen.append((done, total))
    )
    assert len(records_of(extraction)) == 1
    assert seen[-1][0] == pytest.approx(4)
    assert {total for _, total in seen} == {4}


def test_leaving_early_closes_everything(tmp_path: Path) -> None:
    """A client that goes away; nothing can be asked of a closed merge, but the report is there."""
    segment(tmp_path, 1, T)
    extraction = Extraction(Query(), find_sources(tmp_path))
    blocks = iter(extraction)
    next(blocks)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert extraction.report.read_bytes >= 24
