"""Files merged by time: against a sort, with bounds, damage and filters."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import Extent, FlowQuery, MergeEnd, PcapMerge, compile_filter

from .packets import ETHERNET, UDP, ipv4, link, make_pcap, read_records, transport, udp_frame

Records = list[tuple[int, bytes, int]]
A, B = "10.0.0.1", "10.0.0.2"


def frame(serial: int, ports: tuple[int, int] = (1, 2)) -> bytes:
    return udp_frame(A, B, ports, serial=serial)


def record(ts_ns: int, data: bytes) -> tuple[int, bytes, int]:
    return ts_ns, data, len(data)


def read_all(merge: PcapMerge) -> Records:
    return read_records(b"".join(iter(merge.read, None)))


def written(stack: ExitStack, content: bytes) -> int:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
    stack.callback(file.close)
    file.write(content)
    file.flush()
    return file.fileno()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 50), max_size=30), max_size=8), st.integers(0, 40), st.integers(10, 50))
def test_files_are_merged_as_a_stable_sort_does(files: list[list[int]], from_ns: int, to_ns: int) -> None:
    """Of files that are in order each: all packets in time, by time; equal times in the order of the files."""
    merge = PcapMerge(FlowQuery(from_ns, to_ns))
    serial, expected = 0, []
    with ExitStack() as stack:
        for times in files:
            records = [record(time, frame(serial := serial + 1)) for time in sorted(times)]
            merge.add(written(stack, make_pcap(records)))
            expected += [each for each in records if from_ns <= each[0] <= to_ns]
        assert read_all(merge) == sorted(expected, key=lambda each: each[0])
        assert sorted(end.number for end in merge.ended()) == list(range(len(files)))
        assert merge.counts().packets == len(expected)


def test_files_may_come_when_their_time_does(tmp_path: Path) -> None:
    """What is not earlier than the bound waits until it is given; a file that ends gives its place to another one."""
    merge = PcapMerge(FlowQuery())
    paths = [tmp_path / str(i) for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(make_pcap([record(10 * i + j, frame(j)) for j in (1, 12)]))
    with ExitStack() as stack:
        fds = [stack.enter_context(path.open("rb")).fileno() for path in paths]
        assert merge.add(fds[0]) == (0, ETHERNET)
        assert [time for time, *_ in read_records(merge.read(11) or b"")] == [1]
        assert merge.read(11) is None
        assert merge.add(fds[1]) == (1, ETHERNET)
        assert [time for time, *_ in read_records(merge.read(21) or b"")] == [11, 12]
        assert list(merge.ended()) == [MergeEnd(0, 0, 0, 0)]
        assert merge.add(fds[2])[0] == 0
        assert [time for time, *_ in read_all(merge)] == [21, 22, 32]


def test_a_file_out_of_order_keeps_its_own(tmp_path: Path) -> None:
    """As in the file, and packets of others come where its head is."""
    merge = PcapMerge(FlowQuery())
    with ExitStack() as stack:
        for times in ([5, 3, 9], [4, 6]):
            merge.add(written(stack, make_pcap([record(time, frame(time)) for time in times])))
        assert [time for time, *_ in read_all(merge)] == [4, 5, 3, 6, 9]


def test_only_the_extents_are_read() -> None:
    """The counts say how little: the file's header and what the extents hold."""
    records = [record(i, frame(i)) for i in range(1000)]
    size = 16 + len(frame(0))
    with ExitStack() as stack:
        fd = written(stack, make_pcap(records))
        merge = PcapMerge(FlowQuery())
        merge.add(fd, [Extent(24 + 10 * size, 2 * size), Extent(24 + 700 * size, size)])
        assert read_all(merge) == [records[10], records[11], records[700]]
        counts = merge.counts()
    assert (counts.read_bytes, counts.read_packets, counts.bytes) == (24 + 3 * size, 3, 3 * size)
    assert (counts.first_ns, counts.last_ns) == (10, 700)


def test_a_limit_is_kept_exactly() -> None:
    """As many whole packets as it holds; that there are more is said."""
    records = [record(i, frame(i)) for i in range(10)]
    size = 16 + len(frame(0))
    with ExitStack() as stack:
        fd = written(stack, make_pcap(records))
        for limit, count, is_full in ((3 * size, 3, True), (4 * size - 1, 3, True), (10 * size, 10, False)):
            merge = PcapMerge(FlowQuery(), max_bytes=limit)
            merge.add(fd)
            assert read_all(merge) == records[:count]
            assert merge.is_full is is_full


