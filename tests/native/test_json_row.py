"""The row check against Python's own JSON reader, and the corners of UTF-8 and of the grammar."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.native import check_json_row

CONN = (
    b'{"_node":"worker-1","_seq":17,"ts":1700000000.123456,"uid":"CHhAvVGS1DHFjwGM9","id.orig_h":"fe80::1",'
    b'"id.orig_p":51544,"proto":"tcp","duration":-1.5e-05,"service":null,"local_orig":true,"local_resp":false,'
    b'"tunnel_parents":["CabC",[]],"note":"t\\u00e4glich \\"x\\" \\\\ ",'
    b'"place":"K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x90\xa7",'
    b'"nested":{"a":{},"b":[1,0,-0,10.25E+3]}}'
)


def refuse(name: str) -> NoReturn:
    raise ValueError(name)


def depth(value: Any) -> int:
    """Nesting of what `json.loads` made with objects as tuples of pairs, so that repeated names hide nothing."""
    if isinstance(value, tuple):
        return 1 + max((depth(item) for _, item in value), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def is_row(row: bytes) -> bool:
    """What the check promises, said with Python's reader."""
    if any(byte < 0x20 for byte in row):
        return False
    try:
        value = json.loads(row.decode(), parse_constant=refuse, object_pairs_hook=tuple)
    except ValueError:
        return False
    return isinstance(value, tuple) and depth(value) <= 64


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
objects = st.dictionaries(st.text(), values)


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    spaces = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]))
    text = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()), separators=spaces)
    return text.encode()


@st.composite
def damaged_rows(draw: st.DrawFn) -> bytes:
    row = bytearray(draw(rows() | st.just(CONN)))
    interesting = st.sampled_from(
        list(b'{}[]",:\\ \t\n\x00\x1f/u0123e.+-tfn\x7f\x80\xbf\xc0\xe0\xed\xf4\xff')
    ) | st.integers(0, 255)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(row)))
        cut = draw(st.integers(0, 2))
        row[at : at + cut] = bytes(draw(st.lists(interesting, max_size=2)))
    return bytes(row)


@given(rows())
@settings(max_examples=40, deadline=None)
def test_every_object_that_python_writes_is_accepted(row: bytes) -> None:
    """Whatever json.dumps makes of a dict is a row."""
    assert check_json_row(row)


@given(damaged_rows())
@example(CONN)
@settings(max_examples=100, deadline=None)
def test_damaged_rows_are_judged_as_python_judges_them(row: bytes) -> None:
    """After random edits, the check says what Python's reader says."""
    assert check_json_row(row) == is_row(row)


@given(st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_bytes_in_a_string_are_judged_as_utf_8(content: bytes) -> None:
    """Raw bytes as a string value, at every alignment that the prefix gives, agree with Python's decoder."""
    for pad in range(9):
        row = b'{"' + b"k" * pad + b'":"' + content + b'"}'
        assert check_json_row(row) == is_row(row)


def test_every_truncation_is_refused() -> None:
    """No proper prefix of a row is a row."""
    assert check_json_row(CONN)
    assert not any(check_json_row(CONN[:end]) for end in range(len(CONN)))


def test_every_single_byte_change_is_judged_as_python_judges_it() -> None:
    """Each position of a short row with each of the 256 bytes."""
    row = b'{"a":[1.5e3,"\\u00e4\xc3\xa4"],"b":null}'
    for at in range(len(row)):
        for byte in range(256):
            changed = row[:at] + bytes([byte]) + row[at + 1 :]
            assert check_json_row(changed) == is_row(changed), changed


@pytest.mark.parametrize("where", ["object", "array"])
def test_nesting_ends_at_64(where: str) -> None:
    """64 levels pass and 65 do not, whichever containers they are."""

    def nested(levels: int) -> bytes:
        if where == "object":
            return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert check_json_row(nested(64))
    assert not check_json_row(nested(65))
    assert not check_json_row(nested(100_000))


def test_brackets_must_match_at_every_level() -> None:
    """A container is closed by its own bracket, also 64 levels down."""
    opening = b'{"a":' + b'[{"a":' * 31
    assert check_json_row(opening + b"[]" + b"}]" * 31 + b"}")
    assert not check_json_row(opening + b"[]" + b"}]" * 30 + b"]}" + b"}")
    assert not check_json_row(opening + b"[}" + b"}]" * 31 + b"}")


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F])
def test_control_characters_are_refused_everywhere(byte: int) -> None:
    """No byte below 0x20 passes, in a string or between tokens; DEL in a string is legal."""
    raw = bytes([byte])
    assert check_json_row(b'{"a":"xxxxxxxxx' + raw + b'"}') == (byte == 0x7F)
    for row in (raw + b"{}", b"{" + raw + b"}", b'{"a"' + raw + b":1}", b'{"a":1' + raw + b"}", b"{}" + raw):
        assert not check_json_row(row)


@pytest.mark.parametrize(
    ("encoded", "good"),
    [
        (b"\x7f", True),
        (b"\xc2\x80", True),
        (b"\xdf\xbf", True),
        (b"\xe0\xa0\x80", True),
        (b"\xed\x9f\xbf", True),
        (b"\xee\x80\x80", True),
        (b"\xef\xbf\xbf", True),
        (b"\xf0\x90\x80\x80", True),
        (b"\xf4\x8f\xbf\xbf", True),
        (b"\x80", False),
        (b"\xc0\x80", False),
        (b"\xc1\xbf", False),
        (b"\xe0\x9f\xbf", False),
        (b"\xed\xa0\x80", False),
        (b"\xed\xbf\xbf", False),
        (b"\xf0\x8f\xbf\xbf", False),
        (b"\xf4\x90\x80\x80", False),
        (b"\xf5\x80\x80\x80", False),
        (b"\xff", False),
        (b"\xe2\x82", False),
        (b"\xf0\x9f\x90", False),
        (b"\xc3(", False),
        (b"\xe2\x82(", False),
        (b"\xf0\x9f\x90(", False),
    ],
)
def test_the_edges_of_utf_8(encoded: bytes, good: bool) -> None:
    """First and last characters of each length pass; overlong forms, surrogates, stray and missing bytes do not."""
    assert check_json_row(b'{"' + encoded + b'":"' + encoded + b'"}') == good


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b" ",
        b"[]",
        b'"a"',
        b"1",
        b"null",
        b"{}{}",
        b"{} {}",
        b"{},",
        b"{",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{,"a":1}',
        b"{a:1}",
        b"{'a':1}",
        b'{"a":[1,]}',
        b'{"a":[,1]}',
        b'{"a":[1 2]}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":-}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":1e}',
        b'{"a":1e+}',
        b'{"a":0x1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":True}',
        b'{"a":nul}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12g4"}',
        b'{"a":"\\u12"}',
        b'{"a":1}\n',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}\x00',
    ],
)
def test_what_is_no_row(row: bytes) -> None:
    """Other values, several values, and the liberties that other readers grant are refused."""
    assert not check_json_row(row)


@pytest.mark.parametrize(
    "row",
    [b"{}", b"  { }  ", b'{"a":1,"a":2}', b'{"":""}', b'{"a":"\\ud800"}', b'{"a":1E-999}', b'{"a":-0}', b'{"a":"\\/"}'],
)
def test_what_is_a_row(row: bytes) -> None:
    """Odd things that RFC 8259 allows."""
    assert check_json_row(row)
