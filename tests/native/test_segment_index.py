"""The index of a segment, complete or growing, against a search through every record; damage and bounds."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import (
    Extent,
    FlowQuery,
    FlowTable,
    Seen,
    SegmentIndex,
    SegmentIndexWriter,
    community_id,
    flow_key,
    index_pcap,
)

from .packets import ETHERNET, UDP, make_pcap, read_records, udp_frame
from .wanted import read_wanted

CHUNK, MIB = 1 << 14, 1 << 20
T0_NS = 1_700_000_000 * 10**9
HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.200"]


class Sent(NamedTuple):
    ts_ns: int
    source: str
    destination: str
    ports: tuple[int, int]
    size: int

    def frame(self, serial: int) -> bytes:
        return udp_frame(self.source, self.destination, self.ports, serial=serial).ljust(self.size, b"\0")


SENT = st.builds(
    Sent,
    st.integers(T0_NS, T0_NS + 10**10),
    st.sampled_from(HOSTS),
    st.sampled_from(HOSTS),
    st.tuples(st.sampled_from([1, 53, 5000]), st.sampled_from([2, 53])),
    st.sampled_from([60, 1500, 250_000, 262_144]),
)


def queries(sent: list[Sent]) -> Iterator[tuple[FlowQuery, list[int]]]:
    """Queries of each kind, and which of the packets they want."""

    def wanted(test: object) -> list[int]:
        assert callable(test)
        return [i for i, packet in enumerate(sent) if test(packet)]

    yield FlowQuery(), list(range(len(sent)))
    middle = T0_NS + 5 * 10**9
    yield FlowQuery(from_ns=middle), wanted(lambda packet: packet.ts_ns >= middle)
    yield FlowQuery(to_ns=middle), wanted(lambda packet: packet.ts_ns <= middle)
    yield FlowQuery(proto=UDP), list(range(len(sent)))
    yield FlowQuery(proto=6), []
    for host in [*HOSTS, "10.0.0.77"]:
        yield FlowQuery(hosts=(host,)), wanted(lambda packet, host=host: host in (packet.source, packet.destination))
    for port in (1, 2, 53, 54):
        yield FlowQuery(ports=(port,)), wanted(lambda packet, port=port: port in packet.ports)
    pair = {HOSTS[0], HOSTS[1]}
    yield (
        FlowQuery(hosts=(HOSTS[1], HOSTS[0]), from_ns=middle),
        wanted(lambda packet: {packet.source, packet.destination} == pair and packet.ts_ns >= middle),
    )
    for key in {flow_key(packet.source, packet.destination, UDP, packet.ports) for packet in sent[:5]}:
        assert key.first is not None
        assert key.second is not None
        same = wanted(lambda packet, key=key: flow_key(packet.source, packet.destination, UDP, packet.ports) == key)
        yield FlowQuery(community_id=community_id(key)), same
        yield FlowQuery(community_id=community_id(key, 7), community_seed=7), same
        ends = ((key.first, key.second), (key.first_port, key.second_port))
        yield FlowQuery(hosts=ends[0], ports=ends[1], proto=UDP, is_conn=True), same
        yield FlowQuery(hosts=ends[0][::-1], ports=ends[1][::-1], proto=UDP, is_conn=True), same


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    fd = os.memfd_create("segment")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


def contents(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def assert_found(pcap_fd: int, index_fd: int, sent: list[Sent]) -> None:
    records = [(packet.ts_ns, packet.frame(i), packet.size) for i, packet in enumerate(sent)]
    index = SegmentIndex(index_fd)
    for query, wanted in queries(sent):
        extents = index.lookup(query, os.fstat(pcap_fd).st_size)
        assert read_records(read_wanted(pcap_fd, query, extents)) == [records[i] for i in wanted], query


def write_pcap(fd: int, sent: list[Sent]) -> None:
    os.write(fd, make_pcap([(packet.ts_ns, packet.frame(i), packet.size) for i, packet in enumerate(sent)]))


def post(writer: SegmentIndexWriter, table: FlowTable, sent: list[Sent]) -> None:
    packets = [Seen(packet.ts_ns, packet.frame(i), packet.size) for i, packet in enumerate(sent)]
    writer.add(table, ETHERNET, packets, 24)


@settings(max_examples=25, deadline=None)
@given(st.lists(SENT, max_size=30), st.integers(0, 30), st.sampled_from([8, 1024]))
def test_a_query_finds_what_a_search_through_all_records_finds(sent: list[Sent], known: int, slots: int) -> None:
    """Complete or with a journal that lags behind, also if the table forgets flows in between."""
    writer, table = SegmentIndexWriter(64), FlowTable(slots)
    with memory_file() as pcap, memory_file() as journal, memory_file() as index:
        write_pcap(pcap, sent)
        writer.begin(ETHERNET)
        packets = [Seen(packet.ts_ns, packet.frame(i), packet.size) for i, packet in enumerate(sent)]
        end = writer.add(table, ETHERNET, packets[:known], 24)
        writer.journal(journal)
        assert_found(pcap, journal, sent)
        writer.add(table, ETHERNET, packets[known:], end)
        writer.journal(journal)
        assert_found(pcap, journal, sent)
        writer.finish(index)
        assert_found(pcap, index, sent)
        assert writer.counts().packets == SegmentIndex(index).info().packets == len(sent)


def many(n: int, size: int = 1000, flows: int = 400) -> list[Sent]:
    """Packets of random flows between many hosts."""
    choose = random.Random(7)
    ends = [
        (str(ip_address(0x0A010000 + i)), str(ip_address(0x0A020000 + i % 50)), (1024 + i, 443)) for i in range(flows)
    ]
    return [Sent(T0_NS + i, *ends[choose.randrange(flows)], size) for i in range(n)]


def test_flows_have_the_counts_of_their_packets(tmp_path: Path) -> None:
    """Also where the table is so small that it forgets nearly every flow between two packets."""
    sent = many(3000)
    (tmp_path / "a.pcap").write_bytes(make_pcap([(packet.ts_ns, packet.frame(0), packet.size) for packet in sent]))
    expected: dict[object, tuple[int, int]] = {}
    for packet in sent:
        key = flow_key(packet.source, packet.destination, UDP, packet.ports)
        packets, wire_bytes = expected.get(key, (0, 0))
        expected[key] = (packets + 1, wire_bytes + packet.size)
    for slots in (16, 4096):
        counts = index_pcap(tmp_path / "a.pcap", tmp_path / "a.idx", table=FlowTable(slots))
        assert (counts.packets, counts.unindexed) == (3000, 0)
        assert counts.chunks == len({(24 + 1016 * i) // CHUNK for i in range(3000)})
        with (tmp_path / "a.idx").open("rb") as file:
            flows, n = SegmentIndex(file.fileno()).flows(FlowQuery(), 5000)
        assert n == len(flows) == len(expected)
        assert {flow.key: (sum(flow.totals.packets), sum(flow.totals.wire_bytes)) for flow in flows} == expected


def test_flows_are_listed_by_query_and_time(tmp_path: Path) -> None:
    """A flow is listed if its span meets the query's; a limit leaves the number known."""
    sent = many(2000)
    (tmp_path / "a.pcap").write_bytes(make_pcap([(packet.ts_ns, packet.frame(0), packet.size) for packet in sent]))
    index_pcap(tmp_path / "a.pcap", tmp_path / "a.idx")
    with (tmp_path / "a.idx").open("rb") as file:
        index = SegmentIndex(file.fileno())
        host = sent[0].destination
        flows, n = index.flows(FlowQuery(hosts=(host,)), 3)
        assert len(flows) == 3
        assert n == len({packet[1:4] for packet in sent if packet.destination == host})
        early = FlowQuery(to_ns=T0_NS + 99)
        assert index.flows(early, 1)[1] == len({packet[1:4] for packet in sent[:100]})
        assert index.flows(FlowQuery(from_ns=T0_NS + 2000), 1) == ([], 0)


