"""Blocks of a file to rows: the C converter against the reader in Python, and the formats of files."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.logfile.lines import Group, LineReader
from appliance.native.lines import LineBuffer
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.tsv import TsvReader
from tests.tail.harness import header, rows, tsv

from ..zeek.tsv_golden import LOGS, golden

BUFFER = LineBuffer()
TYPES = ("string", "bool", "int", "count", "port", "double", "time", "set[string]", "vector[count]", "vector[interval]")
WIDE = (
    b"#separator \\x09\n#fields\t" + b"\t".join(b"f%d" % i for i in range(len(TYPES))) + b"\n"
    b"#types\t" + "\t".join(TYPES).encode() + b"\n"
)
CELLS = st.sampled_from(
    [
        b"-", b"", b"(empty)", b"T", b"F", b"0", b"-0", b"007", b"-5", b"443", b"65536", b"1.5", b"1.", b".5", b"1e5",
        b"1e999", b"nan", b"-inf", b"18446744073709551615", b"18446744073709551616", b"9223372036854775808",
        b"1056991897.649921", b"1381967744.641998", b"-0.000375", b"123456789012345678.25", b"0." + b"1" * 50,
        b"1,2", b"1,-,3", b"1,,2", b",", b"a,b", rb"a\x2cb", rb"\\", rb"\x", rb"\x0", rb"\xff\xfe",
        rb"\x22\x5c\x00\x1f\x7f",
        "café €🐧".encode(), b"\xe9t\xe9", b"\xed\xa0\x80", b"\xc2\x80", b'say "hi"', b"x" * 70, b"\x01", b"\r",
    ]
)  # fmt: skip


def reader(path: str = "file", max_line: int = 1 << 20) -> LineReader:
    return LineReader(path, max_line=max_line, buffer=BUFFER)


def convert(data: bytes, cuts: tuple[int, ...] = (), *, max_line: int = 1 << 20) -> tuple[list[Group], dict[str, int]]:
    """Read `data` as a file that grows to each of `cuts`, as the follower does."""
    lines, at = reader(max_line=max_line), 0
    groups: list[Group] = []
    refused: dict[str, int] = {}
    for end in (*cuts, len(data)):
        piece = lines.convert(data[at:end])
        at += piece.consumed
        groups += piece.groups
        for reason, count in piece.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return groups, refused


def reference(data: bytes, max_line: int = 1 << 20) -> tuple[bytes, dict[str, int]]:
    """What the reader in Python makes of a TSV file."""
    python = TsvReader(max_line=max_line)
    lines = [JsonLineRenderer(batch.header.schema).lines(batch.records) for batch in python.feed(data)]
    return b"".join(lines), dict(python.refused)


def data_of(groups: list[Group]) -> bytes:
    return b"".join(group.data for group in groups)


@pytest.mark.parametrize("log", LOGS)
def test_golden_logs_are_read_as_by_the_reference(log: str) -> None:
    """C and Python agree on every byte of what Zeek wrote."""
    data = golden(log, "log")
    groups, refused = convert(data)
    assert (data_of(groups), refused) == reference(data)
    assert [group.path for group in groups] == [log]


@given(st.lists(st.lists(CELLS, min_size=9, max_size=11), max_size=6))
def test_any_cells_are_read_as_by_the_reference(lines: list[list[bytes]]) -> None:
    """C and Python agree on what is a value, and how it is written."""
    data = WIDE + b"".join(b"\t".join(cells) + b"\n" for cells in lines)
    groups, refused = convert(data)
    assert (data_of(groups), refused) == reference(data)


@given(st.lists(CELLS, min_size=1, max_size=30), st.integers(0, len(TYPES) - 1))
def test_any_cell_of_one_column_is_read_as_by_the_reference(cells: list[bytes], column: int) -> None:
    """As above, where no other cell of the line can be wrong."""
    data = b"#fields\ta\tb\n#types\t" + TYPES[column].encode() + b"\tcount\n"
    data += b"".join(cell + b"\t1\n" for cell in cells if not cell.startswith(b"#"))
    groups, refused = convert(data)
    assert (data_of(groups), refused) == reference(data)


@given(st.binary(max_size=200))
@example(b"#\n#x\n")
@example(b"\r\n\r\r\n")
def test_any_bytes_are_read_as_by_the_reference(data: bytes) -> None:
    """C and Python agree on what is a line and a directive."""
    data = header() + data.replace(b" ", b"\n").replace(b"!", b"\t").replace(b'"', b"#")
    assert (data_of(convert(data, max_line=50)[0]), convert(data, max_line=50)[1]) == reference(data, max_line=50)


@given(st.integers(0, 2**64 - 1))
def test_times_are_written_as_zeek_writes_them(micros: int) -> None:
    """Digits as the reference has them, for any number of microseconds."""
    data = b"#fields\tts\n#types\ttime\n%d.%06d\n" % divmod(micros, 1_000_000)
    assert data_of(convert(data)[0]) == reference(data)[0]


@pytest.mark.parametrize("log", ["http", "ssh"])
def test_growing_file_gives_the_same_rows(log: str) -> None:
    """A line is read when its newline is there, whatever was read before."""
    data = golden(log, "log")
    whole = data_of(convert(data)[0])
    rng = random.Random(3)
    for _ in range(30):
        assert data_of(convert(data, tuple(sorted(rng.sample(range(len(data)), 20))))[0]) == whole


def test_json_lines_pass_unchanged() -> None:
    """Rows that are objects go through as they are; the others are counted."""
    data = golden("ftp", "json")
    assert convert(data) == ([Group("file", data, data.count(b"\n"))], {})
    bad = b'{"a":1}\n{"a":\n[]\nnull\n\n{"a":"\xff"}\n{"b": 2}\r\n'
    assert convert(bad) == ([Group("file", b'{"a":1}\n{"b": 2}\n', 2)], {"bad_line": 5})


def test_path_comes_from_the_header_or_from_the_file() -> None:
    """``#path`` counts, if it is a path that can be used as one."""
    assert convert(header("dns") + tsv(1))[0][0].path == "dns"
    assert convert(header("../dns") + tsv(1))[0][0].path == "file"
    assert convert(rows(1))[0][0].path == "file"


