"""The text of numbers, strings, addresses and times, against references made for the purpose."""

from __future__ import annotations

import ipaddress
import json
import random
import struct
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.native import EscapePolicy, TimeFormat, Transcoder

from .wire import ADDR, DOUBLE, ENUM, FILE, FUNC, STRING, SUBNET, TIME, VECTOR, many, one, real, string, value

TRANSCODER = Transcoder()


def texts(kind: int, numbers: list[float], transcoder: Transcoder = TRANSCODER) -> list[bytes]:
    """The text of each number."""
    head = struct.pack(">iiB", kind, 0, 1)
    packed = struct.pack(f">{len(numbers)}d", *numbers)
    elements = b"".join(head + packed[i : i + 8] for i in range(0, len(packed), 8))
    payload = one(value(VECTOR, struct.pack(">q", len(numbers)) + elements))
    return transcoder.batch(payload).data[len(b'{"v":[') : -len(b"]}\n")].split(b",")


def text_of(data: bytes, transcoder: Transcoder = TRANSCODER) -> bytes:
    return transcoder.batch(one(data)).data[len(b'{"v":') : -len(b"}\n")]


def random_doubles(count: int, seed: int) -> list[float]:
    """All magnitudes, and those of logs: times with microseconds, and differences of such times."""
    chance = random.Random(seed)
    bits = chance.randbytes(8 * (count // 2))
    numbers = [x for x in struct.unpack(f">{count // 2}d", bits) if x - x == 0]
    numbers += [chance.randrange(4 * 10**15) / 1e6 for _ in range(count // 4)]
    for _ in range(count - len(numbers)):
        start = chance.randrange(4 * 10**15) / 1e6
        numbers.append(start + chance.randrange(10 ** chance.randint(1, 10)) / 1e6 - start)
    return numbers


def lay_out_repr(number: float) -> bytes:
    """The shortest digits, as Python finds them, in Zeek's layout."""
    sign, digits, exponent = "-" if number < 0 else "", *repr_digits(abs(number))
    point = len(digits) + exponent
    if exponent >= 0 and point <= 21:
        body = digits + "0" * exponent + ".0"
    elif 0 < point <= 21:
        body = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        body = "0." + "0" * -point + digits
    else:
        body = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
    return (sign + body).encode()


def repr_digits(number: float) -> tuple[str, int]:
    mantissa, _, exponent = f"{number!r}e".partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent.rstrip("e") or 0) - len(fraction)
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    return (stripped, power + len(digits) - len(stripped)) if stripped else ("0", 0)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (100.0, "100.0"),
        (0.1, "0.1"),
        (0.00001, "0.00001"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (0.00000012, "1.2e-7"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.5e21, "1.5e21"),
        (123456789012345680000.0, "123456789012345680000.0"),
        (1e100, "1e100"),
        (5e-324, "5e-324"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (2.0**63, "9223372036854776000.0"),
        (9007199254740993.0, "9007199254740992.0"),
        (1056991897.46641, "1056991897.46641"),
        (0.9802639484405518, "0.9802639484405518"),
        (5e-06, "0.000005"),
        (2.0**-1022, "2.2250738585072014e-308"),
        (1e23, "9.999999999999999e22"),
        (9.5e-5, "0.000095"),
    ],
)
def test_layout_of_doubles(number: float, expected: str) -> None:
    """A point always, an exponent only for numbers below 1e-6 or from 1e21 on."""
    assert texts(DOUBLE, [number]) == [expected.encode()]


def test_doubles_are_the_shortest_or_nearly() -> None:
    """Every text reads back as the same double. Nearly all are the shortest and closest such text; Grisu2, and so Zeek,
    gives one in a hundred another last digit, or more digits."""
    numbers = random_doubles(100_000, seed=7)
    different = 0
    for number, text in zip(numbers, texts(DOUBLE, numbers), strict=True):
        assert float(text) == number
        shortest = lay_out_repr(number)
        if text != shortest:
            assert len(shortest) <= len(text) <= 25
            different += 1
    assert 0 < different < len(numbers) / 100


@pytest.mark.slow
def test_millions_of_doubles_read_back() -> None:
    """Three million doubles of all kinds survive the text."""
    for seed in range(3):
        numbers = random_doubles(1_000_000, seed)
        read = msgspec.json.decode(b"[" + b",".join(texts(DOUBLE, numbers)) + b"]", type=list[float])
        assert struct.pack(f"{len(read)}d", *read) == struct.pack(f"{len(numbers)}d", *numbers)


def reference_string(data: bytes, policy: EscapePolicy) -> bytes:
    """Zeek's rules once more, over code points instead of bytes."""
    controls = "\b\t\n\f\r"
    liked = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        liked.append(
            (0x20 <= code < 0x7F)
            or char in controls
            or (code < 0x80 and policy is EscapePolicy.CONTROLS)
            or (
                code >= 0xA0
                and not 0xD800 <= code <= 0xF8FF
                and not 0xFFF0 <= code <= 0xFFFF
            )
        )  # fmt: skip
    out = ""
    for char, is_liked in zip(data.decode("utf-8", "surrogateescape"), liked, strict=True):
        is_hex = not is_liked or (ord(char) >= 0x80 and not all(liked))
        if policy is EscapePolicy.PRIVATE and not is_liked:
            out += "".join(f"\\udb80\\udc{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
        elif policy is not EscapePolicy.PRIVATE and is_hex:
            out += "".join(f"\\\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
        elif char in controls + '"\\':
            out += json.dumps(char)[1:-1]
        elif ord(char) < 0x20:
            out += f"\\u{ord(char):04X}"
        else:
            out += char
    return b'"' + out.encode() + b'"'


STRINGS = {policy: Transcoder(escape=policy) for policy in EscapePolicy}
bits_of_text = st.sampled_from(
    [b"", b"a", b"plain text", b'"', b"\\", b"\n", b"\b\f\r\t", b"\0", b"\x1f", b"\x0b", b"\x7f", "ä".encode(),
     "\x80".encode(), "\x9f".encode(), "\xa0".encode(), "€".encode(), "\ud7ff".encode(), "\ue000".encode(),
     "\uf8ff".encode(), "\uf900".encode(), "\uffef".encode(), "\ufff0".encode(), "\uffff".encode(), "😀".encode(),
     "\U0001fffe".encode(), "\U0010ffff".encode(), b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\x80",
     b"\xf0\x80\x80\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xf5\x80\x80\x80",
     b"\xfc\x80\x80\x80\x80\x80"]
)  # fmt: skip


@given(st.lists(bits_of_text, max_size=12).map(b"".join) | st.binary(max_size=40))
@settings(max_examples=500, deadline=None)
def test_strings_follow_the_policy(data: bytes) -> None:
    """Good text stays; bad bytes are written as the policy says; the result is UTF-8 and JSON."""
    for policy, transcoder in STRINGS.items():
        text = text_of(string(data), transcoder)
        assert text == reference_string(data, policy)
        json.loads(text)


@pytest.mark.parametrize("kind", [ENUM, FUNC, FILE])
def test_private_escapes_are_for_strings_only(kind: int) -> None:
    """Enums, functions and files keep the usual form, as in Zeek 9.0."""
    assert text_of(string(b"a\xff", kind), STRINGS[EscapePolicy.PRIVATE]) == b'"a\\\\xff"'
    assert text_of(string(b"a\xff"), STRINGS[EscapePolicy.PRIVATE]) == b'"a\\udb80\\udcff"'


@pytest.mark.parametrize("length", [*range(20), 4095, 4096, 4097])
def test_strings_of_every_length(length: int) -> None:
    """Whatever stands at the end of a string, or where it is written in pieces, is not lost."""
    for last in (b"", b"a", b'"', b"\x01", b"\xff", "€".encode(), "😀".encode()):
        for fill in (b"x", b"\n", b"\xfe", "é".encode()):
            data = (fill * length)[:length] + last
            for policy, transcoder in STRINGS.items():
                assert text_of(string(data), transcoder) == reference_string(data, policy)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::", "::"),
        ("::1", "::1"),
        ("::2", "::2"),
        ("::1.2.3.4", "::1.2.3.4"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("::ffff:0:1.2.3.4", "::ffff:0:1.2.3.4"),
        ("::fffe:1.2.3.4", "::fffe:102:304"),
        ("::1:0:0", "::1:0:0"),
        ("1::", "1::"),
        ("1:0:0:2::", "1:0:0:2::"),
        ("1::2:0:0:3", "1::2:0:0:3"),
        ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
        ("2001:db8::ff00:42:8329", "2001:db8::ff00:42:8329"),
        ("0:1::", "0:1::"),
        ("fe80::a00:27ff:fe4e:66a1", "fe80::a00:27ff:fe4e:66a1"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
def test_ipv6_addresses(address: str, expected: str) -> None:
    """As inet_ntop prints them, with dots at the end of IPv4 that was put into IPv6."""
    packed = ipaddress.IPv6Address(address).packed
    assert text_of(value(ADDR, b"\6" + packed)) == f'"{expected}"'.encode()
    assert text_of(value(SUBNET, b"\x40\6" + packed)) == f'"{expected}/64"'.encode()


@given(st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xA0B]), min_size=8, max_size=8))
@settings(max_examples=500, deadline=None)
def test_ipv6_addresses_read_back(words: list[int]) -> None:
    """What is printed is the address, and is printed as the standard library does where that knows only hexadecimal."""
    packed = struct.pack(">8H", *words)
    text = json.loads(text_of(value(ADDR, b"\6" + packed)))
    assert ipaddress.IPv6Address(text).packed == packed
    if "." not in text:
        assert text == format(ipaddress.IPv6Address(packed), "s").partition("%")[0]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = {form: Transcoder(time=form) for form in TimeFormat}


@given(st.integers(-30 * 10**9, 250 * 10**9), st.integers(0, 999_999))
@example(-1, 999_999)
@example(951_782_400, 0)  # 29 February 2000
@example(253_402_300_799, 999_999)
@settings(max_examples=1000, deadline=None)
def test_iso_times_are_those_of_the_calendar(second: int, micros: int) -> None:
    """Within the years 1000 to 9999 the text is that of the same moment."""
    number = second + micros / 1e6
    if not -30_610_224_000 <= number <= 253_402_300_799:
        return
    text = texts(TIME, [number], TIMES[TimeFormat.ISO8601])[0].decode().strip('"')
    whole, fraction = text[:19], text[20:-1]
    assert (text[19], text[-1]) == (".", "Z")
    moment = datetime.fromisoformat(whole + "+00:00")
    assert (moment - EPOCH) // timedelta(seconds=1) == number // 1
    assert int(fraction) == round((number % 1) * 1e6)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (-0.5, "1969-12-31T23:59:59.500000Z"),
        (0.9999996, "1970-01-01T00:00:00.1000000Z"),  # Zeek does not carry
        (-1e-20, "1969-12-31T23:59:59.1000000Z"),
        (-62135596800.0, "1-01-01T00:00:00.000000Z"),
        (253402300800.0, "10000-01-01T00:00:00.000000Z"),
        (1e300, "2000-01-01T00:00:00.000000"),
        (-1e18, "2000-01-01T00:00:00.000000"),
        (float("nan"), "2000-01-01T00:00:00.000000"),
        (float("inf"), "2000-01-01T00:00:00.000000"),
    ],
)
def test_iso_times_at_the_edges(number: float, expected: str) -> None:
    """Strange times give what Zeek makes of them."""
    assert texts(TIME, [number], TIMES[TimeFormat.ISO8601]) == [f'"{expected}"'.encode()]


@pytest.mark.parametrize(
    ("number", "signed", "unsigned"),
    [
        (1056991897.458414, b"1056991897458", b"1056991897458"),
        (-1.5, b"-1500", b"18446744073709550116"),
        (-0.0001, b"0", b"0"),
        (1e300, b"-9223372036854775808", b"9223372036854775808"),
        (float("nan"), b"-9223372036854775808", b"9223372036854775808"),
    ],
)
def test_milliseconds(number: float, signed: bytes, unsigned: bytes) -> None:
    """Cut off towards zero; what does not fit is the least number, as on the machines that Zeek runs on."""
    assert texts(TIME, [number], TIMES[TimeFormat.MILLIS]) == [signed]
    assert texts(TIME, [number], TIMES[TimeFormat.MILLIS_UNSIGNED]) == [unsigned]


def test_time_formats_are_for_times_only() -> None:
    """Intervals and other numbers are not touched by them."""
    for transcoder in TIMES.values():
        assert transcoder.batch(one(many(VECTOR, [real(1.5, 6), real(2.5)]))).data == b'{"v":[1.5,2.5]}\n'
    assert texts(STRING, [], TRANSCODER) == [b""]
