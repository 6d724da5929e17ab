"""``broappliance extract`` over a recorder's directory."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.cli import main
from appliance.cli.extract_arguments import join_times
from tests.extract.flows import S, T, Timed, write_segment
from tests.native.packets import ETHERNET, UDP, Packet, read_records, udp_frame

A, B = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten packets, one a second, in two segments; a recorder that lost some half a minute later."""
    monkeypatch.setattr(os, "nice", lambda _: 0)
    packets = []
    for i in range(10):
        data = udp_frame(A, B, (1000 + i % 2, 53), serial=i)
        packet = Packet(ETHERNET, data, IPv4Address(A), IPv4Address(B), UDP, (1000 + i % 2, 53), 0, 0)
        packets.append(Timed(T + i * S, packet))
    write_segment(tmp_path, "edge-20261121T101500.000000000Z-0.pcap", packets[:5], "indexed")
    write_segment(tmp_path, "edge-20261121T101505.000000000Z-0.pcap", packets[5:], "growing")
    gap = {"from_ns": T + 30 * S, "to_ns": T + 31 * S, "reason": "kernel", "packets": 7, "bytes": None}
    (tmp_path / "edge.gaps.jsonl").write_text(json.dumps(gap))
    return tmp_path


def run(directory: Path, *arguments: str) -> int:
    return main(["extract", "--directory", str(directory), *arguments])


def test_packets_of_a_flow_go_into_a_new_file(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many is told; exit code 0 because nothing is missing in that time."""
    out = directory / "out.pcap"
    ends = f"{B}:53-{A}:1001/udp"
    assert run(directory, "--out", str(out), "--conn", ends, "--to", "2026-11-21T10:15:08Z") == 0
    assert [time for time, *_ in read_records(out.read_bytes()[24:])] == [T + i * S for i in (1, 3, 5, 7)]
    shown = capsys.readouterr()
    assert shown.out.startswith(f"4 packets, {out.stat().st_size} bytes in {out}, 2026-11-21T10:15:01.0")
    assert shown.err == ""


def test_what_is_missing_is_told(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 3."""
    assert run(directory, "--count", "--port", "1000") == 3
    shown = capsys.readouterr()
    assert shown.out.startswith("5 packets, ")
    assert "missing: kernel: from 2026-11-21T10:15:30.0" in shown.err
    assert "(7 packets)" in shown.err


def test_a_limit_makes_it_incomplete(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is there, with as many packets as fit."""
    out = directory / "out.pcap"
    assert run(directory, "-o", str(out), "--max-size", "200B", "--to", str(T // S + 9)) == 3
    assert len(read_records(out.read_bytes()[24:])) == 2
    assert "more packets than --max-size" in capsys.readouterr().err


def test_the_report_as_json(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All figures, and what is missing."""
    assert run(directory, "--count", "--json", "--from", "2026-11-21T10:15:06Z") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["packets"], document["is_complete"]) == (4, False)
    assert document["first"] == "2026-11-21T10:15:06.000000000Z"
    assert document["gaps"][0]["packets"] == 7


def test_packets_go_to_standard_output(directory: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """And what is told goes elsewhere."""
    assert run(directory, "--out", "-", "--host", A, "--to", str(T // S + 1)) == 0
    shown = capfdbinary.readouterr()
    assert len(read_records(shown.out[24:])) == 1
    assert shown.err.startswith(b"1 packets")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--count", "--port", "x"], "--port: 'x' is no port"),
        (["--count", "--bpf", "tuesday"], "--bpf: no filter"),
        (["--count", "--max-size", "1"], "--max-size: '1' is not a size"),
        (["--count", "--uid", "C1"], "--uid: needs the --config"),
        (["--out", "-", "--json"], "--json: standard output"),
    ],
)
def test_mistakes_are_of_usage(
    directory: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and which argument it is."""
    assert run(directory, *arguments) == 2
    assert told in capsys.readouterr().err


def test_failures(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1: there is such a file, no such directory, or nobody to ask."""
    out = directory / "out.pcap"
    out.write_bytes(b"mine")
    assert run(directory, "--out", str(out)) == 1
    assert out.read_bytes() == b"mine"
    assert run(directory / "nowhere", "--count") == 1
    assert main(["extract", "--count", "--socket", str(directory / "api.sock")]) == 1
    shown = capsys.readouterr().err
    for told in ("exists", "nowhere: cannot be read", "no appliance answers"):
        assert told in shown


def test_times_before_now_are_no_options() -> None:
    """What begins with a dash and a digit after --from or --to belongs to it."""
    assert join_times(["extract", "--from", "-10m", "--to", "-5s"]) == ["extract", "--from=-10m", "--to=-5s"]
    assert join_times(["--to", "--from", "-o", "x"]) == ["--to", "--from", "-o", "x"]