def test_path_may_change_within_a_file() -> None:
    """Files that were put together give one group for each."""
    data = header("a") + tsv(1, 2) + b"#close\t1\n" + header("b") + tsv(3) + header("b") + tsv(4)
    assert [(group.path, group.count) for group in convert(data)[0]] == [("a", 2), ("b", 2)]


def test_file_that_begins_again_keeps_its_header() -> None:
    """What a copied and truncated TSV file holds has no header of its own; JSON needs none."""
    lines = reader()
    lines.convert(header() + tsv(1))
    lines.restart(b"2")
    assert [group.count for group in lines.convert(tsv(2)).groups] == [1]
    lines.restart(b"{")
    assert [group.path for group in lines.convert(rows(3)).groups] == ["file"]


def test_long_lines_are_refused_and_skipped() -> None:
    """Whether they come in one block or in many, they cost one refusal and no memory."""
    data = rows(1) + b'{"x":"' + b"y" * 500 + b'"}\n' + rows(2)
    expected = ([Group("file", rows(1, 2), 2)], {"too_large": 1})
    assert convert(data, max_line=100) == expected
    groups, refused = convert(data, tuple(range(0, len(data), 150)), max_line=100)
    assert (data_of(groups), refused) == (rows(1, 2), {"too_large": 1})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"1\tx\n", "not 3 cells: b'1\\tx'"),
        (b"x\ty\t-\n", "no count in 'n': b'x\\ty\\t-'"),
        (b"#types\tnone\n", "in the header: no type of a log: 'none'"),
    ],
)
def test_complaint_tells_what_is_wrong(line: bytes, complaint: str) -> None:
    """A person can mend it."""
    lines = reader()
    assert lines.convert(header() + line).complaint == complaint