def test_a_lookup_leaves_out_what_has_no_wanted_packet() -> None:
    """Of 20 mebibytes only the three packets of the flow are read, and what a journal does not have yet."""
    sent = [Sent(T0_NS + i, HOSTS[0], HOSTS[1], (1, 2), 262_144) for i in range(80)]
    for i in (5, 40, 41):
        sent[i] = sent[i]._replace(source=HOSTS[2])
    writer = SegmentIndexWriter(64)
    with memory_file() as pcap, memory_file() as journal, memory_file() as index:
        write_pcap(pcap, sent)
        writer.begin(ETHERNET)
        post(writer, FlowTable(64), sent)
        writer.journal(journal)
        writer.finish(index)
        size = os.fstat(pcap).st_size
        for fd in (index, journal):
            found = SegmentIndex(fd).lookup(FlowQuery(hosts=(HOSTS[2],)), size)
            record = 262_144 + 16
            expected = [Extent(24 + 5 * record, record), Extent(24 + 40 * record, 2 * record)]
            assert found[: len(expected)] == expected
            assert sum(extent.length for extent in found) <= 4 * record
        late = SegmentIndex(index).lookup(FlowQuery(from_ns=T0_NS + 79), size)
        assert late == [Extent(size - record, record)]


def test_too_many_flows_are_found_by_filters() -> None:
    """More flows than there is room for: nothing is missed, and hardly anything is read in vain."""
    sent = many(16_000, size=1500, flows=300)
    alone = Sent(T0_NS, "10.9.9.9", "10.8.8.8", (7, 7), 1500)
    for i in (9000, 15_000):
        sent[i] = alone._replace(ts_ns=T0_NS + i)
    writer = SegmentIndexWriter(64)
    with memory_file() as pcap, memory_file() as journal, memory_file() as index:
        write_pcap(pcap, sent)
        writer.begin(ETHERNET)
        post(writer, FlowTable(4096), sent)
        writer.journal(journal)
        writer.finish(index)
        counts = writer.counts()
        assert counts.flows == 64
        assert counts.unindexed > 10_000
        conn = FlowQuery(hosts=(alone.source, alone.destination), ports=(7, 7), proto=UDP, is_conn=True)
        for fd in (index, journal):
            for query in (conn, FlowQuery(hosts=(alone.source,)), FlowQuery(ports=(7,))):
                extents = SegmentIndex(fd).lookup(query, os.fstat(pcap).st_size)
                found = read_records(read_wanted(pcap, query, extents))
                assert [record[0] - T0_NS for record in found] == [9000, 15_000]
                assert sum(extent.length for extent in extents) < 3 * MIB or not query.hosts


