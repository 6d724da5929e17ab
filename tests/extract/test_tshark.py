"""Extraction by each key against tshark's display filters, for every flow of a capture of many protocols and others."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import dpkt
import pytest

from appliance.extract.extraction import Extraction
from appliance.extract.names import SegmentName
from appliance.extract.query import Query, query_of_flow
from appliance.extract.sources import FileSource, find_sources
from appliance.native import FlowKey, FlowQuery, SegmentIndex, community_id, index_pcap
from tests.native.packets import (
    ETHERNET,
    ICMPV6,
    TCP,
    UDP,
    ipv4,
    ipv6,
    link,
    make_pcap,
    read_records,
    transport,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "pcap" / "mix1.pcap.xz"
TSHARK = shutil.which("tshark")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")]
S = 10**9
NAMES = {TCP: "tcp", UDP: "udp"}
FILTERS_AT_ONCE = 64
PADDING = (1, 4, 0, 0, 0, 0)
"""The option PadN. Source: RFC 8200 section 4.2."""

Records = list[tuple[int, bytes, int]]


def count_by_tshark(path: Path, filters: list[str]) -> Iterator[tuple[int, int]]:
    """Frames and bytes for each display filter. Fragments stay as they are on the wire."""
    for start in range(0, len(filters), FILTERS_AT_ONCE):
        some = filters[start : start + FILTERS_AT_ONCE]
        statistics = ",".join(["io,stat,0", *some])
        command = [
            TSHARK or "tshark",
            "-n",
            "-r",
            str(path),
            "-o",
            "ip.defragment:FALSE",
            "-o",
            "ipv6.defragment:FALSE",
        ]
        command += ["-q", "-z", statistics]
        shown = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300).stdout
        (row,) = re.findall(r"^\| *[0-9.]+ *<> *[0-9.]+ *\|(.*)\|$", shown, re.MULTILINE)
        numbers = [int(each) for each in re.findall(r"[0-9]+", row)]
        assert len(numbers) == 2 * len(some)
        yield from zip(numbers[::2], numbers[1::2], strict=True)


def split(directory: Path, records: Records) -> list[FileSource]:
    """As a recorder with three rings has them, in segments of a thousand packets."""
    members: list[Records] = [[], [], []]
    for i, record in enumerate(records):
        members[i % 3].append(record)
    for number, member in enumerate(members):
        for start in range(0, len(member), 1000):
            part = member[start : start + 1000]
            path = directory / str(SegmentName("edge", part[0][0], number))
            path.write_bytes(make_pcap(part))
            index_pcap(path, path.with_name(f"{path.name}.idx"))
    return find_sources(directory, "edge")


def extracted(sources: list[FileSource], query: Query) -> tuple[int, int]:
    """Frames and bytes, as tshark counts them."""
    records = read_records(b"".join(Extraction(query, sources))[24:])
    assert [time for time, *_ in records] == sorted(time for time, *_ in records)
    return len(records), sum(length for *_, length in records)


def flow_filter(key: FlowKey) -> str:
    """What tshark takes for a flow of TCP or UDP; not what an ICMP error quotes of it."""
    field, version = NAMES[key.proto], "ipv6" if isinstance(key.first, IPv6Address) else "ip"
    ends = [(key.first, key.first_port), (key.second, key.second_port)]
    ways = [
        f"({version}.src=={a} && {field}.srcport=={p} && {version}.dst=={b} && {field}.dstport=={q})"
        for (a, p), (b, q) in (ends, ends[::-1])
    ]
    return f"({' || '.join(ways)}) && !icmp && !icmpv6"


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[FileSource], list[FlowKey]]:
    """The capture in the order of time, its segments, and its flows."""
    folder = tmp_path_factory.mktemp("mix")
    raw, path = folder / "raw.pcap", folder / "mix.pcap"
    raw.write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    with raw.open("rb") as file:
        records = [(round(ts * 10**6) * 1000, data, len(data)) for ts, data in dpkt.pcap.Reader(file)]
    records.sort(key=lambda record: record[0])
    path.write_bytes(make_pcap(records))
    index_pcap(path, folder / "mix.idx")
    with (folder / "mix.idx").open("rb") as file:
        flows, _ = SegmentIndex(file.fileno()).flows(FlowQuery(), 10_000)
    (folder / "edge").mkdir()
    return path, split(folder / "edge", records), [flow.key for flow in flows if flow.key.first is not None]


def test_every_flow_by_its_ends_and_by_its_community_id(mix: tuple[Path, list[FileSource], list[FlowKey]]) -> None:
    """As many frames and bytes as the display filter finds in the whole."""
    path, sources, keys = mix
    keys = [key for key in keys if key.proto in NAMES and key.has_ports]
    assert len(keys) > 100
    for key, counted in zip(keys, count_by_tshark(path, [flow_filter(key) for key in keys]), strict=True):
        assert extracted(sources, query_of_flow(key)) == counted
        assert extracted(sources, Query(community_id=community_id(key))) == counted
        assert counted[0] > 0


def test_every_host_pair_port_and_protocol(mix: tuple[Path, list[FileSource], list[FlowKey]]) -> None:
    """Each on its own, and with an expression in place of it."""
    path, sources, keys = mix
    cases: dict[str, Query] = {}
    for key in keys:
        assert key.first is not None
        assert key.second is not None
        outer = "!icmp.type"
        for host in (key.first, key.second):
            cases[f"ip.addr=={host} && {outer}"] = Query(hosts=(host,), bpf="not icmp")
        pair = f"((ip.src=={key.first} && ip.dst=={key.second}) || (ip.src=={key.second} && ip.dst=={key.first}))"
        cases[f"{pair} && {outer}"] = Query(hosts=(key.first, key.second), bpf="not icmp")
        if key.proto in NAMES:
            name = NAMES[key.proto]
            cases[f"{name}.port=={key.first_port} && {outer}"] = Query(ports=(key.first_port,), proto=key.proto)
            cases[f"{name}.port=={key.second_port} && ip && {outer}"] = Query(bpf=f"{name} port {key.second_port}")
        cases[f"ip.proto=={key.proto} && {'ip' if key.proto == 1 else outer}"] = Query(proto=key.proto)
    for (text, query), counted in zip(cases.items(), count_by_tshark(path, list(cases)), strict=True):
        assert extracted(sources, query) == counted, text


def test_time(mix: tuple[Path, list[FileSource], list[FlowKey]]) -> None:
    """From one second to another one, in the middle of it."""
    path, sources, _ = mix
    spans = [(1056991897, 1056991930), (1056992000, 1056993000), (1200000000, 1300000000)]
    texts = [f"frame.time_epoch >= {start} && frame.time_epoch < {end}" for start, end in spans]
    for (start, end), counted in zip(spans, count_by_tshark(path, texts), strict=True):
        assert extracted(sources, Query(from_ns=start * S, to_ns=end * S - 1)) == counted


def test_ipv6_vlan_tags_and_fragments(tmp_path: Path) -> None:
    """Tags and extension headers do not hide a flow; fragments belong to it, whose ports only the first one has."""
    a4, b4 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    a6, b6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    frames: list[bytes] = []
    for i in range(30):
        tags = [[], [0x8100], [0x88A8, 0x8100]][i % 3]
        port = 1000 + i % 5
        frames.append(link(ETHERNET, 4, tags, 0, ipv4(a4, b4, TCP, transport(TCP, (port, 80), b"x" * i))))
        next_header, body = UDP, transport(UDP, (53, port), b"y")
        for number in (60, 0)[2 - i % 3 :]:
            next_header, body = number, bytes([next_header, 0, *PADDING]) + body
        frames.append(link(ETHERNET, 6, tags, 0, ipv6(b6, a6, next_header, body)))
        frames.append(link(ETHERNET, 6, tags, 0, ipv6(a6, b6, ICMPV6, transport(ICMPV6, (128, 0), b"z" * i))))
        whole = transport(UDP, (port, 4000), bytes(64))
        for at in (0, 40):
            piece = ipv4(a4, b4, UDP, whole[at : at + 40], fragment=at // 8 | (0x2000 if at == 0 else 0), ident=i)
            frames.append(link(ETHERNET, 4, tags, 0, piece))
    records = [((1_795_256_100 + i) * S, frame, len(frame)) for i, frame in enumerate(frames)]
    path = tmp_path / "all.pcap"
    path.write_bytes(make_pcap(records))
    (tmp_path / "edge").mkdir()
    sources = split(tmp_path / "edge", records)
    cases: dict[str, Query] = {"icmpv6": Query(proto=ICMPV6)}
    for port in range(1000, 1005):
        tcp = Query(hosts=(a4, b4), ports=(port, 80), proto=TCP, is_conn=True)
        cases[f"tcp.port=={port}"] = tcp
        cases[f"ipv6 && udp.port=={port}"] = Query(hosts=(a6, b6), ports=(port, 53), is_conn=True)
        later = " || ".join(f"ip.id=={i}" for i in range(30) if 1000 + i % 5 == port)
        cases[f"udp.port=={port} || (ip.frag_offset > 0 && ({later}))"] = Query(ports=(port,), proto=UDP)
    for (text, query), counted in zip(cases.items(), count_by_tshark(path, list(cases)), strict=True):
        assert extracted(sources, query) == counted, text
        assert counted[0] > 0
