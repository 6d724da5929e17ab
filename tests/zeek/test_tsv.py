"""The reader of Zeek's ASCII logs."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.records import Record
from appliance.zeek.tsv import TsvReader

from .tsv_golden import LOGS, golden

HEADER = b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"


def header(*columns: str) -> bytes:
    """A header with columns ``a``, ``b`` ... of these types."""
    names = "\t".join("abcdefghijklmnopqrstuvwxyz"[: len(columns)])
    return HEADER + f"#fields\t{names}\n#types\t{chr(9).join(columns)}\n".encode()


def read(data: bytes, *, pieces: list[int] | None = None) -> tuple[list[Record], TsvReader]:
    """All records, fed at once or cut at `pieces`."""
    reader = TsvReader()
    cuts = [0, *(pieces or []), len(data)]
    parts = [data[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    return [record for part in parts for batch in reader.feed(part) for record in batch.records], reader


def value_of(kind: str, cell: bytes) -> Any:
    """What a cell of that type means."""
    (record,), reader = read(header(kind) + cell + b"\n")
    assert not reader.refused
    return record[0]


def json_of(data: bytes) -> bytes:
    """The lines that Zeek's JSON writer makes of the same records."""
    return b"".join(JsonLineRenderer(header.schema).lines(records) for header, records in TsvReader().feed(data))


@pytest.mark.parametrize("log", LOGS)
def test_golden_logs_become_the_golden_json(log: str) -> None:
    """Every member is the one that Zeek wrote, but for digits behind the sixth decimal, which TSV does not have."""
    ours, theirs = json_of(golden(log, "log")).splitlines(), golden(log, "json").splitlines()
    kinds = dict(zip((reader := read(golden(log, "log"))[1]).header.names, reader.header.types, strict=True))
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        if mine == other:
            continue
        got, wanted = json.loads(mine), json.loads(other)
        assert list(got) == list(wanted)
        for name in (name for name in wanted if got[name] != wanted[name]):
            assert kinds[name] == "interval" or name.startswith("times.")
            assert got[name] == round(wanted[name], 6)
    assert not reader.refused
    assert reader.is_closed
    assert reader.header.path == log


def test_golden_json_is_equal_as_text_where_tsv_has_all_digits() -> None:
    """Times with microseconds come out as text for text the same, Grisu2's oddities included."""
    exact = [log for log in LOGS if json_of(golden(log, "log")) == golden(log, "json")]
    assert set(LOGS) - set(exact) == {"conn", "dce_rpc", "dns", "files", "smb_files", "snmp"}


@pytest.mark.parametrize("log", ["syslog", "x509", "smtp"])
def test_every_cut_gives_the_same_records(log: str) -> None:
    """Where a file is cut into blocks does not matter."""
    data = golden(log, "log")
    whole, _ = read(data)
    for cut in range(len(data)):
        assert read(data, pieces=[cut])[0] == whole


@pytest.mark.parametrize("log", ["syslog", "rdp"])
def test_truncated_file_gives_the_records_that_are_complete(log: str) -> None:
    """What is behind the last newline is held back, at every point of truncation."""
    data = golden(log, "log")
    whole, _ = read(data)
    for end in range(len(data)):
        records, reader = read(data[:end])
        assert records == whole[: len(records)]
        assert len(records) == sum(not line.startswith(b"#") for line in data[:end].split(b"\n")[:-1])
        assert reader.held_bytes == end - (data.rfind(b"\n", 0, end) + 1)
        assert not reader.refused


def test_random_blocks_give_the_same_records() -> None:
    """As above, with many cuts."""
    data = golden("http", "log")
    whole, _ = read(data)
    rng = random.Random(7)
    for _ in range(50):
        assert read(data, pieces=sorted(rng.sample(range(len(data)), 40)))[0] == whole
    assert read(data, pieces=list(range(len(data))))[0] == whole


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("bool", b"T", True),
        ("bool", b"F", False),
        ("int", b"-9223372036854775808", -(1 << 63)),
        ("count", b"18446744073709551615", (1 << 64) - 1),
        ("counter", b"7", 7),
        ("port", b"443", Port(443, 0)),
        ("double", b"3.14", 3.14),
        ("double", b"1e+15", 1e15),
        ("time", b"1056991897.458414", 1056991897.458414),
        ("interval", b"-0.000375", -0.000375),
        ("double", b"inf", math.inf),
        ("string", b"plain", b"plain"),
        ("string", b"(empty)", b""),
        ("string", b"", b""),
        ("string", rb"\x2d", b"-"),
        ("string", rb"a\x09b\x0a\xff\\x", b"a\tb\n\xff\\x"),
        ("string", rb"\x4\y\\\\", rb"\x4\y\\"),
        ("string", "café".encode(), "café".encode()),
        ("string", b"\xff\xfe", b"\xff\xfe"),
        ("enum", b"SMB::FILE_OPEN", b"SMB::FILE_OPEN"),
        ("addr", b"fe80::1", Address.parse("fe80::1")),
        ("subnet", b"10.0.0.0/8", Subnet.parse("10.0.0.0/8")),
        ("string", b"-", None),
        ("set[string]", b"-", None),
        ("set[string]", b"(empty)", ()),
        ("set[addr]", b"", ()),
        ("set[string]", rb"a\x2cb,-,(empty),c", (b"a,b", None, b"", b"c")),
        ("vector[count]", b"1,2,-", (1, 2, None)),
        ("vector[interval]", b"1.5,0.000001", (1.5, 1e-6)),
        ("set[enum]", b"X::A", (b"X::A",)),
        ("table[port]", b"80,443", (Port(80, 0), Port(443, 0))),
        ("vector[bool]", b"T,F", (True, False)),
        ("set[subnet]", b"10.0.0.0/8", (Subnet.parse("10.0.0.0/8"),)),
    ],
)
def test_values_of_every_type(kind: str, cell: bytes, value: object) -> None:
    """A cell becomes a value of its column's type; unset, empty and the text of the placeholder differ."""
    assert value_of(kind, cell) == value


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("bool", b"true"),
        ("int", b"9223372036854775808"),
        ("int", b"1.0"),
        ("count", b"-1"),
        ("count", b"-0"),
        ("count", b"18446744073709551616"),
        ("count", b""),
        ("count", b"(empty)"),
        ("port", b"65536"),
        ("port", b"80/tcp"),
        ("time", b"1e"),
        ("time", b".5"),
        ("time", b"0x10"),
        ("double", b"1" * 64),
        ("addr", b"host"),
        ("subnet", b"10.0.0.0"),
        ("vector[count]", b"1,,2"),
        ("set[addr]", b"1.2.3.4,nobody"),
    ],
)
def test_line_with_a_wrong_value_is_left_out(kind: str, cell: bytes) -> None:
    """The line is counted and told; those before and behind it are read."""
    records, reader = read(header("string", kind) + b"x\t-\ny\t" + cell + b"\nz\t-\n")
    assert records == [(b"x", None), (b"z", None)]
    assert reader.refused == {"bad_line": 1}
    assert reader.complaint.startswith("b: ")