def test_damage_ends_an_extent_and_is_told() -> None:
    """An impossible record, a torn one, and an extent that the file does not reach; the other extents are read."""
    good, size = [record(i, frame(i)) for i in range(4)], 16 + len(frame(0))
    impossible = struct.pack("=IIII", 1, 1, 1 << 30, 1 << 30)
    with ExitStack() as stack:
        cases = [
            (make_pcap(good[:2]) + impossible + make_pcap(good[2:])[24:], None, good[:2], (0, 1, 0)),
            (make_pcap(good)[:-1], None, good[:3], (0, 0, 1)),
            (make_pcap(good), [Extent(24, size), Extent(24 + 3 * size, 2 * size)], [good[0], good[3]], (0, 0, 1)),
            (make_pcap(good), [Extent(24 + 9 * size, size)], [], (0, 0, 1)),
            (make_pcap(good) + bytes(100), None, good, (0, 0, 1)),
        ]
        for content, extents, expected, (error, damaged, torn) in cases:
            merge = PcapMerge(FlowQuery())
            merge.add(written(stack, content), extents)
            assert read_all(merge) == expected
            assert list(merge.ended()) == [MergeEnd(0, error, damaged, torn)]


def test_an_error_of_the_disk_ends_its_file_only() -> None:
    """The descriptor was closed, in place of a disk that fails: the other file is read."""
    records = [record(i, frame(i)) for i in range(3)]
    with ExitStack() as stack:
        merge = PcapMerge(FlowQuery())
        fd = os.dup(written(stack, make_pcap(records)))
        merge.add(fd)
        merge.add(written(stack, make_pcap(records)))
        os.close(fd)
        assert read_all(merge) == records
        assert sorted(merge.ended()) == [MergeEnd(0, errno.EBADF, 0, 0), MergeEnd(1, 0, 0, 0)]


def test_what_is_no_pcap_is_refused() -> None:
    """And takes no place."""
    merge = PcapMerge(FlowQuery())
    with ExitStack() as stack:
        for content in (b"", b"no PCAP file, but long enough for its header"):
            with pytest.raises(ValueError, match="no PCAP"):
                merge.add(written(stack, content))
        assert merge.add(written(stack, make_pcap([])))[0] == 0
    assert merge.read() is None


def test_there_is_a_bound_for_files_at_once() -> None:
    """The one beyond it is refused, and the others stay."""
    merge = PcapMerge(FlowQuery())
    with ExitStack() as stack:
        fd = written(stack, make_pcap([record(1, frame(1))]))
        for _ in range(1024):
            merge.add(fd)
        with pytest.raises(OSError, match="Too many") as caught:
            merge.add(fd)
        assert caught.value.errno == errno.EMFILE
        assert len(read_all(merge)) == 1024


def test_a_filter_is_run_over_every_packet() -> None:
    """With the other conditions, and against the true length."""
    records = [record(i, frame(i, (53, 1000 + i % 4))) for i in range(40)]
    with ExitStack() as stack:
        fd = written(stack, make_pcap(records))
        for text, wanted in (
            ("port 1001 or port 1002", (1, 2)),
            ("not udp", ()),
            ("greater 61", ()),
            ("len = 60", range(4)),
        ):
            merge = PcapMerge(FlowQuery(from_ns=8), filter=compile_filter(text))
            merge.add(fd)
            assert read_all(merge) == [each for each in records[8:] if each[0] % 4 in wanted]


@pytest.mark.parametrize("code", [b"\0" * 7, struct.pack("=HBBI", 0x05, 0, 0, 7), bytes(8 * 5000)])
def test_what_is_no_program_is_refused(code: bytes) -> None:
    """Half an instruction, a jump out of itself, and too many."""
    with pytest.raises(ValueError, match="PcapMerge"):
        PcapMerge(FlowQuery(), filter=code)


def test_a_fragment_finds_its_first_one_in_another_file() -> None:
    """A datagram's fragments are its flow's wherever they were written."""
    body = transport(UDP, (1000, 2000), bytes(64))
    ends = IPv4Address(A), IPv4Address(B)
    first = link(ETHERNET, 4, [], 0, ipv4(*ends, UDP, body[:40], fragment=0x2000, ident=7))
    later = link(ETHERNET, 4, [], 0, ipv4(*ends, UDP, body[40:], fragment=5, ident=7))
    stranger = link(ETHERNET, 4, [], 0, ipv4(*ends, UDP, body[40:], fragment=5, ident=8))
    with ExitStack() as stack:
        merge = PcapMerge(FlowQuery(ports=(1000,)))
        for content in ([record(1, first)], [record(2, later), record(3, stranger)]):
            merge.add(written(stack, make_pcap(content)))
        assert [time for time, *_ in read_all(merge)] == [1, 2]