def test_the_index_of_a_flood_is_bounded() -> None:
    """Every packet a flow: the file stays below 2 % and 4 MiB for flows, and 256 bytes for each 16 KiB."""
    sent = [Sent(T0_NS + i, str(ip_address(0x0B000000 + i)), HOSTS[0], (i & 0xFFFF, 80), 60) for i in range(60_000)]
    writer, table = SegmentIndexWriter(1 << 20), FlowTable(1024)
    with memory_file() as index:
        writer.begin(ETHERNET)
        end = 24
        for start in range(0, len(sent), 10_000):
            packets = [Seen(packet.ts_ns, packet.frame(0), 60) for packet in sent[start : start + 10_000]]
            end = writer.add(table, ETHERNET, packets, end)
        writer.finish(index)
        counts = writer.counts()
        assert counts.flows + counts.unindexed == len(sent)
        assert counts.unindexed > 20_000
        assert (
            os.fstat(index).st_size
            <= 4 * MIB + 0.02 * end + (256 + 40 + 4) * counts.chunks + 2 * counts.unindexed + 8192
        )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_every_kind_of_pcap_can_be_indexed(tmp_path: Path, order: str, nano: bool) -> None:
    """Both resolutions in both byte orders give the same index and the same records."""
    sent = [packet._replace(ts_ns=T0_NS + 1000 * i) for i, packet in enumerate(many(2000))]
    records = [(packet.ts_ns, packet.frame(i), packet.size) for i, packet in enumerate(sent)]
    path, out = tmp_path / "a.pcap", tmp_path / "a.idx"
    path.write_bytes(make_pcap(records, order=order, nano=nano))
    counts = index_pcap(path, out)
    assert (counts.packets, counts.first_ns, counts.last_ns) == (2000, T0_NS, T0_NS + 1_999_000)
    assert counts.pcap_bytes == path.stat().st_size
    with path.open("rb") as pcap, out.open("rb") as index:
        assert_found(pcap.fileno(), index.fileno(), sent)


def test_a_torn_pcap_is_indexed_up_to_its_tear(tmp_path: Path) -> None:
    """At every length of a small file; what is not indexed counts as wanted."""
    data = make_pcap([(T0_NS + i, udp_frame(HOSTS[0], HOSTS[1], (1, 2)), 60) for i in range(4)])
    path, out = tmp_path / "a.pcap", tmp_path / "a.idx"
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        if size < 24:
            with pytest.raises(ValueError, match="damaged"):
                index_pcap(path, out)
            assert not out.exists()
            continue
        counts = index_pcap(path, out)
        assert counts.packets == (size - 24) // 76
        assert counts.pcap_bytes == 24 + 76 * counts.packets
        with out.open("rb") as file:
            assert SegmentIndex(file.fileno()).lookup(FlowQuery(ports=(9,)), size) == (
                [Extent(counts.pcap_bytes, size - counts.pcap_bytes)] if size > counts.pcap_bytes else []
            )


@pytest.fixture
def small() -> tuple[list[Sent], bytes, bytes, bytes]:
    """A segment of twelve large packets: PCAP, journal, index."""
    sent = [Sent(T0_NS + i, HOSTS[i % 3], HOSTS[3], (i % 4, 53), 262_144) for i in range(12)]
    writer = SegmentIndexWriter(64)
    with memory_file() as pcap, memory_file() as journal, memory_file() as index:
        write_pcap(pcap, sent)
        writer.begin(ETHERNET)
        post(writer, FlowTable(64), sent)
        writer.finish(index)
        writer.journal(journal)
        return sent, contents(pcap), contents(journal), contents(index)


