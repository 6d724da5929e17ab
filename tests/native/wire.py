"""Zeek's binary log records, and Broker's messages around them, written by hand for the tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

BOOL, INT, COUNT, DOUBLE, TIME, INTERVAL, STRING, ENUM = 1, 2, 3, 4, 5, 6, 7, 9
PORT, ADDR, SUBNET, TABLE, FUNC, FILE, VECTOR = 10, 11, 12, 14, 17, 18, 19

Field = tuple[str | bytes, int]

SPEC_HEADER = bytes.fromhex(
    "0000000944656d6f3a3a4c4f47000000114c6f673a3a5752495445525f415343494900000007646566"
    "61756c740000000464656d6f000000090000000002747300000005000000000000000000037569640000"
    "000700000000000000000009"
    "69642e6f7269675f680000000b00000000000000000009"
    "69642e6f7269675f700000000a0000000000000000000570726f746f00000009000000000000000000"
    "086475726174696f6e000000060000000001000000"
    "00016e000000030000000001000000000474616773"
    "0000000e000000070100000000036e65740000000c0000000001"
)
"""A batch with one record, byte for byte from the format's description, in three parts."""
SPEC_RECORD = bytes.fromhex(
    "00000005000000000141d954fc40200000"
    "0000000700000000010000000543416263310000000b000000000104c0000201"
    "0000000a0000000001000000000000003500000002"
    "00000009000000000100000003756470"
    "000000060000000000"
    "0000000300000000010000000000000007"
    "0000000e00000000010000000000000001"
    "0000000700000000010000000161"
    "0000000c000000000168040a000000"
)
SPEC_BATCH = SPEC_HEADER + b"\0\0\0\1" + SPEC_RECORD
SPEC_LINE = (
    b'{"ts":1700000000.5,"uid":"CAbc1","id.orig_h":"192.0.2.1","id.orig_p":53,"proto":"udp","n":7,"tags":["a"],'
    b'"net":"10.0.0.0/8"}\n'
)


def text(data: str | bytes) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def value(kind: int, body: bytes | None, *, mark: int = 1) -> bytes:
    """One value; unset if there is no body."""
    return struct.pack(">iiB", kind, 0, 0 if body is None else mark) + (body or b"")


def real(number: float, kind: int = DOUBLE) -> bytes:
    return value(kind, struct.pack(">d", number))


def string(data: str | bytes, kind: int = STRING) -> bytes:
    return value(kind, text(data))


def many(kind: int, elements: Iterable[bytes]) -> bytes:
    elements = list(elements)
    return value(kind, struct.pack(">q", len(elements)) + b"".join(elements))


def header(
    fields: Sequence[Field], *, stream: str = "X::LOG", writer: str = "W", filter_: str = "default", path: str = "x"
) -> bytes:
    columns = [b"\0" + text(name) + struct.pack(">iiB", kind, 0, 1) for name, kind in fields]
    names = b"".join(map(text, (stream, writer, filter_, path)))
    return names + struct.pack(">I", len(columns)) + b"".join(columns)


def batch(fields: Sequence[Field], *records: bytes, path: str = "x", stream: str = "X::LOG") -> bytes:
    return header(fields, path=path, stream=stream) + struct.pack(">I", len(records)) + b"".join(records)


def one(data: bytes, name: str | bytes = "v") -> bytes:
    """A batch of one record with one column."""
    return batch([(name, 0)], data)


def varbyte(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def vector(*items: bytes) -> bytes:
    return b"\x0e" + varbyte(len(items)) + b"".join(items)


def count(number: int) -> bytes:
    return b"\x02" + struct.pack(">Q", number)


def named(tag: int, data: str | bytes) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return bytes((tag,)) + varbyte(len(data)) + data


def message(kind: int, content: bytes, *more: bytes) -> bytes:
    return vector(count(1), count(kind), content, *more)


def log_write(*columns: bytes, path: str = "x", stream: str = "X::LOG", writer: str = "W") -> bytes:
    serial = struct.pack(">I", len(columns)) + b"".join(columns)
    return message(3, vector(named(11, stream), named(11, writer), named(5, path), named(5, serial)))
