"""One connection out of many segments, by index: `broappliance extract` against `tcpdump -r` over the same files.

``python -m benchmarks.extract [GIB [DIRECTORY]]`` writes GIB segments of 1 GiB of IMIX each with 20,000 flows of their
own, indexes them, and asks for flows in one of them, in all of them, and for a time. Everything is warm: in the page
cache, or in /dev/shm, which is the default place.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from appliance.extract.extraction import Extraction
from appliance.extract.names import SegmentName
from appliance.extract.query import Query
from appliance.extract.report import Report
from appliance.extract.sources import find_sources
from appliance.native import index_pcap

IMIX = (64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64)
BLOCK_PACKETS = 150_000
BLOCKS = 19
"""Of a segment: about 1 GiB."""
FLOWS = 20_000
"""Of a segment; the next one has others."""
START_NS = 1_700_000_000 * 10**9
SPACING_NS = 700
WANTED, EVERYWHERE = IPv4Address("198.51.100.7"), IPv4Address("198.51.100.8")
WANTED_EVERY = 10_000
RUNS = 5


def make_block() -> tuple[bytearray, list[int]]:
    """Records without times and sources, and where they begin."""
    block, offsets = bytearray(), []
    for i in range(BLOCK_PACKETS):
        size = IMIX[i % len(IMIX)]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size - 14, 0, 0, 64, 17, 0, bytes(4), b"\x0a\x01\0\x01")
        udp = struct.pack("!HHHH", 1024 + i % 1000, 53, size - 34, 0)
        offsets.append(len(block))
        block += struct.pack("=IIII", 0, 0, size, size) + bytes(12) + b"\x08\0" + ip + udp + bytes(size - 42)
    return block, offsets


def write_segment(directory: Path, number: int, block: bytearray, offsets: list[int], *, has_wanted: bool) -> Path:
    """A segment and its index."""
    first = number * BLOCKS * BLOCK_PACKETS
    path = directory / str(SegmentName("bench", START_NS + first * SPACING_NS, 0))
    put_time, put_source = struct.Struct("=II").pack_into, struct.Struct("!I").pack_into
    base = 0x0A000000 + number * FLOWS
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        for i in range(first, first + BLOCKS * BLOCK_PACKETS, BLOCK_PACKETS):
            ts_ns = START_NS + i * SPACING_NS
            for j, offset in enumerate(offsets):
                put_time(block, offset, *divmod(ts_ns + j * SPACING_NS, 10**9))
                put_source(block, offset + 42, base + j % FLOWS)
            for j in range(0, BLOCK_PACKETS, WANTED_EVERY):
                put_source(block, offsets[j] + 42, int(EVERYWHERE))
                if has_wanted:
                    put_source(block, offsets[j + 1] + 42, int(WANTED))
            file.write(block)
    index_pcap(path, path.with_name(f"{path.name}.idx"))
    return path


def median_s(work: Callable[[], object], runs: int = RUNS) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def children_s(work: Callable[[], object]) -> float:
    """CPU time of the processes that it starts; it counts on a busy machine, too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def extract(directory: Path, query: Query) -> Report:
    extraction = Extraction(query, find_sources(directory, from_ns=query.from_ns, to_ns=query.to_ns))
    for _ in extraction:
        pass
    return extraction.report


def measure(directory: Path, paths: list[Path]) -> None:
    total = sum(path.stat().st_size for path in paths)
    indexes = sum(path.with_name(f"{path.name}.idx").stat().st_size for path in paths)
    print(f"{len(paths)} segments, {total / 2**30:.1f} GiB, indexes {indexes / total:.2%}")
    middle_ns = START_NS + len(paths) // 2 * BLOCKS * BLOCK_PACKETS * SPACING_NS
    moment = Query(from_ns=middle_ns, to_ns=middle_ns + 10**9 // 10)
    cases = {
        "a connection in one segment": Query(hosts=(WANTED,)),
        "a host in every segment": Query(hosts=(EVERYWHERE,)),
        "a host, 0.1 s": replace(moment, hosts=(EVERYWHERE,)),
        "an expression, 0.1 s": replace(moment, bpf=f"host {EVERYWHERE}"),
        "everything, 0.1 s": moment,
    }
    for name, query in cases.items():
        took = median_s(lambda query=query: extract(directory, query))  # type: ignore[misc]
        report = extract(directory, query)
        print(
            f"  {name:28} {took * 1e3:8.1f} ms, {report.packets:7,} packets, {report.read_bytes / 2**20:7.1f} MiB read"
        )
    out = directory / "out.pcap"
    command = [sys.executable, "-m", "appliance", "extract", "--directory", str(directory), "--out", str(out)]

    def run() -> None:
        out.unlink(missing_ok=True)
        subprocess.run([*command, "--host", str(WANTED)], check=True, capture_output=True)

    ours, our_cpu = median_s(run), children_s(run)
    print(
        f"  the command, one segment     {ours * 1e3:8.1f} ms with the start of Python, {our_cpu * 1e3:.1f} ms of CPU"
    )
    if shutil.which("tcpdump"):
        names = "\n".join(map(str, paths)).encode()
        peer = ["tcpdump", "-V", "-", "-w", "/dev/null", f"host {WANTED}"]

        def search() -> None:
            subprocess.run(peer, input=names, check=True, stderr=subprocess.DEVNULL)

        theirs, their_cpu = median_s(search, 1), children_s(search)
        print(f"  tcpdump -r                   {theirs * 1e3:8.1f} ms, {their_cpu * 1e3:.1f} ms of CPU")
        print(f"  tcpdump / the command        {theirs / ours:8.0f}, of CPU {their_cpu / our_cpu:.0f}")


def main(gib: int = 4, place: str = "/dev/shm") -> None:
    block, offsets = make_block()
    with TemporaryDirectory(dir=place) as folder:
        Path(folder).chmod(0o755)  # tcpdump becomes an ordinary user before it opens the second file
        paths = [
            write_segment(Path(folder), number, block, offsets, has_wanted=number == gib // 2) for number in range(gib)
        ]
        measure(Path(folder), paths)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4, *sys.argv[2:3])
