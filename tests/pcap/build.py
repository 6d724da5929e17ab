"""Capture files made by hand, byte for byte, so that nothing of the appliance is used to test it."""

from __future__ import annotations

import struct
from pathlib import Path

from appliance.pcap.batch import Interface
from appliance.pcap.reader import CaptureReader, Packet

__all__ = [
    "MAGICS", "block", "enhanced", "header", "interface", "option", "read", "record", "section", "simple", "udp_frame",
]  # fmt: skip

S = 10**9
MAGICS = {"us": 0xA1B2C3D4, "ns": 0xA1B23C4D}


def header(order: str = "<", precision: str = "ns", *, snaplen: int = 65535, linktype: int = 1) -> bytes:
    return struct.pack(order + "IHHiIII", MAGICS[precision], 2, 4, 0, 0, snaplen, linktype)


def record(ts_ns: int, data: bytes, *, length: int | None = None, order: str = "<", precision: str = "ns") -> bytes:
    seconds, rest = divmod(ts_ns, S)
    fraction = rest if precision == "ns" else rest // 1000
    return struct.pack(order + "IIII", seconds, fraction, len(data), len(data) if length is None else length) + data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", *, version: int = 1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, version, 0, -1), order)


def interface(order: str = "<", *, linktype: int = 1, snaplen: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", linktype, 0, snaplen) + options, order)


def enhanced(units: int, data: bytes, *, number: int = 0, length: int | None = None, order: str = "<") -> bytes:
    wire = len(data) if length is None else length
    return block(
        6, struct.pack(order + "IIIII", number, units >> 32, units & 0xFFFFFFFF, len(data), wire) + data, order
    )


def simple(data: bytes, *, length: int | None = None, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(data) if length is None else length) + data, order)


def udp_frame(port: int, payload: bytes = b"x" * 30) -> bytes:
    """An Ethernet frame from 10.0.0.1:40000 to 10.0.0.2."""
    udp = struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    )
    return bytes(6) + b"\x02" + bytes(5) + b"\x08\x00" + ip + udp


def read(path: Path) -> list[Packet]:
    with CaptureReader(path) as reader:
        return list(reader.packets())


ETHERNET = Interface(linktype=1, snaplen=65535)
