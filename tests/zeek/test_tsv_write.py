"""The writer of Zeek's ASCII logs."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.records import Record
from appliance.zeek.schema import Field, LogSchema, ZeekType
from appliance.zeek.tsv import TsvReader
from appliance.zeek.tsv_header import TsvHeader
from appliance.zeek.tsv_write import TsvWriter, header_for, parse_json_record

from .tsv_golden import LOGS, golden

KINDS = ("bool", "int", "count", "time", "interval", "double", "string", "enum", "port", "addr", "subnet")
HEADER = TsvHeader(
    path="conn",
    opened="2026-11-21-02-24-11",
    names=tuple(string.ascii_lowercase[: 2 * len(KINDS)]),
    types=(*KINDS, *(f"vector[{kind}]" for kind in KINDS)),
)
ATOMS: dict[str, st.SearchStrategy[object]] = {
    "bool": st.booleans(),
    "int": st.integers(-(1 << 63), (1 << 63) - 1),
    "count": st.integers(0, (1 << 64) - 1),
    "time": st.integers(0, 4 * 10**15).map(lambda micros: micros / 1_000_000),
    "interval": st.integers(-(10**12), 10**12).map(lambda micros: micros / 1_000_000),
    "double": st.integers(-(10**12), 10**12).map(lambda micros: micros / 1_000_000),
    "string": st.binary(max_size=12).filter(lambda value: value != b"(empty)"),
    "enum": st.sampled_from([b"SMB::FILE_OPEN", b"tcp"]),
    "port": st.integers(0, 65535).map(lambda number: Port(number, 0)),
    "addr": st.ip_addresses().map(lambda address: Address(address.packed)),
    "subnet": st.builds(lambda at, length: Subnet(Address(at.packed), length), st.ip_addresses(), st.integers(0, 32)),
}  # fmt: skip


def records() -> st.SearchStrategy[Record]:
    """Records of `HEADER`: every type, plain and in a vector. A vector of one empty string cannot be told from none."""
    plain = [st.none() | ATOMS[kind] for kind in KINDS]
    vectors = [st.none() | st.lists(st.none() | ATOMS[kind], max_size=4).map(tuple) for kind in KINDS]
    return st.tuples(*plain, *(vector.filter(lambda value: value not in ((b"",), (None,))) for vector in vectors))


def written(header: TsvHeader, *values: Record) -> bytes:
    """A whole file."""
    writer = TsvWriter(header)
    return writer.begin() + writer.lines(values) + writer.end("2026-11-21-02-24-13")


def cell(value: object, kind: str) -> bytes:
    """How a value is written."""
    return TsvWriter(TsvHeader(names=("a", "b"), types=("count", kind))).line((1, value)).removeprefix(b"1\t")[:-1]  # type: ignore[arg-type]


@pytest.mark.parametrize("log", LOGS)
def test_golden_logs_survive_byte_for_byte(log: str) -> None:
    """TSV to records to TSV, header and ``#close`` included."""
    data = golden(log, "log")
    reader = TsvReader()
    batches = reader.feed(data)
    writer = TsvWriter(reader.header)
    again = writer.begin() + b"".join(writer.lines(batch.records) for batch in batches)
    assert again + writer.end(reader.header.closed or "") == data


@pytest.mark.parametrize("log", LOGS)
def test_golden_json_becomes_the_golden_tsv(log: str) -> None:
    """What Zeek wrote as JSON is what Zeek wrote as TSV, once it has columns."""
    data = golden(log, "log")
    reader = TsvReader()
    reader.feed(data)
    rows = [parse_json_record(reader.header.schema, line) for line in golden(log, "json").splitlines()]
    writer = TsvWriter(reader.header)
    assert writer.begin() + writer.lines(rows) + writer.end(reader.header.closed or "") == data


@settings(max_examples=30)
@given(st.lists(records(), max_size=4))
def test_what_is_written_is_read_back(rows: list[Record]) -> None:
    """Every record of every type, unset or not."""
    reader = TsvReader()
    batches = reader.feed(written(HEADER, *rows))
    assert [record for batch in batches for record in batch.records] == rows
    assert not reader.refused
    assert reader.is_closed


@settings(max_examples=50)
@given(records())
def test_json_has_all_that_tsv_has(row: Record) -> None:
    """Records to JSON and back, but for bytes that are no text: JSON has no room for them."""
    schema = HEADER.schema
    line = JsonLineRenderer(schema).line(row)
    again = JsonLineRenderer(schema).line(parse_json_record(schema, line))
    if b"\\\\x" not in line:
        assert again == line


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("string", b"-", rb"\x2d"),
        ("string", b"-wget@", b"-wget@"),
        ("string", b"", b"(empty)"),
        ("string", b"a\tb\\c\n\x7f", rb"a\x09b\\c\x0a\x7f"),
        ("string", "café 🐧".encode(), "café 🐧".encode()),
        ("string", b"\xe9\xed\xa0\x80", rb"\xe9\xed\xa0\x80"),
        ("string", b"a,b", b"a,b"),
        ("set[string]", (b"a,b", b"-", b"", None), rb"a\x2cb,\x2d,(empty),-"),
        ("set[string]", (), b"(empty)"),
        ("set[string]", None, b"-"),
        ("time", 1421708099.0, b"1421708099.000000"),
        ("time", 4153226000.125, b"4153226000.125000"),
        ("interval", -0.9999999, b"-1.000000"),
        ("interval", 0.0003750324249267578, b"0.000375"),
        ("double", 1.0, b"1.0"),
        ("double", 1.5, b"1.5"),
        ("double", 1e300, b"1.000000e+300"),
        ("double", float("nan"), b"nan"),
        ("bool", False, b"F"),
        ("port", Port(443, 1), b"443"),
    ],
)
def test_cells(kind: str, value: object, text: bytes) -> None:
    """Text for text as Zeek writes them."""
    assert cell(value, kind) == text


def test_line_is_never_taken_for_a_directive() -> None:
    """A record that begins with the sign of the header has it escaped."""
    header = TsvHeader(names=("a",), types=("string",))
    assert TsvWriter(header).line((b"#close",)) == b"\\x23close\n"


def test_header_of_a_schema_is_zeeks_default() -> None:
    """Path, columns and marks of a log that never was TSV."""
    fields = (Field("ts", None, ZeekType.TIME), Field("tags", None, ZeekType.TABLE, ZeekType.ENUM))
    schema = LogSchema(stream="X::LOG", writer="", filter="", path="x", fields=fields)
    assert written(header_for(schema, opened="2026-11-21-02-24-11"), (1.5, (b"A", b"B"))) == (
        b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx\n"
        b"#open\t2026-11-21-02-24-11\n#fields\tts\ttags\n#types\ttime\tset[enum]\n1.500000\tA,B\n"
        b"#close\t2026-11-21-02-24-13\n"
    )


@pytest.mark.parametrize("line", [b"[]", b'{"a":"x"}', b'{"b":[["x"]]}', b'{"a":', b'{"b":7}'])
def test_json_that_does_not_fit_its_columns_is_refused(line: bytes) -> None:
    """A value of another type is an error, not a surprise in a file."""
    fields = (Field("a", None, ZeekType.TIME), Field("b", None, ZeekType.TABLE, ZeekType.STRING))
    with pytest.raises(ValueError, match=r".+"):
        parse_json_record(LogSchema(stream="", writer="", filter="", path="x", fields=fields), line)
