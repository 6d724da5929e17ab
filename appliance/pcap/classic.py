"""PCAP as bytes: micro- and nanoseconds, either byte order. Pure.

Source: pcap-savefile(5).
"""

from __future__ import annotations

import struct

from appliance.errors import RemoteProtocolError

from .batch import LONGEST, SNAPLEN_MAX, Batch, Interface

__all__ = ["HEADER_BYTES", "PcapDecoder", "is_pcap"]

HEADER_BYTES = 24
RECORD_BYTES = 16
_MICRO, _NANO = 0xA1B2C3D4, 0xA1B23C4D
_VERSION = 2 | 4 << 16
_LINKTYPE_MASK = 0x03FFFFFF  # the bits above tell about frame check sequences
_MAGICS = {
    magic.to_bytes(4, name): (order, scale)  # type: ignore[arg-type]
    for magic, scale in ((_MICRO, 1000), (_NANO, 1))
    for order, name in (("<", "little"), (">", "big"))
}


def is_pcap(start: bytes) -> bool:
    """Whether a file that begins so may be PCAP; fewer than 4 bytes never are."""
    return start[:4] in _MAGICS


class PcapDecoder:
    """See `Decoder`.

    A second file header among the records, which two writers of one file leave behind, is passed over and counted.

    Args:
        header: the first 24 bytes.

    Raises:
        RemoteProtocolError: another major version than 2.
    """

    format = "pcap"
    drops = 0

    def __init__(self, header: bytes) -> None:
        self._order, self._scale = _MAGICS[header[:4]]
        major, minor, _, _, snaplen, linktype = struct.unpack(self._order + "HHiIII", header[4:HEADER_BYTES])
        if major != 2:
            raise RemoteProtocolError(f"PCAP version {major}.{minor} is unknown")
        self._magic = _MICRO if self._scale == 1000 else _NANO
        self._limit = min(max(snaplen, SNAPLEN_MAX), LONGEST)
        self._unpack = struct.Struct(self._order + "IIII").unpack_from
        self.precision = "us" if self._scale == 1000 else "ns"
        self.interfaces = [Interface(linktype=linktype & _LINKTYPE_MASK, snaplen=snaplen)]
        self.damage = ""
        self.need = RECORD_BYTES
        self.headers = 1

    def decode(self, data: bytes) -> tuple[Batch, int]:
        unpack, scale, limit, end = self._unpack, self._scale, self._limit, len(data)
        batch = Batch.empty(data)
        add_time, add_start = batch.times.append, batch.starts.append
        add_caplen, add_length = batch.caplens.append, batch.lengths.append
        at = 0
        self.need = RECORD_BYTES
        while end - at >= RECORD_BYTES:
            seconds, fraction, caplen, length = unpack(data, at)
            start = at + RECORD_BYTES
            if caplen > limit:
                self.damage = f"a packet claims {caplen} bytes"
                break
            if seconds == self._magic and fraction == _VERSION and not caplen and not length:
                if end - at < HEADER_BYTES:
                    self.need = HEADER_BYTES
                    break
                self.headers += 1
                at += HEADER_BYTES
                continue
            if start + caplen > end:
                self.need = RECORD_BYTES + caplen
                break
            add_time(seconds * 1_000_000_000 + fraction * scale)
            add_start(start)
            add_caplen(caplen)
            add_length(length)
            at = start + caplen
        batch.interfaces.extend([0] * len(batch.times))
        return batch, at
