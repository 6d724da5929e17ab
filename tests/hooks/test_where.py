"""`where` expressions: which records match, and that looking at encoded rows first never loses one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.hooks.where import Where
from appliance.model import LogBatch, Segment

HTTP = {
    "ts": 1700000000.5,
    "uid": "CHhAvVGS1DHFjwGM9",
    "id.orig_h": "10.0.0.1",
    "id.resp_p": 80,
    "host": "a.example",
    "status_code": 404,
    "tags": ["x", None],
    "local_orig": True,
    "note": "Scan::Port_Scan",
}


def batch(*rows: bytes | dict[str, Any]) -> LogBatch:
    texts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return LogBatch(path="http", source="zmq.a", data=b"".join(text + b"\n" for text in texts), count=len(texts))


def positions(expression: str, *rows: bytes | dict[str, Any]) -> list[int]:
    return [position for position, _ in Where(expression).select(batch(*rows))]


@pytest.mark.parametrize(
    "expression",
    [
        r"status_code >= 400 and host =~ '.*\\.example'",
        "id.orig_h == '10.0.0.1' and id.resp_p == 80",
        "id['resp_p'] == 80",
        "note == 'Scan::Port_Scan'",
        "'x' in tags",
        "local_orig",
        "local_orig == true and nothing == null",
        "not (status_code < 400)",
        "host.length == 9",
        "host.as_upper == 'A.EXAMPLE'",
        "host !~ 'b'",
        "missing != 'x'",
        "missing !~ 'x'",
        "(status_code > 500 ? 'high' : 'low') == 'low'",
        "$pi > 3",
        "status_code - 4 == 400",
        "ts > d'2023-11-14T22:13:20Z'.to_epoch",
        "'10.0.0.1' == id.orig_h",
        "status_code == 404.0",
    ],
)
def test_expression_matches_a_record_of_zeek(expression: str) -> None:
    """Whatever an expression is made of, it matches a record that fulfils it."""
    assert positions(expression, HTTP) == [0]


@pytest.mark.parametrize(
    "expression",
    [
        "missing == 'x'",
        "missing > 5",
        "missing.length > 5",
        "missing.deeper.still == 'x'",
        "'x' in missing",
        "missing[3] == 1",
        "host > 5",
        "host.length.length == 1",
        "status_code =~ '4.*'",
        "status_code.length == 3",
        "status_code % 0 == 1",
        "status_code ** 999999999 > 1",
        "host in 5",
        "host['x'] == 1",
        "tags.to_int == 1",
        "id > 3",
    ],
)
def test_what_cannot_be_evaluated_for_a_record_does_not_match_it(expression: str) -> None:
    """A missing field or a value of another type is no error, and the record after it is looked at."""
    try:
        where = Where(expression)
    except ValueError:
        return
    assert list(where.select(batch(HTTP, {}))) == []


def test_dotted_names_are_found_flat_and_nested() -> None:
    """Zeek writes id.orig_h as one name; other writers nest, and both are the same field."""
    rows = ({"id.orig_h": "h"}, {"id": {"orig_h": "h"}}, {"id.orig_h": "other"}, {"orig_h": "h"})
    assert positions("id.orig_h == 'h'", *rows) == [0, 1]
    assert positions("a.b.c == 1", {"a": {"b.c": 1}}, {"a.b": {"c": 1}}, {"a.b.c": 1}, {"a.b.cc": 1}) == [0, 1, 2]


def test_field_named_as_an_attribute_of_the_engine_is_a_field() -> None:
    """`files.length` is the field of that name if the record has it, else the number of fields below `files`."""
    assert positions("files.length == 7", {"files.length": 7}, {"files.a": 1}) == [0]
    assert positions("files.length == 1", {"files.length": 7}, {"files.a": 1}) == [1]


@pytest.mark.parametrize(
    "row",
    [
        b'{"host":"a.example"}',
        b'{"host":"\\u0061.example"}',
        b'{"h\\u006fst":"a.example"}',
        b'{ "host" :\t"a.example" }',
        b'{"host":"b","host":"a.example"}',
    ],
)
def test_other_writers_spellings_match(row: bytes) -> None:
    """A row matches by what it says, however it is written."""
    assert positions("host == 'a.example'", row) == [0]


def test_escaped_slash_matches() -> None:
    r"""Some writers escape every slash as ``\/``."""
    assert positions("uri == '/a/b'", rb'{"uri":"\/a\/b"}', rb'{"uri":"/a/b"}') == [0, 1]


def test_row_that_python_cannot_represent_is_reported() -> None:
    """Such a row is yielded without a record, for the ledger, if nothing rules it out."""
    assert list(Where("a >= 1").select(batch(b'{"a":"\\ud800"}', {"a": 2}))) == [(0, None), (1, {"a": 2})]


def test_segment_matches_by_its_fields() -> None:
    """Items that are no log batches are one record."""
    segment = Segment(handler="raw", source="c", path="/x", packets=3, disk_size=9, first_ns=1, last_ns=2, linktype=147)
    assert [record and record["packets"] for _, record in Where("packets > 2").select(segment)] == [3]
    assert list(Where("packets > 3").select(segment)) == []


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("status_code >=", "syntax error"),
        ("", "syntax error"),
        ("host =~ '['", "regular expression"),
        ("1 / 0 == 1", "division by zero"),
        ("'a' > 1", "data type mismatch"),
        ("d'yesterday' > ts", "datetime"),
    ],
)
def test_mistake_is_told(expression: str, told: str) -> None:
    """A mistake in the expression is a ValueError that says what it is."""
    with pytest.raises(ValueError, match=told):
        Where(expression)


# ── the quick look at encoded rows against the engine ──

NAMES = st.sampled_from(["a", "b", "id", "id.h", "id.h.x", "a.length", "tags", "A"])
TEXTS = st.sampled_from(["", "x", "X", "10.0.0.1", "a/b", "é", "x y", "<", "null", '"', "\\", "\n", "a.b"])
NUMBERS = st.sampled_from([0, 1, -1, 1.0, 1.5, 404, 10**15])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2)
RECORDS = st.dictionaries(NAMES, VALUES, max_size=5)

LITERALS = st.one_of(
    TEXTS.map(json.dumps),
    NUMBERS.map(repr),
    st.sampled_from(["true", "false", "null", 'd"2024-01-01"', '["x", 1]', '"x"', "t'P1D'"]),
)
FIELDS = st.sampled_from(
    ["a", "b", "id", "id.h", "id.h.x", "id&.h", "a.length", "b.as_lower", "tags[0]", 'id["h"]', "$pi", "a.length.h"]
)
OPERANDS = FIELDS | LITERALS
COMPARISONS = st.tuples(
    OPERANDS, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "=~", "=~~", "!~", "!~~", "in", "not in"]), OPERANDS
).map(" ".join)


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["and", "and", "or"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda e: f"not ({e})"),
        st.tuples(inner, inner, inner).map(lambda t: "(({}) ? ({}) : ({}))".format(*t)),
        st.tuples(inner, inner).map(lambda t: "(({}) == ({}))".format(*t)),
    )


EXPRESSIONS = st.recursive(COMPARISONS | FIELDS, combine, max_leaves=6)


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A record as some writer might spell it."""
    text = json.dumps(
        draw(RECORDS),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
    )
    if draw(st.booleans()):
        text = text.replace("/", "\\/")
    if draw(st.booleans()):
        character = draw(st.sampled_from("ax1<"))
        text = text.replace(character, f"\\u{ord(character):04x}") if _only_in_strings(text, character) else text
    return text.encode()


def _only_in_strings(text: str, character: str) -> bool:
    try:
        return bool(json.loads(text) == json.loads(text.replace(character, f"\\u{ord(character):04x}")))
    except ValueError:
        return False


@settings(max_examples=1500, deadline=None)
@given(EXPRESSIONS, st.lists(spelled(), min_size=1, max_size=4))
def test_quick_look_never_changes_what_matches(expression: str, rows: list[bytes]) -> None:
    """Whatever the expression and the spelling, the same rows match with and without the look at their bytes."""
    try:
        where = Where(expression)
    except ValueError:
        return
    item = batch(*rows)
    quick = list(where.select(item))
    where._needles = ()
    assert quick == list(where.select(item))
