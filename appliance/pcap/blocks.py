"""pcapng as bytes: sections of either byte order, any number of interfaces with clocks of their own. Pure.

Source: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from appliance.errors import RemoteProtocolError

from .batch import LONGEST, SNAPLEN_MAX, UNTIMED, Batch, Interface

__all__ = ["PcapngDecoder", "is_pcapng"]

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
_MAGIC = _SECTION.to_bytes(4, "little")  # a palindrome, so that it can be read before the byte order is known
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_NAME, _RESOLUTION, _OFFSET = 2, 9, 14
_IF_DROPPED, _OS_DROPPED = 5, 7
_LEAST = {_SECTION: 16, _INTERFACE: 8, _OLD_PACKET: 20, _SIMPLE: 4, _STATISTICS: 12, _PACKET: 20}
"""Bytes of a body without data and options."""
_FRAME = 12  # type, length, and the length once more
_MAX_INTERFACES = 65536
_S = 10**9
_END_NS = 2**63


class _Clock(NamedTuple):
    """How the times of one interface count."""

    units: int
    """For each second."""
    offset_ns: int


def is_pcapng(start: bytes) -> bool:
    """Whether a file that begins so may be pcapng; fewer than 4 bytes never are."""
    return start[:4] == _MAGIC


class PcapngDecoder:
    """See `Decoder`. Blocks that hold no packets are passed over; unknown ones as well."""

    format = "pcapng"

    def __init__(self) -> None:
        self.interfaces: list[Interface] = []
        self.damage = ""
        self.need = _FRAME
        self.headers = 0
        self._base = 0
        """Index of the section's first interface."""
        self._clocks: list[_Clock] = []
        self._dropped: dict[int, int] = {}
        self._set_order("<")

    @property
    def precision(self) -> str:
        names = {10**6: "us", _S: "ns"}
        found = {names.get(clock.units, f"1/{clock.units} s") for clock in self._clocks}
        return "mixed" if len(found) > 1 else next(iter(found), "us")

    @property
    def drops(self) -> int:
        return sum(self._dropped.values())

    def _set_order(self, order: str) -> None:
        self._order = order
        self._head = struct.Struct(order + "II").unpack_from
        self._tail = struct.Struct(order + "I").unpack_from
        self._packet = struct.Struct(order + "IIIII").unpack_from
        self._old = struct.Struct(order + "HHIIII").unpack_from

    def decode(self, data: bytes) -> tuple[Batch, int]:
        batch = Batch.empty(data)
        at, end = 0, len(data)
        self.need = _FRAME
        try:
            while end - at >= _FRAME:
                if data.startswith(_MAGIC, at):
                    self._begin_section(data, at)
                elif not self.headers:
                    raise RemoteProtocolError("a block stands before the first section")
                kind, size = self._head(data, at)
                if size < _FRAME or size % 4 or size > LONGEST:
                    raise RemoteProtocolError(f"a block claims {size} bytes")
                if end - at < size:
                    self.need = size
                    break
                if self._tail(data, at + size - 4)[0] != size:
                    raise RemoteProtocolError("the two lengths of a block differ")
                self._block(kind, at + 8, at + size - 4, batch)
                at += size
        except RemoteProtocolError as exc:
            self.damage = exc.message
        return batch, at

    def _begin_section(self, data: bytes, at: int) -> None:
        """Learn the byte order before the block's length is read; the block itself may not be whole yet."""
        order = _BYTE_ORDERS.get(data[at + 8 : at + 12])
        if order is None:
            raise RemoteProtocolError("a section of unknown byte order")
        self._set_order(order)

    def _block(self, kind: int, at: int, end: int, batch: Batch) -> None:
        """One whole block, its body from `at` to `end`."""
        if end - at < _LEAST.get(kind, 0):
            raise RemoteProtocolError("a block is too short for what it holds")
        if kind == _PACKET:
            interface, high, low, caplen, length = self._packet(batch.data, at)
            self._add(interface, high << 32 | low, at + 20, caplen, length, end, batch)
        elif kind == _OLD_PACKET:
            interface, _, high, low, caplen, length = self._old(batch.data, at)
            self._add(interface, high << 32 | low, at + 20, caplen, length, end, batch)
        elif kind == _SIMPLE:
            (length,) = self._tail(batch.data, at)
            if self._base >= len(self.interfaces):
                raise RemoteProtocolError("a packet of an interface that is not described")
            caplen = min(length, self.interfaces[self._base].snaplen or length, end - at - 4)
            self._add(0, None, at + 4, caplen, length, end, batch)
        elif kind == _SECTION:
            self._describe_section(batch.data, at)
        elif kind == _INTERFACE:
            self._describe_interface(batch.data, at, end)
        elif kind == _STATISTICS:
            self._count_drops(batch.data, at, end)

    def _add(
        self, interface: int, time: int | None, start: int, caplen: int, length: int, end: int, batch: Batch
    ) -> None:
        number = self._base + interface
        if number >= len(self.interfaces):
            raise RemoteProtocolError("a packet of an interface that is not described")
        if start + caplen > end:
            raise RemoteProtocolError("a packet is longer than its block")
        ts_ns = UNTIMED
        if time is not None:
            units, offset_ns = self._clocks[number]
            ts_ns = (time if units == _S else time * _S // units) + offset_ns
            if not 0 <= ts_ns < _END_NS:
                ts_ns = UNTIMED
        batch.times.append(ts_ns)
        batch.starts.append(start)
        batch.caplens.append(caplen)
        batch.lengths.append(length)
        batch.interfaces.append(number)

    def _describe_section(self, data: bytes, at: int) -> None:
        major, minor = struct.unpack_from(self._order + "HH", data, at + 4)
        if major != 1:
            raise RemoteProtocolError(f"pcapng version {major}.{minor} is unknown")
        self.headers += 1
        self._base = len(self.interfaces)

    def _describe_interface(self, data: bytes, at: int, end: int) -> None:
        if len(self.interfaces) >= _MAX_INTERFACES:
            raise RemoteProtocolError(f"more than {_MAX_INTERFACES} interfaces")
        linktype, _, snaplen = struct.unpack_from(self._order + "HHI", data, at)
        options = self._options(data, at + 8, end)
        resolution, offset = options.get(_RESOLUTION, b"\6")[:1] or b"\6", options.get(_OFFSET, b"")
        exponent = resolution[0] & 0x7F
        offset_s = struct.unpack(self._order + "q", offset)[0] if len(offset) == 8 else 0
        self._clocks.append(_Clock(2**exponent if resolution[0] & 0x80 else 10**exponent, offset_s * _S))
        name = options.get(_NAME, b"").decode("utf-8", "replace")[:256].rstrip("\0")
        self.interfaces.append(Interface(linktype=linktype, snaplen=min(snaplen, 2**31 - 1), name=name))

    def _count_drops(self, data: bytes, at: int, end: int) -> None:
        """An interface's statistics count from its beginning: the last ones are right."""
        (interface,) = self._tail(data, at)
        options = self._options(data, at + 12, end)
        counted = (options[code] for code in (_IF_DROPPED, _OS_DROPPED) if len(options.get(code, b"")) == 8)
        dropped = sum(struct.unpack(self._order + "Q", value)[0] for value in counted)
        if dropped and self._base + interface < len(self.interfaces):
            self._dropped[self._base + interface] = dropped

    def _options(self, data: bytes, at: int, end: int) -> dict[int, bytes]:
        """The first of each kind."""
        found: dict[int, bytes] = {}
        while end - at >= 4:
            code, size = struct.unpack_from(self._order + "HH", data, at)
            if not code:
                break
            if size > end - at - 4:
                raise RemoteProtocolError("an option is longer than its block")
            found.setdefault(code, data[at + 4 : at + 4 + min(size, SNAPLEN_MAX)])
            at += 4 + size + -size % 4
        return found
