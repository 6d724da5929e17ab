"""Other readers read every kind of file: tshark, capinfos and dpkt agree about count, times, lengths and link type."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import dpkt
import pytest
import trio

from .harness import Bench, wait_until

S = 10**9
WTAP = {147: "45", 101: "7", 1: "1"}  # WTAP_ENCAP_USER0, _RAW_IP, _ETHERNET
READERS = {"pcap": dpkt.pcap.Reader, "pcapng": dpkt.pcapng.Reader}


async def record(bench: Bench, payloads: list[bytes]) -> None:
    """One after the other, by a sender of the capture's kind."""
    async with bench.running():
        if bench.config.conn_type == "udp":
            bench.throw(payloads)
            await wait_until(lambda: bench.account.delivered == len(payloads))
        else:
            with socket.create_connection(("127.0.0.1", bench.port)) as client:
                client.sendall(b"".join(len(each).to_bytes(2) + each for each in payloads))
            await wait_until(bench.items)


@pytest.mark.slow
@pytest.mark.parametrize("conn_type", ["udp", "tcp"])
@pytest.mark.parametrize("capture_format", ["pcap", "pcapng"])
@pytest.mark.parametrize(("linktype", "number"), [("user0", 147), ("ip", 101), ("auto", 147)])
async def test_every_kind_of_file_is_read_by_others(
    tmp_path: Path, conn_type: str, capture_format: str, linktype: str, number: int
) -> None:
    """Times within a millisecond of the sender's, never backwards; lengths and link type as announced."""
    if shutil.which("tshark") is None or shutil.which("capinfos") is None:
        pytest.skip("no tshark or capinfos here")
    table = {} if conn_type == "udp" else {"conn_type": "tcp", "mode": "listen", "framing": "u16be"}
    bench = Bench(tmp_path, "file", linktype=linktype, format=capture_format, socket=table)
    payloads = [bytes([n]) * (n * 31 % 1200 + 1) for n in range(60)]
    began_ns = time.time_ns()
    await record(bench, payloads)
    ended_ns = time.time_ns()
    (segment,) = bench.items()
    assert segment.linktype == number
    path = tmp_path / "file"
    with path.open("rb") as file:
        reader = READERS[capture_format](file)
        assert reader.datalink() == number
        data = [packet for _, packet in reader]
    if number == 147:
        assert data == payloads
    elif conn_type == "udp":
        assert [dpkt.ip.IP(packet).data.data for packet in data] == payloads
    else:
        segments = [dpkt.ip.IP(packet).data.data for packet in data]
        assert b"".join(segments) == b"".join(len(each).to_bytes(2) + each for each in payloads)
    fields = [f"-e{field}" for field in ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type")]
    shown = await trio.run_process(["tshark", "-r", str(path), "-T", "fields", *fields], capture_stdout=True,
                                   capture_stderr=True)  # fmt: skip
    lines = [line.split("\t") for line in shown.stdout.decode().splitlines()]
    times = [int(line[0].replace(".", "").ljust(19, "0")[:19]) for line in lines]
    assert times == sorted(times)
    assert began_ns - 10**6 <= times[0] <= times[-1] <= ended_ns + 10**6
    assert (segment.first_ns, segment.last_ns) == (times[0], times[-1])
    assert [int(line[1]) for line in lines] == [int(line[2]) for line in lines] == list(map(len, data))
    assert {line[3] for line in lines} == {WTAP[number]}
    told = subprocess.run(["capinfos", "-cM", path], capture_output=True, text=True, check=True).stdout
    assert f"Number of packets:   {segment.packets}" in told