@pytest.mark.parametrize("line", [b"1", b"1\t2\t3", b"", b"\0\0\0"])
def test_line_with_a_wrong_number_of_cells_is_left_out(line: bytes) -> None:
    """As above."""
    records, reader = read(header("count", "count") + line + b"\n1\t2\n")
    assert records == [(1, 2)]
    assert reader.refused == {"bad_line": 1}


def test_lines_before_a_header_are_refused() -> None:
    """Without columns a line says nothing."""
    records, reader = read(b"1\t2\n" + header("count") + b"1\n")
    assert records == [(1,)]
    assert reader.complaint == "no header before the first record"


def test_header_may_change_within_a_file() -> None:
    """Each record belongs to the header above it."""
    batches = TsvReader().feed(header("count") + b"1\n#close\t2026\n" + header("string", "bool") + b"x\tT\n")
    assert [records for _, records in batches] == [((1,),), ((b"x", True),)]
    assert [batch.header.names for batch in batches] == [("a",), ("a", "b")]


def test_new_fields_are_void_without_their_types() -> None:
    """Columns of one header are not read with the types of another."""
    records, reader = read(header("count") + b"1\n#fields\tx\n2\n#types\tstring\n3\n")
    assert records == [(1,), (b"3",)]
    assert reader.refused == {"bad_line": 1}


def test_separators_are_those_of_the_header() -> None:
    """They may be any bytes, given by their numbers."""
    data = b"#separator \\x7c\\x7c\n#set_separator||;\n#empty_field||EMPTY\n#unset_field||NIL\n#path||x\\x2dy\n"
    data += b"#fields||a||b\n#types||set[string]||string\np;q||NIL\nEMPTY||EMPTY\n-||\\x4eIL\n"
    records, reader = read(data)
    assert records == [((b"p", b"q"), None), ((), b""), ((b"-",), b"NIL")]
    assert reader.header.path == "x-y"


@pytest.mark.parametrize(
    "line",
    [b"#separator ", b"#separator " + b"x" * 65, b"#types\tcount\trecord", b"#set_separator\t", b"#types\tset[]"],
)
def test_directive_that_makes_no_sense_changes_nothing(line: bytes) -> None:
    """It is told; the header before it stays in force."""
    records, reader = read(header("count", "count") + line + b"\n1\t2\n")
    assert records == [(1, 2)]
    assert reader.complaint.startswith("in the header: ")


def test_unknown_directives_are_comments() -> None:
    """Old Bros wrote others."""
    assert read(header("count") + b"#start\t2011\n# 5\n7\n")[0] == [(7,)]


def test_carriage_returns_are_no_part_of_a_line() -> None:
    """A file that went through another system is read all the same."""
    assert read((header("count", "string") + b"1\tx\n#close\t2\n").replace(b"\n", b"\r\n"))[0] == [(1, b"x")]


def test_long_line_is_refused_and_not_kept() -> None:
    """A line that never ends costs no memory."""
    reader = TsvReader(max_line=100)
    assert reader.feed(header("string")) == []
    for _ in range(1000):
        assert reader.feed(b"x" * 50) == []
        assert reader.held_bytes <= 150
    assert [batch.records for batch in reader.feed(b"\nshort\n" + b"y" * 101 + b"\n" + b"z" * 100 + b"\n")] == [
        ((b"short",), (b"z" * 100,))
    ]
    assert reader.refused == {"too_large": 2}


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=5))
def test_any_bytes_are_read_alike_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    """Whatever is in a file, nothing breaks, every line is a record or refused, and cuts do not matter."""
    data = header("count", "string", "vector[time]") + data.replace(b" ", b"\n").replace(b"!", b"\t")
    records, reader = read(data)
    lines = [line for line in data.split(b"\n")[:-1] if not line.startswith(b"#")]
    assert len(records) + sum(reader.refused.values()) == len(lines)
    assert read(data, pieces=sorted(min(cut, len(data)) for cut in cuts))[0] == records
