"""Extraction from a capture of many protocols, against what tshark finds in it and against a search by dpkt."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections import defaultdict
from ipaddress import IPv4Address
from pathlib import Path

import dpkt
import pytest

from appliance.native import (
    FlowKey,
    FlowQuery,
    PcapMerge,
    SegmentIndex,
    community_id,
    flow_key,
    index_pcap,
)

from .packets import ETHERNET, read_records
from .wanted import read_segment

GOLDEN = Path(__file__).parents[1] / "golden" / "pcap" / "mix1.pcap.xz"
TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")

Records = list[tuple[int, bytes, int]]


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Records]:
    """The capture, its index, and its records."""
    path = tmp_path_factory.mktemp("mix") / "mix1.pcap"
    path.write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    index_pcap(path, path.with_suffix(".idx"))
    with path.open("rb") as file:
        records = [(round(ts * 10**6) * 1000, data, len(data)) for ts, data in dpkt.pcap.Reader(file)]
    return path, path.with_suffix(".idx"), records


def found(mix: tuple[Path, Path, Records], query: FlowQuery) -> Records:
    return read_records(read_segment(mix[0], query, mix[1]))


def by_key(key: FlowKey) -> FlowQuery:
    assert key.first is not None
    assert key.second is not None
    ports = (key.first_port, key.second_port) if key.has_ports else ()
    return FlowQuery(hosts=(key.first, key.second), ports=ports, proto=key.proto, is_conn=True)


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    """Rows of fields."""
    command = [TSHARK or "tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", *arguments]
    output = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout
    return [line.split("\t") for line in output.splitlines()]


def keys_by_dpkt(records: Records) -> dict[FlowKey, list[int]]:
    """Which packets each flow has."""
    flows = defaultdict(list)
    for i, (_, data, _) in enumerate(records):
        ip = dpkt.ethernet.Ethernet(data).data
        if isinstance(ip, dpkt.ip.IP):
            inner, ports = ip.data, None
            if isinstance(inner, dpkt.tcp.TCP | dpkt.udp.UDP):
                ports = (inner.sport, inner.dport)
            elif isinstance(inner, dpkt.icmp.ICMP):
                ports = (inner.type, inner.code)
            flows[flow_key(IPv4Address(ip.src), IPv4Address(ip.dst), ip.p, ports)].append(i)
    return flows


def test_every_flow_is_extracted_as_a_search_finds_it(mix: tuple[Path, Path, Records]) -> None:
    """By its ends, and by its Community ID: exactly its packets, in order, with their times."""
    records = mix[2]
    flows = keys_by_dpkt(records)
    assert len(flows) > 150
    for key, wanted in flows.items():
        expected = [records[i] for i in wanted]
        assert found(mix, by_key(key)) == expected
        assert found(mix, FlowQuery(community_id=community_id(key))) == expected


def test_the_index_lists_the_flows_with_their_counts(mix: tuple[Path, Path, Records]) -> None:
    """Keys, packets, true lengths and spans are those of the packets."""
    records = mix[2]
    with mix[1].open("rb") as file:
        flows, n = SegmentIndex(file.fileno()).flows(FlowQuery(), 10_000)
    expected = {
        key: (len(i), sum(records[j][2] for j in i), min(records[j][0] for j in i), max(records[j][0] for j in i))
        for key, i in keys_by_dpkt(records).items()
    }
    assert n == len(flows)
    assert {
        flow.key: (sum(flow.totals.packets), sum(flow.totals.wire_bytes), flow.totals.first_ns, flow.totals.last_ns)
        for flow in flows
        if flow.key.first is not None
    } == expected


@pytest.mark.slow
@needs_tshark
def test_every_flow_is_extracted_as_tshark_sees_it(mix: tuple[Path, Path, Records]) -> None:
    """Tshark's own addresses and ports of each packet, grouped, are what extraction gives for each flow."""
    path, _, records = mix
    fields = ["ip.src", "ip.dst", "ip.proto", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport"]
    fields += ["icmp.type", "icmp.code"]
    flows = defaultdict(list)
    for i, row in enumerate(tshark(path, *(word for field in fields for word in ("-e", field)))):
        source, destination, proto, *numbers = [*row, *[""] * (9 - len(row))]
        if source:
            own = {6: numbers[:2], 17: numbers[2:4], 1: numbers[4:]}[int(proto)]  # not those that an ICMP error quotes
            key = flow_key(source, destination, int(proto), (int(own[0]), int(own[1])) if own[0] else None)
            flows[key].append(records[i])
    assert len(flows) > 150
    for key, expected in flows.items():
        assert found(mix, by_key(key)) == expected


@pytest.mark.slow
@needs_tshark
@pytest.mark.parametrize("kind", ["conn", "host", "port", "pair", "time"])
def test_a_query_is_what_a_display_filter_is(mix: tuple[Path, Path, Records], kind: str) -> None:
    """Each kind of query against tshark's filter on the whole file."""
    path, _, records = mix
    key = max(keys_by_dpkt(records).items(), key=lambda item: len(item[1]))[0]
    middle = records[len(records) // 2][0]
    name = {6: "tcp", 17: "udp"}[key.proto]
    ends = [f"ip.addr=={key.first}", f"ip.addr=={key.second}"]
    query, display = {
        "conn": (
            by_key(key),
            " && ".join([*ends, f"{name}.port=={key.first_port}", f"{name}.port=={key.second_port}"]),
        ),
        "host": (FlowQuery(hosts=(str(key.first),)), ends[0]),
        "port": (FlowQuery(ports=(key.first_port,)), f"tcp.port=={key.first_port} || udp.port=={key.first_port}"),
        "pair": (FlowQuery(hosts=(str(key.second), str(key.first))), " && ".join(ends)),
        "time": (FlowQuery(from_ns=middle), f"frame.time_epoch >= {middle // 10**9}.{middle % 10**9:09}"),
    }[kind]
    numbers = [int(row[0]) for row in tshark(path, "-e", "frame.number", "-Y", display)]
    assert found(mix, query) == [records[number - 1] for number in numbers]
    assert numbers


def test_without_an_index_the_whole_file_is_read(mix: tuple[Path, Path, Records]) -> None:
    """The same packets come out, and everything was read."""
    path, index, records = mix
    query = FlowQuery(hosts=(str(next(key.first for key in keys_by_dpkt(records))),))
    with path.open("rb") as file:
        merge = PcapMerge(query)
        assert merge.add(file.fileno()) == (0, ETHERNET)
        found = b"".join(iter(merge.read, None))
        counts = merge.counts()
    assert found == read_segment(path, query, index)
    assert counts.read_packets == len(records)
    assert counts.packets == len(read_records(found))
    assert counts.read_bytes >= path.stat().st_size
