"""The tsv format: files that Zeek could have written. Virtual time, real files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio.testing
from structlog.typing import EventDict

from appliance.model import LogBatch
from appliance.runtime.outfile import OutFile
from appliance.sinks.tsv import TsvFormat
from appliance.zeek.tsv import TsvReader
from tests.sinks.harness import WALL_NS, Bench, batch, later
from tests.zeek.tsv_golden import LOGS, golden

Clock = trio.testing.MockClock
COLUMNS = (("ts", "time"), ("uid", "string"), ("n", "count"))
OPEN = "2023-11-14-22-13-20"
HEADER = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    f"#open\t{OPEN}\n#fields\tts\tuid\tn\n#types\ttime\tstring\tcount\n"
)
END = f"#close\t{OPEN}\n"


def row(n: object, uid: str = "C1") -> str:
    return json.dumps({"ts": 1.5, "uid": uid, "n": n})


def line(n: object, uid: str = "C1") -> str:
    return f"1.500000\t{uid}\t{n}\n"


@pytest.mark.parametrize("log", LOGS)
async def test_golden_logs(log: str, tmp_path: Path, mock_clock: Clock) -> None:
    """Zeek's JSON with its columns becomes Zeek's TSV, but for the times of opening and closing."""
    text = golden(log, "log")
    reader = TsvReader()
    reader.feed(text)
    rows = golden(log, "json")
    item = LogBatch(
        path=log,
        source="cluster",
        data=rows,
        count=rows.count(b"\n"),
        columns=tuple(zip(reader.header.names, reader.header.types, strict=True)),
    )
    bench = Bench(tmp_path, "{path}.log", kind="tsv")
    async with bench.running():
        bench.put(item)
    assert reader.header.closed is not None
    expected = text.decode().replace(reader.header.opened, OPEN).replace(reader.header.closed, OPEN)
    assert bench.files() == {f"{log}.log": expected}
    assert bench.figures().delivered == item.count
    assert bench.sink.statistics().written_bytes == len(expected.encode())


async def test_file_has_a_header_and_an_end(tmp_path: Path, mock_clock: Clock) -> None:
    """One header for all that is written to the file; the end when it is complete."""
    bench = Bench(tmp_path, "{path}.log", kind="tsv", flush_every=1)
    async with bench.running():
        for n in (1, 2):
            bench.put(batch(row(n), columns=COLUMNS))
            await later(mock_clock, 1)
            await bench.settle()
        assert bench.files() == {"conn.log.part": HEADER.replace(OPEN, "2023-11-14-22-13-21") + line(1) + line(2)}
    assert bench.files() == {
        "conn.log": HEADER.replace(OPEN, "2023-11-14-22-13-21")
        + line(1)
        + line(2)
        + END.replace(OPEN, "2023-11-14-22-13-22")
    }


async def test_change_of_columns_makes_a_new_file(tmp_path: Path, mock_clock: Clock) -> None:
    """Nodes of two versions may send in turns for a while: two files, not one for each turn."""
    other = (*COLUMNS, ("x", "bool"))
    bench = Bench(tmp_path, "{path}.log", kind="tsv")
    async with bench.running():
        for n in range(4):
            bench.put(batch(row(n), columns=other if n % 2 else COLUMNS))
    texts = set(bench.files().values())
    assert {HEADER + line(0) + line(2) + END} < texts
    assert len(texts) == 2
    assert set(bench.files()) == {"conn.log", "conn-1.log"}


async def test_logs_never_share_a_file(tmp_path: Path, mock_clock: Clock) -> None:
    """Even if the name does not tell them apart; nodes do."""
    bench = Bench(tmp_path, "all.log", kind="tsv")
    async with bench.running():
        bench.put(
            batch(row(1), columns=COLUMNS, node="w1"),
            batch(row(2), columns=COLUMNS, path="dns"),
            batch(row(3), columns=COLUMNS, node="w2"),
        )
    assert sorted(bench.files().values()) == [
        HEADER + line(1) + line(3) + END,
        HEADER.replace("conn", "dns") + line(2) + END,
    ]


@pytest.mark.parametrize(
    "columns",
    [(), (("a", "record"),), (("a\tb", "string"),), (("a\n#x", "string"),), (("", "string"),), (("\ud800", "string"),)],
)
async def test_rows_without_usable_columns_are_refused(
    tmp_path: Path, mock_clock: Clock, columns: tuple[tuple[str, str], ...]
) -> None:
    """Counted, and no file is made for them; the others are written."""
    bench = Bench(tmp_path, "{path}.log", kind="tsv")
    async with bench.running():
        bench.put(batch(row(1), row(2), columns=columns), batch(row(3), columns=COLUMNS))
        bench.put(batch(row(1), columns=columns, path="dns"))
    assert bench.files() == {"conn.log": HEADER + line(3) + END}
    figures = bench.figures()
    assert (figures.delivered, figures.dropped, figures.lost) == (1, {"no_columns": 3}, 0)


BAD = ['{"n":"x"}', '{"n":[1]}', '{"ts":{}}', '{"uid":1}', '{"uid":"\\ud800"}']


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("size", [None, 4096])
async def test_row_that_does_not_fit_its_columns_costs_itself(
    tmp_path: Path, mock_clock: Clock, bad: str, size: int | None
) -> None:
    """First, last, or among others."""
    bench = Bench(tmp_path, "{path}.log", kind="tsv", **({"rotate_size": size} if size else {}))
    async with bench.running():
        bench.put(batch(bad, row(1), bad, bad, row(2), bad, columns=COLUMNS), batch(bad, columns=COLUMNS, path="dns"))
    assert bench.files() == {"conn.log": HEADER + line(1) + line(2) + END}
    figures = bench.figures()
    assert (figures.delivered, figures.dropped) == (2, {"bad_format": 5})


async def test_no_file_exceeds_the_size_with_header_and_end(tmp_path: Path, mock_clock: Clock) -> None:
    """Each file is a whole log, and as full as can be."""
    bench = Bench(tmp_path, "{path}.log", kind="tsv", rotate_size=4096)
    async with bench.running():
        bench.put(
            *[
                batch(*[row(n) if n % 7 else BAD[0] for n in range(s, s + 100)], columns=COLUMNS)
                for s in range(0, 1000, 100)
            ]
        )
    texts = [text.encode() for text in bench.files().values()]
    assert max(map(len, texts)) <= 4096
    assert all(len(text) + len(line(999)) > 4096 for text in sorted(texts, key=len)[1:])
    numbers = []
    for text in texts:
        reader = TsvReader()
        numbers += [record[2] for group in reader.feed(text) for record in group.records]
        assert reader.is_closed
    assert sorted(map(str, numbers)) == sorted(str(n) for n in range(1000) if n % 7)
    assert bench.figures().dropped == {"bad_format": 143}


async def test_what_fails_is_written_again_without_holes(
    tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused rows between the others are settled with them, not before and not twice."""
    bench = Bench(tmp_path, "{path}.log", kind="tsv", rotate_size=300, flush_every=1)
    rows = [BAD[0], row(1), BAD[0], *map(row, range(2, 12)), BAD[0], row(12), BAD[0]]
    write, calls = OutFile.write, 0

    def fail_once(self: OutFile, buffers: list[bytes]) -> None:
        nonlocal calls
        calls += len(buffers) > 1  # else it is the end of a file
        if calls == 2:
            raise OSError(28, "No space left on device")
        write(self, buffers)

    monkeypatch.setattr(OutFile, "write", fail_once)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with bench.running():
            bench.put(batch(*rows, columns=COLUMNS))
            await later(mock_clock, 1)
    assert 0 < bench.figures().delivered < 12
    async with bench.running():
        pass
    numbers = []
    for text in bench.files().values():
        numbers += [r[2] for group in TsvReader().feed(text.encode()) for r in group.records]
    assert sorted(map(str, numbers)) == sorted(map(str, range(1, 13)))
    figures = bench.figures()
    assert (figures.delivered, figures.dropped, figures.queued) == (12, {"bad_format": 4}, 0)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (HEADER + line(1) + line(2)[:-3], HEADER + line(1) + END),
        (HEADER + line(1), HEADER + line(1) + END),
        (HEADER + line(1) + END, HEADER + line(1) + END),
        (HEADER + line(1) + END[:-4], HEADER + line(1) + END),
        (HEADER + line(1, "#close\t" + "x" * 50), HEADER + line(1, "#close\t" + "x" * 50) + END),
        (HEADER, None),
        (HEADER[:-30], None),
        (HEADER + line(1)[:-1], None),
        ("", None),
        ('{"a":1}\n{"a"', '{"a":1}\n'),
    ],
)
async def test_leftover_is_made_whole(
    tmp_path: Path, mock_clock: Clock, told: list[EventDict], left: str, expected: str | None
) -> None:
    """A torn line is cut, the end is written once, with the time of the last record; a file without records goes."""
    part = tmp_path / "conn.log.part"
    part.write_text(left)
    os.utime(part, ns=(WALL_NS, WALL_NS))
    bench = Bench(tmp_path, "{path}.log", kind="tsv")
    async with bench.running():
        pass
    assert bench.files() == ({} if expected is None else {"conn.log": expected})


def test_repair_says_what_it_did(tmp_path: Path) -> None:
    """Bytes that were cut, bytes that are there."""
    part = tmp_path / "conn.log.part"
    part.write_text(HEADER + line(1) + "1.5")
    written_ns = part.stat().st_mtime_ns
    repaired = TsvFormat().repair(part)
    assert (repaired.cut, repaired.size) == (3, part.stat().st_size)
    assert part.read_bytes().endswith(TsvFormat().end(written_ns))
