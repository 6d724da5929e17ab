"""IP addresses, subnets and ports as Zeek transmits and prints them.

The standard library's ``ipaddress`` is not used: Zeek prints IPv6 addresses a little differently, a Zeek subnet may
have bits behind its prefix, and these are small enough to make one for each field of each record.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["PROTOCOLS", "Address", "Port", "Subnet"]

PROTOCOLS = ("unknown", "tcp", "udp", "icmp")
"""Transport protocols of a port, by their number on the wire."""

_MAPPED = bytes(10) + b"\xff\xff"
_GROUP = re.compile("[0-9A-Fa-f]{1,4}")
_OCTET = re.compile("0|[1-9][0-9]{0,2}")
_LENGTH = re.compile("0|[1-9][0-9]{0,2}")


class Address(msgspec.Struct, frozen=True, gc=False):
    """An IP address in network order: 4 bytes for IPv4, 16 for IPv6.

    A log record can tell IPv4 from the same address mapped into IPv6; in Broker's values the two are one.
    """

    packed: bytes

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``192.0.2.1`` or ``2001:db8::1``.

        Raises:
            ValueError: not an address.
        """
        packed = _parse_ipv6(text) if ":" in text else _parse_ipv4(text)
        if packed is None:
            raise ValueError(f"{text!r} is not an IP address")
        return cls(packed)

    @classmethod
    def unmap(cls, wide: bytes) -> Address:
        """Take 16 bytes in which IPv4 is mapped, as Broker transmits addresses."""
        return cls(wide[12:] if wide.startswith(_MAPPED) else wide)

    @property
    def wide(self) -> bytes:
        """The same in 16 bytes, IPv4 mapped into IPv6."""
        return _MAPPED + self.packed if len(self.packed) == 4 else self.packed

    def __str__(self) -> str:
        packed = self.packed
        if len(packed) == 4:
            return _render_ipv4(packed)
        return _render_ipv6(packed)


class Subnet(msgspec.Struct, frozen=True, gc=False):
    """A network: address and prefix length as people write it, up to 32 for IPv4 and 128 for IPv6."""

    address: Address
    length: int

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """Read ``192.0.2.0/24``; bits behind the prefix are kept.

        Raises:
            ValueError: not a subnet.
        """
        address, slash, length = text.partition("/")
        subnet = cls(Address.parse(address), int(length) if slash and _LENGTH.fullmatch(length) else -1)
        if not 0 <= subnet.length <= subnet.limit:
            raise ValueError(f"{text!r} is not a subnet")
        return subnet

    @property
    def limit(self) -> int:
        """Longest prefix of the address's family."""
        return 8 * len(self.address.packed)

    @property
    def wide_length(self) -> int:
        """Prefix length counted in 128 bits, as all of Zeek's binary formats have it."""
        return self.length + 128 - self.limit

    def masked(self) -> Subnet:
        """The same without bits behind the prefix."""
        packed = self.address.packed
        rest = self.limit - self.length
        number = int.from_bytes(packed, "big") >> rest << rest
        return Subnet(Address(number.to_bytes(len(packed), "big")), self.length)

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


class Port(msgspec.Struct, frozen=True, gc=False):
    """A port and its transport protocol."""

    number: int
    """0 to 65535."""
    protocol: int
    """Index into `PROTOCOLS`."""

    def __str__(self) -> str:
        return f"{self.number}/{PROTOCOLS[self.protocol]}"


def _render_ipv4(packed: bytes) -> str:
    first, second, third, fourth = packed
    return f"{first}.{second}.{third}.{fourth}"


def _render_ipv6(packed: bytes) -> str:
    """Print an IPv6 address the way Zeek does.

    The first of the longest runs of zeros becomes ``::``, if it has two groups at least. The last four bytes are
    written as IPv4 if exactly the groups before them say that they are: IPv4 compatible (``::1.2.3.4``), mapped
    (``::ffff:1.2.3.4``) or translated (``::ffff:0:1.2.3.4``).

    Source: Zeek's ``zeek_inet_ntop``, which is Paul Vixie's ``inet_ntop`` of 1996 with the translated form added.
    """
    groups = [packed[i] << 8 | packed[i + 1] for i in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    words = [f"{group:x}" for group in groups]
    if start == 0 and (
        length == 6 or (length == 5 and groups[5] == 0xFFFF) or (length == 4 and groups[4] == 0xFFFF and groups[5] == 0)
    ):
        words[6:] = [_render_ipv4(packed[12:])]
    if length < 2:
        return ":".join(words)
    return ":".join(words[:start]) + "::" + ":".join(words[start + length :])


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    """Where the first of the longest runs of zeros starts, and how long it is."""
    best = (0, 0)
    run = 0
    for index, group in enumerate(groups):
        run = run + 1 if group == 0 else 0
        if run > best[1]:
            best = (index - run + 1, run)
    return best


def _parse_ipv4(text: str) -> bytes | None:
    parts = text.split(".", 4)
    if len(parts) != 4 or not all(_OCTET.fullmatch(part) for part in parts):
        return None
    numbers = [int(part) for part in parts]
    return bytes(numbers) if max(numbers) < 256 else None


def _parse_ipv6(text: str) -> bytes | None:
    head, gap, tail = text.partition("::")
    first, last = _parse_groups(head, is_end=not gap), _parse_groups(tail, is_end=True)
    if first is None or last is None:
        return None
    missing = 16 - len(first) - len(last)
    if missing < 2 if gap else missing:
        return None
    return first + bytes(missing) + last


def _parse_groups(text: str, *, is_end: bool) -> bytes | None:
    """Bytes of colon-separated groups; the last may be an IPv4 address if the text is the end of an address."""
    if not text:
        return b""
    *words, last = text.split(":", 8)
    end = _parse_ipv4(last) if is_end and "." in last else None
    if end is None:
        words.append(last)
    if not all(_GROUP.fullmatch(word) for word in words):
        return None
    return b"".join(int(word, 16).to_bytes(2, "big") for word in words) + (end or b"")
