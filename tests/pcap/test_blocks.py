"""pcapng as bytes: sections, clocks, kinds of packets, torn and hostile input."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pcap.batch import LONGEST, UNTIMED
from appliance.pcap.blocks import PcapngDecoder

from .build import block, enhanced, interface, option, section, simple

S = 10**9


def decode(data: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes, int, int]], PcapngDecoder, int]:
    """Feed a file in pieces; returns time, bytes, length and interface of its packets, the decoder, the bytes left."""
    decoder = PcapngDecoder()
    found: list[tuple[int, bytes, int, int]] = []
    rest, at = b"", 0
    for cut in [*sorted(cuts), len(data)]:
        rest += data[at:cut]
        at = max(at, cut)
        batch, used = decoder.decode(rest)
        found += [
            (time, rest[start : start + caplen], length, number)
            for time, start, caplen, length, number in zip(*batch[1:], strict=True)
        ]
        rest = rest[used:]
        if decoder.damage:
            break
    return found, decoder, len(rest)


@given(st.data())
def test_sections_of_both_byte_orders_are_read_however_they_arrive(data: st.DataObject) -> None:
    """Each has its own interfaces, numbered from 0 in the section and through in what comes out."""
    file, expected, base = b"", [], 0
    for order in data.draw(st.lists(st.sampled_from("<>"), min_size=1, max_size=3)):
        file += section(order)
        count = data.draw(st.integers(1, 3))
        for _ in range(count):
            file += interface(order, options=option(9, b"\x09", order))
        for _ in range(data.draw(st.integers(0, 4))):
            number, time = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 2**63 - 1))
            body = data.draw(st.binary(max_size=9))
            file += enhanced(time, body, number=number, length=len(body) + 3, order=order)
            file += block(0x0BAD, b"unknown", order) if number else b""
            expected.append((time, body, len(body) + 3, base + number))
        base += count
    found, decoder, left = decode(file, data.draw(st.lists(st.integers(0, len(file)), max_size=5)))
    assert found == expected
    assert (decoder.damage, left, len(decoder.interfaces)) == ("", 0, base)


@pytest.mark.parametrize(
    ("resolution", "units", "ts_ns"),
    [
        (b"\x06", 5_000_001, 5_000_001_000),
        (b"\x09", 5_000_000_001, 5_000_000_001),
        (b"\x00", 7, 7 * S),
        (b"\x03", 7, 7_000_000),
        (b"\x0c", 1_500_000_000_000, 1_500_000_000),
        (b"\x94", 3 << 19, 1_500_000_000),  # 2^-20
        (b"\xff", 2**64 - 1, 0),  # 2^-127
        (b"\x7f", 2**64 - 1, 0),
        (b"\x00", 2**64 - 1, UNTIMED),
    ],
)
def test_every_resolution_becomes_nanoseconds(resolution: bytes, units: int, ts_ns: int) -> None:
    """Powers of ten and of two; what no clock shows is no time."""
    found, _, _ = decode(section() + interface(options=option(9, resolution)) + enhanced(units, b"x"), [])
    assert found == [(ts_ns, b"x", 1, 0)]


def test_the_offset_is_added() -> None:
    """It counts in seconds, and what lies before 1970 is no time."""
    head = section() + interface(options=option(14, struct.pack("<q", 100)) + option(2, b"eth0"))
    found, decoder, _ = decode(head + enhanced(1, b"x"), [])
    assert found[0][0] == 100 * S + 1000
    assert decoder.interfaces[0].name == "eth0"
    head = section() + interface(options=option(14, struct.pack("<q", -100)))
    assert decode(head + enhanced(1, b"x"), [])[0][0][0] == UNTIMED


def test_simple_and_old_packets_are_read() -> None:
    """Simple ones have no time, and the interface's limit says where they end."""
    old = block(2, struct.pack("<HHIIII", 0, 9, 0, 5_000_000, 3, 8) + b"abc")
    found, _, _ = decode(section() + interface(snaplen=4) + simple(b"abcd", length=10) + old + simple(b"xy"), [])
    assert found == [(UNTIMED, b"abcd", 10, 0), (5 * S, b"abc", 8, 0), (UNTIMED, b"xy", 2, 0)]


def test_statistics_tell_what_was_lost() -> None:
    """They count from the beginning: of several for one interface the last is right."""

    def statistics(number: int, dropped: int) -> bytes:
        return block(5, struct.pack("<III", number, 0, 0) + option(5, struct.pack("<Q", dropped)) + option(0, b""))

    file = section() + interface() * 2 + statistics(0, 3) + statistics(1, 10) + statistics(0, 5) + statistics(9, 99)
    assert decode(file, [])[1].drops == 15


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (section() + enhanced(1, b"x"), "a packet of an interface that is not described"),
        (section() + simple(b"x"), "a packet of an interface that is not described"),
        (section() + interface() + section() + enhanced(1, b"x"), "a packet of an interface that is not described"),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)),
            "a packet is longer than its block",
        ),
        (section() + interface() + block(6, b"abcd") + bytes(99), "a block is too short for what it holds"),
        (section() + interface() + block(3, b""), "a block is too short for what it holds"),
        (section() + block(1, b"abcd"), "a block is too short for what it holds"),
        (section() + interface(options=struct.pack("<HH", 2, 500)), "an option is longer than its block"),
        (section(version=2), "pcapng version 2.0 is unknown"),
        (section() + struct.pack("<III", 6, 8, 8), "a block claims 8 bytes"),
        (section() + struct.pack("<III", 6, 14, 14), "a block claims 14 bytes"),
        (section() + struct.pack("<III", 6, LONGEST + 4, 0), f"a block claims {LONGEST + 4} bytes"),
        (section() + struct.pack("<IIII", 99, 16, 0, 20), "the two lengths of a block differ"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "a section of unknown byte order"),
        (interface(), "a block stands before the first section"),
    ],
)
def test_damage_is_told(file: bytes, damage: str) -> None:
    """What stands before it is read; nothing behind it is made up."""
    found, decoder, left = decode(file + section() + interface() + enhanced(1, b"y"), [])
    assert decoder.damage == damage
    assert found == []
    assert left > 0


FILE = section() + interface(options=option(2, b"lo") + option(9, b"\x09")) + enhanced(5, b"abcde") + simple(b"xyz")
FILE += section(">") + interface(">") + enhanced(7, b"q", order=">")


@given(st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), max_size=6))
def test_whatever_is_changed_stays_bounded(changes: list[tuple[int, int]]) -> None:
    """Packets, a torn end or damage; no exception, and all bytes from within the file."""
    data = bytearray(FILE)
    for at, value in changes:
        data[at] = value
    found, decoder, _ = decode(bytes(data), [])
    assert decoder.need <= LONGEST
    assert sum(len(body) for _, body, _, _ in found) <= len(FILE)
    assert all(UNTIMED <= time < 2**63 for time, _, _, _ in found)