def test_a_torn_journal_says_less_and_nothing_wrong(small: tuple[list[Sent], bytes, bytes, bytes]) -> None:
    """At every length what it does not cover is read."""
    sent, pcap_bytes, journal, _ = small
    queried = FlowQuery(hosts=(HOSTS[1],))
    wanted = [packet.ts_ns for packet in sent if packet.source == HOSTS[1]]
    with memory_file(pcap_bytes) as pcap:
        for size in range(4096, len(journal) + 1):
            with memory_file(journal[:size]) as fd:
                extents = SegmentIndex(fd).lookup(queried, len(pcap_bytes))
                assert [record[0] for record in read_records(read_wanted(pcap, queried, extents))] == wanted
    with memory_file(journal[:100]) as fd, pytest.raises(ValueError, match="damaged"):
        SegmentIndex(fd)


def test_a_torn_index_is_refused(small: tuple[list[Sent], bytes, bytes, bytes]) -> None:
    """At every length but the whole one."""
    index = small[3]
    for size in [*range(0, 4096, 64), *range(4096, len(index))]:
        with memory_file(index[:size]) as fd, pytest.raises(ValueError, match="damaged"):
            SegmentIndex(fd)


def test_a_flipped_bit_is_noticed_where_it_matters(small: tuple[list[Sent], bytes, bytes, bytes]) -> None:
    """A lookup of a damaged index fails or is right: each page is checked before it is used."""
    _, pcap, _, index = small
    query, refused = FlowQuery(hosts=(HOSTS[1],)), 0
    with memory_file(index) as fd:
        right = SegmentIndex(fd).lookup(query, len(pcap))
    for at in [*range(struct.calcsize("Q"), 4096, 7), *range(4096, len(index))]:
        with memory_file(index[:at] + bytes([index[at] ^ 0x10]) + index[at + 1 :]) as fd:
            try:
                assert SegmentIndex(fd).lookup(query, len(pcap)) == right
            except ValueError:
                refused += 1
    assert refused >= len(index) - 4096


def test_a_writer_serves_one_segment_after_another() -> None:
    """Nothing of the segment before is in the next one."""
    writer, table = SegmentIndexWriter(64), FlowTable(64)
    for i in range(3):
        sent = [Sent(T0_NS + i, HOSTS[i], HOSTS[3], (1, 2), 262_144)] * 9
        with memory_file() as pcap, memory_file() as journal, memory_file() as index:
            write_pcap(pcap, sent)
            writer.begin(ETHERNET, community_seed=0)
            post(writer, table, sent)
            writer.journal(journal)
            writer.finish(index)
            assert_found(pcap, journal, sent)
            assert_found(pcap, index, sent)
            assert len(SegmentIndex(index).flows(FlowQuery())[0]) == 1


def test_a_journal_does_not_list_flows() -> None:
    """It has no counts."""
    writer = SegmentIndexWriter(64)
    with memory_file() as journal:
        writer.begin(ETHERNET)
        writer.journal(journal)
        reader = SegmentIndex(journal)
        assert not reader.info().is_complete
        with pytest.raises(ValueError, match="journal"):
            reader.flows(FlowQuery())


def test_what_cannot_be_written_is_an_error() -> None:
    """A journal that failed once says so until the next segment."""
    writer = SegmentIndexWriter(64)
    with Path("/dev/full").open("wb", buffering=0) as full, memory_file() as journal:
        for _ in range(2):
            with pytest.raises(OSError, match="space"):
                writer.journal(full.fileno())
            writer.begin(ETHERNET)
        writer.journal(journal)
        with pytest.raises(OSError, match="space"):
            writer.finish(full.fileno())


@pytest.mark.parametrize(
    "query",
    [
        FlowQuery(hosts=("10.0.0.1",) * 3),
        FlowQuery(ports=(65536,)),
        FlowQuery(hosts=("nonsense",)),
        FlowQuery(community_id="1:LQU9qZlK+B5F3KDmev6m5PMibr=="),
        FlowQuery(community_id="2:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        FlowQuery(community_id="1:LQU9qZlK+B5F3KDmev6m5PMibrh="),
    ],
)
def test_impossible_queries_are_refused(query: FlowQuery) -> None:
    """Two hosts, two ports of 16 bits, a Community ID as it is written."""
    with pytest.raises(ValueError, match=r"query|address|Community"):
        query.fill()
