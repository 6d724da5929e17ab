"""``broappliance pcap`` as a program."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import main
from tests.pcap.build import header, read, record, udp_frame

S = 10**9
T0 = 1_795_254_931 * S  # 2026-11-21 09:55:31


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two files of ten packets each, one a second, that take turns; the second ends torn."""
    first, second = tmp_path / "a.pcap", tmp_path / "b.pcap.gz"
    first.write_bytes(header() + b"".join(record(T0 + 2 * i * S, udp_frame(53)) for i in range(10)))
    data = b"".join(record(T0 + (2 * i + 1) * S, udp_frame(80)) for i in range(10))
    second.write_bytes(gzip.compress(header() + data + b"torn"))
    return str(first), str(second)


def run(*arguments: str) -> int:
    return main(["pcap", *arguments])


def test_info_shows_a_line_for_each_file(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """What it is, what it holds, what is wrong with it; exit code 3 because one is torn."""
    assert run("info", *files) == 3
    shown = capsys.readouterr().out
    for text in ("pcap ns gzip", "Ethernet (1)", "2026-11-21T09:55:31.000000000Z", "00:00:18.000", "torn, 4 bytes"):
        assert text in shown
    assert "gaps" not in shown


def test_info_lists_gaps(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Pauses that are longer than asked for."""
    assert run("info", "--gap", "1.5s", files[0]) == 0
    shown = capsys.readouterr().out
    assert shown.count("00:00:02.000") == 9


def test_info_prints_all_figures(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the ranges of time that are covered."""
    assert run("info", "--json", files[0]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["packets"] == 10
    assert document["ranges"] == [["2026-11-21T09:55:31.000000000Z", "2026-11-21T09:55:49.000000000Z"]]
    assert (document["first_ns"], document["interfaces"][0]["linktype"]) == (T0, 1)


def test_info_goes_on_behind_a_file_that_is_none(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and the others are shown."""
    (tmp_path / "text").write_text("this is no capture file")
    assert run("info", str(tmp_path / "text"), files[0]) == 1
    told = capsys.readouterr()
    assert told.err == f"broappliance: {tmp_path / 'text'}: is no capture file\n"
    assert "Ethernet (1)" in told.out


def test_query_merges_a_range_of_time(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of time, the end not included; a torn file is told on stderr and by the exit code."""
    out = tmp_path / "out.pcap"
    code = run(
        "query", *files, "--from", "2026-11-21T09:55:33Z", "--to", "1795254937", "--output", str(out)
    )  # fmt: skip
    assert code == 3
    assert [(packet.ts_ns - T0) // S for packet in read(out)] == [2, 3, 4, 5]
    told = capsys.readouterr()
    assert told.out == f"{out}: 4 packets, 376 bytes\n"
    assert "b.pcap.gz: the last 4 bytes are no whole packet; what stands before was taken" in told.err


def test_query_takes_a_folder(files: tuple[str, str], tmp_path: Path) -> None:
    """All capture files in it."""
    assert run("query", str(tmp_path), "-o", str(tmp_path / "out")) == 3
    assert len(read(tmp_path / "out")) == 20


def test_query_overwrites_nothing(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Least of all its own input."""
    before = Path(files[0]).read_bytes()
    assert run("query", *files, "-o", files[0]) == 1
    assert "exists, nothing is overwritten" in capsys.readouterr().err
    assert Path(files[0]).read_bytes() == before


def test_query_writes_to_a_pipe(files: tuple[str, str]) -> None:
    """So that other programs can read on."""
    done = subprocess.run(
        f"{sys.executable} -m appliance pcap query {files[0]} -o - | capinfos -c -M -",
        shell=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Number of packets:   10" in done.stdout, done


def test_query_without_matches_writes_a_file_that_can_be_read(files: tuple[str, str], tmp_path: Path) -> None:
    """A script that goes on with it need not ask."""
    out = tmp_path / "out.pcap"
    assert run("query", files[0], "--to", "1", "-o", str(out)) == 0
    assert read(out) == []
    assert subprocess.run(["capinfos", out], capture_output=True).returncode == 0


def test_mixed_link_types_need_pcapng(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PCAP is refused at once; nothing is left behind."""
    other, out = tmp_path / "raw.pcap", tmp_path / "out"
    other.write_bytes(header(linktype=101) + record(T0, udp_frame(53)[14:]))
    assert run("query", files[0], str(other), "-o", str(out)) == 1
    assert "several link types (1, 101), a PCAP file has one (use pcapng)" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
    assert run("query", files[0], str(other), "-o", str(out), "--format", "pcapng") == 0
    assert {packet.interface.linktype for packet in read(out)} == {1, 101}


def test_segment_tells_before_it_does(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dry run prints what is then written, and writes nothing."""
    arguments = ["segment", *files, "--seconds", "10", "--directory", str(tmp_path / "out"), "--name", "%H%M%S.pcap"]
    assert run(*arguments, "--dry-run") == 3
    planned = capsys.readouterr()
    assert not (tmp_path / "out").exists()
    assert "20 packets would be written into 3 files" in planned.err
    assert run(*arguments) == 3
    written = capsys.readouterr()
    assert written.out == planned.out
    names = [(path.name, len(read(path))) for path in sorted((tmp_path / "out").iterdir())]
    assert names == [("095530.pcap", 9), ("095540.pcap", 10), ("095550.pcap", 1)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["segment", "{}"], "say where to cut: --bytes, --packets or --every"),
        (["segment", "{}", "--bytes", "10 apples"], "--bytes: '10 apples' is not a size"),
        (["segment", "{}", "--every", "x"], "--every: 'x' is not a duration"),
        (["segment", "{}", "-p", "1", "--name", "{{host}}"], "--name: '{host}' at character"),
        (["segment", "{}", "-p", "1", "--name", "../../etc/x"], "--name: '..' must not be in a path pattern"),
        (["query", "{}", "-o", "x", "--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["query", "{}", "-o", "x", "--from", "5", "--to", "5"], "--from is not before --to"),
        (["query", "{}", "-o", "x", "--bpf", "prot udp"], "--bpf: "),
        (["info", "{}", "--gap", "1"], "--gap: '1' is not a duration"),
    ],
)
def test_mistakes_in_arguments_are_told(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], told: str,
) -> None:  # fmt: skip
    """Exit code 2, one line, no file."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert run(*(argument.format(files[0]) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"broappliance: {told}")
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_filter_chooses_packets(files: tuple[str, str], tmp_path: Path) -> None:
    """In tcpdump's language."""
    assert run("query", *files, "--bpf", "udp port 80", "-o", str(tmp_path / "out")) == 3
    assert [(packet.ts_ns - T0) // S for packet in read(tmp_path / "out")] == list(range(1, 20, 2))


@pytest.mark.parametrize("has_terminal", [True, False])
def test_long_work_shows_a_bar_to_those_who_can_see_it(tmp_path: Path, has_terminal: bool) -> None:
    """On a terminal only, and never in what is printed."""
    path = tmp_path / "x.pcap"
    with path.open("wb") as file:
        file.write(header())
        file.write(record(T0, bytes(65536)) * 1100)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance", "pcap", "info", "--json", str(path)],
            stdout=subprocess.PIPE, stderr=theirs if has_terminal else subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        out, _ = process.communicate(timeout=60)
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 65536)
        except BlockingIOError:
            shown = b""
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(out)[0]["packets"] == 1100
    assert (b"MiB" in shown) is has_terminal
