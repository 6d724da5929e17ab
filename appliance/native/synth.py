"""IP headers for payloads that came without: link type 101, raw IP, so that readers know who spoke to whom."""

from __future__ import annotations

import functools
import ipaddress
import sys

from appliance._native import ffi, lib

__all__ = ["LINKTYPE_RAW", "Address", "TcpSynth", "pack_endpoint", "synthesise_udp", "unpack_endpoint"]

LINKTYPE_RAW = 101
"""Packets begin with an IPv4 or IPv6 header. Source: https://www.tcpdump.org/linktypes.html."""

Address = tuple[str, int]
"""Numeric host and port."""

_ORDER = sys.byteorder
_HEADERS_MAX = 80
"""IPv6, TCP and the options of a SYN are 68 bytes."""
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16


@functools.lru_cache(maxsize=4096)
def pack_endpoint(address: Address) -> bytes:
    """The C side's form; an IPv4 address in IPv6 clothes becomes IPv4, a zone is left out.

    Raises:
        ValueError: the host is no numeric address, or the port is none.
    """
    host, port = address
    if not 0 <= port <= 65535:
        raise ValueError(f"no port: {port}")
    ip = ipaddress.ip_address(host.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.packed.ljust(16, b"\0") + port.to_bytes(2, _ORDER) + bytes((ip.version, 0))


def unpack_endpoint(key: bytes) -> Address | None:
    """The opposite; None if it holds no address."""
    version = key[18]
    if version not in (4, 6):
        return None
    return str(ipaddress.ip_address(key[: 4 if version == 4 else 16])), int.from_bytes(key[16:18], _ORDER)


def synthesise_udp(sender: Address, receiver: Address, payload: bytes, *, wire_len: int | None = None) -> bytes:
    """One IP packet with a UDP datagram: right lengths and checksums.

    Args:
        sender: numeric.
        receiver: of the same IP version.
        payload: what was captured of it.
        wire_len: the true length of the payload if it is longer; the headers tell it, and there is no UDP checksum.

    Raises:
        ValueError: the addresses do not go together, or the payload is too long for a datagram.
    """
    head = ffi.new("uint8_t[]", _HEADERS_MAX)
    size = ffi.new("size_t *")
    error = lib.synth_udp(
        pack_endpoint(sender),
        pack_endpoint(receiver),
        payload,
        len(payload),
        len(payload) if wire_len is None else wire_len,
        head,
        size,
    )
    if error:
        raise ValueError(f"no UDP datagram of {len(payload)} bytes from {sender} to {receiver}")
    return bytes(ffi.buffer(head, size[0])) + payload


class TcpSynth:
    """IP packets for the chunks of one TCP connection, with running sequence numbers and right checksums.

    Args:
        client: who connected; numeric.
        server: of the same IP version.
        client_isn: the client's initial sequence number; another one for each connection of the same two addresses,
            e.g. from the clock, else readers take it for a retransmission.
        server_isn: the server's.

    Raises:
        ValueError: the addresses do not go together.

    Source: RFC 9293 §3.1, RFC 7323 §2 (window scale), RFC 791, RFC 8200.
    """

    def __init__(self, client: Address, server: Address, *, client_isn: int = 0, server_isn: int = 0) -> None:
        self._ends = (pack_endpoint(server), pack_endpoint(client))
        if self._ends[0][18] != self._ends[1][18]:
            raise ValueError(f"{client} and {server} are not of the same IP version")
        self._next = [server_isn, client_isn]
        overhead = 40 if self._ends[0][18] == 4 else 20
        self._longest = 65535 - overhead  # an IPv6 header does not count into its payload length

    def open(self) -> list[bytes]:
        """The three packets of the handshake; without them readers follow the stream as well."""
        syn = self._packet(_SYN, from_client=True)
        self._next[True] += 1
        answer = self._packet(_SYN | _ACK, from_client=False)
        self._next[False] += 1
        return [syn, answer, self._packet(_ACK, from_client=True)]

    def data(self, chunk: bytes, *, from_client: bool) -> list[bytes]:
        """The packets of a chunk of the stream: one, unless it is longer than a packet can be; none if it is empty.

        Their lengths are true lengths: give them to `PcapBlock.append` as they are.
        """
        packets = []
        for at in range(0, len(chunk), self._longest):
            part = chunk[at : at + self._longest]
            packets.append(self._packet(_ACK | _PSH, part, from_client=from_client))
            self._next[from_client] += len(part)
        return packets

    def close(self, *, from_client: bool) -> list[bytes]:
        """The three packets of an orderly end; `from_client`: the client ends first."""
        packets = []
        for side in (from_client, not from_client):
            packets.append(self._packet(_FIN | _ACK, from_client=side))
            self._next[side] += 1
        return [*packets, self._packet(_ACK, from_client=from_client)]

    def reset(self, *, from_client: bool) -> list[bytes]:
        """The packet of an end by error."""
        return [self._packet(_RST | _ACK, from_client=from_client)]

    def _packet(self, flags: int, payload: bytes = b"", *, from_client: bool) -> bytes:
        head = ffi.new("uint8_t[]", _HEADERS_MAX)
        size = ffi.new("size_t *")
        sequence = self._next[from_client] & 0xFFFFFFFF
        acknowledged = self._next[not from_client] & 0xFFFFFFFF if flags & _ACK else 0
        error = lib.synth_tcp(
            self._ends[from_client],
            self._ends[not from_client],
            sequence,
            acknowledged,
            flags,
            payload,
            len(payload),
            head,
            size,
        )
        assert not error, "checked when it was made"
        return bytes(ffi.buffer(head, size[0])) + payload
