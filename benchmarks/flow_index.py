"""Nanoseconds for each packet that is tracked and indexed, size of the index, and time to find a flow in 1 GiB.

The generator's frames differ in flow and size only. The first part runs on memory, the second on files in /dev/shm.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.native import FlowQuery, PcapMerge, SegmentIndex, community_id, flow_key, index_pcap

NATIVE = Path(__file__).parents[1] / "native"
SOURCES = ["flow_key", "community_id", "flow_table", "fragment_table", "keyed_hash"]
SOURCES += ["segment_index", "segment_journal", "segment_finish"]
PACKETS = 6_000_000
IMIX_GIB = 2_900_000
"""Packets of IMIX with 16 bytes of header each that fill 1 GiB."""
RUNS = 5


def build(directory: Path) -> Path:
    program = directory / "flow_index"
    sources = [str(Path(__file__).with_suffix(".c")), *(str(NATIVE / f"{name}.c") for name in SOURCES)]
    subprocess.run(["cc", "-O2", "-std=c11", f"-I{NATIVE}", *sources, "-o", str(program)], check=True)
    return program


def milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def measure_lookups(program: Path, directory: Path, flows: int) -> None:
    pcap, index = directory / "segment.pcap", directory / "segment.idx"
    with pcap.open("wb") as output:
        subprocess.run([str(program), "pcap", "0", str(flows), str(IMIX_GIB)], stdout=output, check=True)
    start = time.perf_counter()
    index_pcap(pcap, index)
    spent, size = time.perf_counter() - start, pcap.stat().st_size
    share = 100 * index.stat().st_size / size
    print(f"{flows} flows, {size >> 20} MiB: indexed in {spent:.2f} s ({spent / IMIX_GIB * 1e9:.0f} ns), {share:.2f} %")
    wanted = flows // 2 + 5
    source, destination = f"10.0.{wanted >> 8 & 255}.{wanted & 255}", f"10.1.0.{wanted >> 4 & 255}"
    ports = (1024 + (wanted & 1023), 53 if wanted & 3 else 443)
    conn = FlowQuery(hosts=(source, destination), ports=ports, proto=17, is_conn=True)
    kinds = {
        "5-tuple": conn,
        "5-tuple, 10 ms": conn._replace(from_ns=1_700_000_001 * 10**9, to_ns=1_700_000_001_010_000_000),
        "host": FlowQuery(hosts=(source,)),
        "port": FlowQuery(ports=(ports[0],)),
        "Community ID": FlowQuery(community_id=community_id(flow_key(source, destination, 17, ports))),
    }
    for name, query in kinds.items():
        with index.open("rb") as file:

            def look(query: FlowQuery = query, fd: int = file.fileno()) -> int:
                return sum(extent.length for extent in SegmentIndex(fd).lookup(query, size))

            took, read = milliseconds(look), look() >> 20

        def take(query: FlowQuery = query) -> int:
            with pcap.open("rb") as segment, index.open("rb") as sidecar:
                merge = PcapMerge(query)
                merge.add(segment.fileno(), SegmentIndex(sidecar.fileno()).lookup(query, size))
                return sum(map(len, iter(merge.read, None)))

        whole = milliseconds(take)
        print(f"  {name:15} lookup {took:6.2f} ms, {read:4} MiB to read, extraction {whole:7.1f} ms")
    if shutil.which("tcpdump"):
        bpf = f"host {source} and host {destination} and udp port {ports[0]} and udp port {ports[1]}"
        command = ["tcpdump", "-r", str(pcap), "-w", "/dev/null", bpf]
        took = milliseconds(lambda: subprocess.run(command, check=True, capture_output=True))
        print(f"  tcpdump -r       {took:.0f} ms for the 5-tuple")


def main() -> None:
    """Print both parts."""
    with TemporaryDirectory(dir="/dev/shm") as name:
        program = build(Path(name))
        for size in (64, 0):
            for flows in (1024, 65536, 0):
                for work in ("parse", "table", "index"):
                    subprocess.run([str(program), work, str(size), str(flows), str(PACKETS)], check=True)
        for flows in (1024, 65536):
            measure_lookups(program, Path(name), flows)


if __name__ == "__main__":
    main()
