"""Packets as the bytes of a new capture file: nanosecond PCAP, or pcapng with as many interfaces as it takes. Pure."""

from __future__ import annotations

import struct
from typing import Literal, Protocol

from appliance.errors import ApplianceError

from .batch import SNAPLEN_MAX, Interface
from .reader import Packet

__all__ = ["Encoder", "Format", "make_encoder"]

Format = Literal["pcap", "pcapng"]
_NANO = 0xA1B23C4D
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_NAME, _RESOLUTION = 2, 9
_S = 10**9


class Encoder(Protocol):
    """Makes the bytes of one file; `header` comes first."""

    header: bytes

    def encode(self, packet: Packet) -> bytes:
        """The packet's record, with everything that must stand before it.

        Raises:
            ApplianceError: this format cannot hold it; says what can.
        """
        ...


def make_encoder(kind: Format, interface: Interface) -> Encoder:
    """An encoder for a file whose first packet is from `interface`."""
    return PcapEncoder(interface) if kind == "pcap" else PcapngEncoder()


class PcapEncoder:
    """Nanosecond PCAP in little-endian order. Source: pcap-savefile(5)."""

    def __init__(self, interface: Interface) -> None:
        self._linktype = interface.linktype
        self._pack = struct.Struct("<IIII").pack
        self.header = struct.pack("<IHHiIII", _NANO, 2, 4, 0, 0, SNAPLEN_MAX, interface.linktype)

    def encode(self, packet: Packet) -> bytes:
        if packet.interface.linktype != self._linktype:
            raise mixed({self._linktype, packet.interface.linktype})
        seconds, ns = divmod(packet.ts_ns, _S)
        if seconds >> 32:
            raise ApplianceError("a packet of the year 2106 or later does not fit into PCAP", hint="use pcapng")
        return self._pack(seconds, ns, len(packet.data), packet.length) + packet.data


def mixed(linktypes: set[int]) -> ApplianceError:
    """The error for packets of several link types in one PCAP file."""
    found = ", ".join(map(str, sorted(linktypes)))
    return ApplianceError(f"the packets have several link types ({found}), a PCAP file has one", hint="use pcapng")


class PcapngEncoder:
    """One section; equal interfaces of several files become one. Source: draft-ietf-opsawg-pcapng."""

    def __init__(self) -> None:
        self._numbers: dict[Interface, int] = {}
        self._pack = struct.Struct("<IIIIIII").pack
        self.header = _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))

    def encode(self, packet: Packet) -> bytes:
        number = self._numbers.get(packet.interface)
        before = b""
        if number is None:
            number = self._numbers[packet.interface] = len(self._numbers)
            before = _describe(packet.interface)
        caplen = len(packet.data)
        size = 32 + caplen + -caplen % 4
        head = self._pack(_PACKET, size, number, packet.ts_ns >> 32, packet.ts_ns & 0xFFFFFFFF, caplen, packet.length)
        return b"".join((before, head, packet.data, bytes(-caplen % 4), size.to_bytes(4, "little")))


def _describe(interface: Interface) -> bytes:
    options = _option(_NAME, interface.name.encode()) if interface.name else b""
    options += _option(_RESOLUTION, b"\x09") + bytes(4)
    return _block(_INTERFACE, struct.pack("<HHI", interface.linktype & 0xFFFF, 0, interface.snaplen) + options)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + size.to_bytes(4, "little")
