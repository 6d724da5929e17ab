"""PCAP as bytes: dialects, splits, torn and hostile input."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.pcap.batch import LONGEST
from appliance.pcap.classic import HEADER_BYTES, PcapDecoder

from .build import header, record

ORDERS = st.sampled_from("<>")
PRECISIONS = st.sampled_from(["us", "ns"])
PACKETS = st.lists(st.tuples(st.integers(0, 2**32 * 10**6 - 1), st.binary(max_size=40), st.integers(0, 9)), max_size=12)


def decode(data: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes, int]], PcapDecoder, int]:
    """Feed a file in pieces that end at `cuts`; returns its packets, the decoder, and the bytes left."""
    decoder = PcapDecoder(data[:HEADER_BYTES])
    found: list[tuple[int, bytes, int]] = []
    rest = b""
    at = HEADER_BYTES
    for cut in [*sorted(max(cut, HEADER_BYTES) for cut in cuts), len(data)]:
        rest += data[at:cut]
        at = max(at, cut)
        batch, used = decoder.decode(rest)
        assert len(rest) - used < max(decoder.need, 1) or decoder.damage
        found += [
            (time, rest[start : start + caplen], length)
            for time, start, caplen, length in zip(batch.times, batch.starts, batch.caplens, batch.lengths, strict=True)
        ]
        rest = rest[used:]
    return found, decoder, len(rest)


@given(ORDERS, PRECISIONS, PACKETS, st.lists(st.integers(0, 600), max_size=5))
def test_every_dialect_is_read_however_it_arrives(
    order: str, precision: str, packets: list[tuple[int, bytes, int]], cuts: list[int]
) -> None:
    """Both byte orders, both precisions, in any pieces."""
    data = header(order, precision, linktype=147) + b"".join(
        record(us * 1000, body, length=len(body) + more, order=order, precision=precision) for us, body, more in packets
    )
    found, decoder, left = decode(data, cuts)
    assert found == [(us * 1000, body, len(body) + more) for us, body, more in packets]
    assert (left, decoder.damage, decoder.precision) == (0, "", precision)
    assert decoder.interfaces[0].linktype == 147


@given(PACKETS, st.integers(1, 200))
def test_a_torn_end_costs_only_the_last_packet(packets: list[tuple[int, bytes, int]], missing: int) -> None:
    """What stands before is read, and nothing is made up."""
    whole = [record(us * 1000, body) for us, body, _ in packets]
    data = header() + b"".join(whole)
    torn = data[: max(HEADER_BYTES, len(data) - missing)]
    found, decoder, left = decode(torn, [])
    assert [body for _, body, _ in found] == [body for _, body, _ in packets][: len(found)]
    assert sum(len(each) for each in whole[: len(found)]) + left + HEADER_BYTES == len(torn)
    assert not decoder.damage


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_garbage_is_bounded(garbage: bytes, cuts: list[int]) -> None:
    """Anything behind a header ends as packets, a torn end or damage, and never asks for more than a limit."""
    _, decoder, _ = decode(header() + garbage, cuts)
    assert decoder.need <= LONGEST + 16


def test_a_length_beyond_reason_is_damage() -> None:
    """Nobody waits for 4 GiB, whatever snapshot length the header claims."""
    data = header(snaplen=2**32 - 1) + struct.pack("<IIII", 1, 2, LONGEST + 1, LONGEST + 1)
    found, decoder, _ = decode(data, [])
    assert found == []
    assert decoder.damage == f"a packet claims {LONGEST + 1} bytes"


@pytest.mark.parametrize("cut", range(24, 24 + 17 + 24 + 1))
def test_a_second_header_is_passed_over(cut: int) -> None:
    """Two programs that append to one file leave one; the packets behind it are no garbage."""
    data = header(precision="us") + record(1000, b"a", precision="us") + header(precision="us")
    data += record(2000, b"b", precision="us")
    found, decoder, left = decode(data, [cut])
    assert [body for _, body, _ in found] == [b"a", b"b"]
    assert (decoder.headers, left) == (2, 0)


def test_other_versions_are_refused() -> None:
    """Version 1 had another layout."""
    with pytest.raises(RemoteProtocolError, match=r"PCAP version 1\.4 is unknown"):
        PcapDecoder(struct.pack("<IHHiIII", 0xA1B2C3D4, 1, 4, 0, 0, 65535, 1))


def test_bits_about_check_sequences_are_no_link_type() -> None:
    """The upper bits of the field tell about frame check sequences."""
    assert PcapDecoder(header(linktype=0xF4000001)).interfaces[0].linktype == 1
