"""YAML with limits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ait.document import MAX_BYTES, parse_document
from appliance.errors import ConfigError


def refused(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_document("bsc.yaml", text.encode() if isinstance(text, str) else text)
    return str(caught.value)


def test_lines_are_known_down_to_the_keys_of_handlers() -> None:
    """A key that is not written has the line of what is around it."""
    document = parse_document("x", b"handlers:\n  - name: a\n    address:\n      - ''\n      - 1\n  - {name: b}\n")
    assert document.line(("handlers", 0, "name")) == 2
    assert document.line(("handlers", 1, "name")) == 6
    assert document.line(("handlers", 1, "conn_type")) == 6
    assert document.line(("handlers",)) == 1
    assert document.line(("capture_manager",)) == 0


def test_anchors_and_merged_keys_are_read() -> None:
    """People write them."""
    document = parse_document("x", b"a: &a {x: 1}\nhandlers:\n  - {<<: *a, y: 2}\n  - *a\n")
    assert document.data["handlers"] == [{"x": 1, "y": 2}, {"x": 1}]


def test_the_text_of_a_bomb_is_read_without_exploding() -> None:
    """Ten levels of nine aliases each mean a billion values: merged keys are counted, lists stay shared."""
    lists = "l0: &l0 [x]\n" + "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 10))
    assert parse_document("x", lists.encode()).data.keys() == {f"l{i}" for i in range(10)}
    merged = "m0: &m0 {x: 1}\n"
    merged += "".join(f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
    assert "a mapping of more than 1000 keys" in refused(merged)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [" * 40, "bsc.yaml:1: nested too deeply"),
        ("[" * 100_000, "bsc.yaml:1: nested too deeply"),
        ("a: &a 1\nb: [" + "*a, " * 1001 + "]", "bsc.yaml:2: more than 1000 aliases"),
        ("a: !!python/object/apply:os.system ['true']", "bsc.yaml:1: could not determine a constructor"),
        ("a: %Y-{name}.pcap", "bsc.yaml:1: found character '%' that cannot start any token, write it in quotes"),
        ("a: b: c", "bsc.yaml:1: mapping values are not allowed here"),
        ("a: *nothing", "bsc.yaml:1: found undefined alias 'nothing'"),
        (b"\xff\xfe\xff", "bsc.yaml: is not YAML: "),
        ("a: 2026-99-99", "bsc.yaml: is not YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "bsc.yaml: is not YAML: Exceeds the limit"),
        ("#" * (MAX_BYTES + 1), f"bsc.yaml: has {MAX_BYTES + 1} bytes, at most {MAX_BYTES} are read"),
        ("{a: 1, [b]: 2}", "bsc.yaml:1: found unhashable key"),
        ("a: 1\n---\nb: 2\n", "bsc.yaml:2: but found another document"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str | bytes, told: str) -> None:
    """One error, whatever the library says."""
    assert refused(text).startswith(told)


@given(st.text(alphabet="ab:-*&<>[]{}'\"#!|?%@ \n\t0.", max_size=60) | st.binary(max_size=40))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """No other exception comes out."""
    with contextlib.suppress(ConfigError):
        parse_document("x", text.encode() if isinstance(text, str) else text)
