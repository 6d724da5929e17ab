"""Addresses, subnets and ports as text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.address import Address, Port, Subnet


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        ("c0000201", "192.0.2.1"),
        ("00000000", "0.0.0.0"),
        ("20010db8000000000000000000000001", "2001:db8::1"),
        ("00000000000000000000000000000000", "::"),
        ("00000000000000000000000000000001", "::1"),
        ("00000000000000000000000000000002", "::2"),
        ("00000000000000000000000001020304", "::1.2.3.4"),
        ("00000000000000000000ffff01020304", "::ffff:1.2.3.4"),
        ("0000000000000000ffff000001020304", "::ffff:0:1.2.3.4"),
        ("0000000000000000000000ff01020304", "::ff:102:304"),
        ("20010db8000000010000000000000000", "2001:db8:0:1::"),
        ("20010db8000000000001000000000001", "2001:db8::1:0:0:1"),
        ("20010000000100020003000400050006", "2001:0:1:2:3:4:5:6"),
        ("fe80000000000000020abcfffe123456", "fe80::20a:bcff:fe12:3456"),
    ],
)
def test_addresses_read_as_zeek_prints_them(packed: str, text: str) -> None:
    """The text is Zeek's, and reads back."""
    assert str(Address(bytes.fromhex(packed))) == text
    assert Address.parse(text) == Address(bytes.fromhex(packed))


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_addresses_read_back(packed: bytes) -> None:
    """Every address is read back, by us and by the standard library."""
    text = str(Address(packed))
    assert Address.parse(text).packed == packed
    assert ipaddress.ip_address(text).packed == packed


@settings(deadline=None)
@given(st.ip_addresses())
def test_other_spellings_are_read(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The full form of an address is read, too."""
    assert Address.parse(address.exploded).packed == address.packed


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            ":",
            ":::",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.-4",
            "1.2.3.4/8",
            "localhost",
        ),
        *("1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::12345", "::g", "1.2.3.4::", "::1.2.3", "::1.2.3.4:5"),
        *("1:2:3:4:5:6:7::8", "::1%eth0", " ::1", "\u0661.2.3.4", "::ffff:1.2.3.4.5", "1:2:3:4:5:6:7:1.2.3.4"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is not an IP address"):
        Address.parse(text)


@settings(deadline=None)
@given(st.text(alphabet="0123456789abcdf:./%", max_size=30))
def test_we_read_nothing_that_the_standard_library_refuses(text: str) -> None:
    """Both agree on what an address is."""
    try:
        expected = ipaddress.ip_address(text).packed
    except ValueError:
        expected = None
    try:
        got = Address.parse(text).packed
    except ValueError:
        got = None
    assert got == expected


def test_subnets() -> None:
    """A subnet has its usual length as text and a length in 128 bits on the wire."""
    subnet = Subnet.parse("10.1.2.3/8")
    assert str(subnet) == "10.1.2.3/8"
    assert str(subnet.masked()) == "10.0.0.0/8"
    assert subnet.wide_length == 104
    assert Subnet.parse("2001:db8::/32").wide_length == 32
    assert str(Subnet.parse("::/0").masked()) == "::/0"


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129", "::/-1", "/8", "10.0.0.0/08"])
def test_what_is_no_subnet_is_refused(text: str) -> None:
    """Neither a missing length nor one out of range is a subnet."""
    with pytest.raises(ValueError, match="is not"):
        Subnet.parse(text)


def test_port() -> None:
    """A port prints with its protocol."""
    assert [str(Port(53, number)) for number in range(4)] == ["53/unknown", "53/tcp", "53/udp", "53/icmp"]
