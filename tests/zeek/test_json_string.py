"""Strings as JSON, exactly as Zeek writes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.json_string import EscapeStyle, quote, quote_name

HEX, CONTROLS, PRIVATE = EscapeStyle.HEX, EscapeStyle.CONTROLS, EscapeStyle.PRIVATE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"plain", "plain"),
        (b"a/b", "a/b"),
        (b'say "hi" \\ there', r"say \"hi\" \\ there"),
        (b"\x08\x0c\n\r\t", r"\b\f\n\r\t"),
        ("\u00f1".encode(), "\u00f1"),
        ("\u20a1".encode(), "\u20a1"),
        ("\U0001033c".encode(), "\U0001033c"),
        ("\ud7ff\uf900\uffef\U0010ffff\u00a0".encode(), "\ud7ff\uf900\uffef\U0010ffff\u00a0"),
    ],
)
@pytest.mark.parametrize("style", EscapeStyle)
def test_good_strings(data: bytes, text: str, style: EscapeStyle) -> None:
    """Good UTF-8 is written as it is in every style."""
    assert quote(data, style) == f'"{text}"'.encode()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        # From Zeek's unit tests.
        (b"\xc3\x28", r"\\xc3("),
        (b"\xc0\x81", r"\\xc0\\x81"),
        (b"\xc2\xcf", r"\\xc2\\xcf"),
        (b"\xa0\xa1", r"\\xa0\\xa1"),
        (b"\xe0\x80\xa1", r"\\xe0\\x80\\xa1"),
        (b"\xe2\x28\xa1", r"\\xe2(\\xa1"),
        (b"\xed\xa0\xa1", r"\\xed\\xa0\\xa1"),
        (b"\xe2\x82\x28", r"\\xe2\\x82("),
        (b"\xf0\x80\x8c\xbc", r"\\xf0\\x80\\x8c\\xbc"),
        (b"\xf4\x90\x8c\xbc", r"\\xf4\\x90\\x8c\\xbc"),
        (b"\xf0\x28\x8c\x28", r"\\xf0(\\x8c("),
        (b"\xf4\x80\x8c", r"\\xf4\\x80\\x8c"),
        (b"\xee\x8b\xa0", r"\\xee\\x8b\\xa0"),
        (b"\xc3\xb1\xc0\x81", r"\\xc3\\xb1\\xc0\\x81"),
        # What Zeek does not like, though it is UTF-8.
        (b"\xc2\x80", r"\\xc2\\x80"),
        (b"\xc2\x9f", r"\\xc2\\x9f"),
        (b"\xef\xa3\xbf", r"\\xef\\xa3\\xbf"),
        (b"\xef\xbf\xb0", r"\\xef\\xbf\\xb0"),
        (b"\xef\xbf\xbd", r"\\xef\\xbf\\xbd"),
        # One bad byte spoils the others; line breaks and quotes stay.
        ('h\u00e9llo \n"'.encode() + b"\xff", r"h\\xc3\\xa9llo \n\"\\xff"),
        (b"\xf8\x88\x80\x80\x80", r"\\xf8\\x88\\x80\\x80\\x80"),
    ],
)
@pytest.mark.parametrize("style", [HEX, CONTROLS])
def test_bad_strings(data: bytes, text: str, style: EscapeStyle) -> None:
    """Every byte that is not printable ASCII is written out as text."""
    assert quote(data, style) == f'"{text}"'.encode()


@pytest.mark.parametrize(
    ("data", "as_hex", "as_controls"),
    [
        (b"\x07o", r"\\x07o", r"\u0007o"),
        (b"\x00\x15", r"\\x00\\x15", r"\u0000\u0015"),
        (b"\x7f", r"\\x7f", "\x7f"),
        (b"\x0b\n", r"\\x0b\n", r"\u000B\n"),
        (b"\x07\xd4\xb7o", r"\\x07\\xd4\\xb7o", "\\u0007\u0537o"),
        (b"\x07\xff", r"\\x07\\xff", r"\u0007\\xff"),
    ],
)
def test_control_characters(data: bytes, as_hex: str, as_controls: str) -> None:
    """Zeek 8.1 leaves them to JSON; before and after it they spoil the string."""
    assert quote(data) == quote(data, HEX) == f'"{as_hex}"'.encode()
    assert quote(data, CONTROLS) == f'"{as_controls}"'.encode()


def test_private_characters() -> None:
    """Only the bad bytes themselves are replaced, and can be told from everything else."""
    data = 'h\u00e9 "\\\n'.encode() + b"\x00\xff\x7f\xee\x8b\xa0" + "\u00e9".encode()
    expected = (
        '"h\u00e9 \\"\\\\\\n\\udb80\\udc00\\udb80\\udcff\\udb80\\udc7f\\udb80\\udcee\\udb80\\udc8b\\udb80\\udca0\u00e9"'
    )
    assert quote(data, PRIVATE) == expected.encode()
    assert json.loads(quote(b"\xff", PRIVATE)) == "\U000f00ff"


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=30) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_strings_are_always_json_without_newlines(data: bytes) -> None:
    """Whatever the bytes, the line stays one line of valid JSON; good text reads back."""
    for style in EscapeStyle:
        text = quote(data, style)
        assert b"\n" not in text
        assert isinstance(json.loads(text), str)
    name = quote_name(data)
    assert b"\n" not in name
    try:
        good = data.decode()
    except UnicodeDecodeError:
        assert isinstance(json.loads(name), str)
    else:
        assert json.loads(name) == good


def _is_liked(char: str) -> bool:
    code = ord(char)
    bad = code < 0x20 or 0x7F <= code < 0xA0 or 0xE000 <= code <= 0xF8FF or 0xFFF0 <= code <= 0xFFFF
    return not bad or char in "\b\f\n\r\t"


def test_every_character() -> None:
    """Each of Unicode's characters by itself is written as it is, or as its bytes."""
    for code in [*range(0xD800), *range(0xE000, 0x11000), 0x1FFFE, 0xFFFFF, 0x10FFFF]:
        data = chr(code).encode()
        read = json.loads(quote(data))
        assert read == (chr(code) if _is_liked(chr(code)) else "".join(f"\\x{byte:02x}" for byte in data))
