"""Flows: from a packet to its key and Community ID, queries for flows, and the table that counts and cuts them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened

__all__ = [
    "FlowCounts",
    "FlowKey",
    "FlowQuery",
    "FlowTable",
    "FlowTotals",
    "FlowVerdict",
    "PacketFlow",
    "Seen",
    "community_id",
    "flow_key",
    "packet_flow",
]

_NEVER = (1 << 64) - 1


class FlowKey(NamedTuple):
    """What both directions of a flow share; the first end is the smaller one, as Community ID orders them.

    What is not IP has no addresses, and its EtherType as `first_port`.
    """

    first: IPv4Address | IPv6Address | None
    first_port: int
    """ICMP: the type, as the first end sees it."""
    second: IPv4Address | IPv6Address | None
    second_port: int
    """ICMP: the type that answers, or the code."""
    proto: int
    """IP protocol number after IPv6's extension headers."""
    has_ports: bool
    """Not so for later fragments whose first was not seen, packets cut short, and protocols without ports."""
    is_one_way: bool = False
    """An ICMP message that has no answer; its sender is the first end."""


class PacketFlow(NamedTuple):
    """What a packet says about its flow."""

    key: FlowKey
    is_from_first: bool
    payload: int
    """Bytes after the transport header by the lengths in the headers, captured or not."""
    tcp_flags: int
    is_later_fragment: bool


class FlowQuery(NamedTuple):
    """Which packets are wanted: all conditions together."""

    from_ns: int = 0
    """Nanoseconds since the epoch, inclusive as is `to_ns`."""
    to_ns: int = _NEVER
    hosts: tuple[IPv4Address | IPv6Address | str, ...] = ()
    """One end, or both."""
    ports: tuple[int, ...] = ()
    """One port of TCP, UDP or SCTP, or both."""
    proto: int | None = None
    is_conn: bool = False
    """The first of `ports` belongs to the first of `hosts`. With `proto`, packets between them without ports are
    wanted, too: later fragments whose first is missing."""
    community_id: str | None = None
    community_seed: int = 0

    def fill(self) -> Any:
        """Make the C struct.

        Raises:
            ValueError: too many or impossible hosts or ports, or no Community ID.
        """
        if len(self.hosts) > 2 or len(self.ports) > 2 or not all(0 <= port <= 0xFFFF for port in self.ports):
            raise ValueError(f"a query has two hosts and two ports of 16 bits at most: {self.hosts}, {self.ports}")
        out = ffi.new("struct flow_query *")
        out.from_ns, out.to_ns = min(max(self.from_ns, 0), _NEVER), min(max(self.to_ns, 0), _NEVER)
        for i, host in enumerate(self.hosts):
            out.version[i], packed = _packed(host)
            ffi.memmove(out.addr[i], packed, 16)
        out.port = [*self.ports, -1, -1][:2]
        out.proto = -1 if self.proto is None else self.proto
        out.is_conn = self.is_conn
        if self.community_id is not None:
            text = self.community_id.encode()
            if lib.community_id_parse(text, len(text), out.community):
                raise ValueError(f"not a Community ID of version 1: {self.community_id!r}")
            out.has_community, out.community_seed = True, self.community_seed
        return out


def _packed(host: IPv4Address | IPv6Address | str) -> tuple[int, bytes]:
    address = ip_address(host)
    return address.version, address.packed.ljust(16, b"\0")


def make_key(key: Any) -> FlowKey:
    """From the C struct; for the modules of this package."""
    size = 4 if key.version == 4 else 16
    kind = IPv4Address if key.version == 4 else IPv6Address
    ends = [kind(bytes(ffi.buffer(key.addr[i], size))) if key.version else None for i in range(2)]
    has_ports, is_one_way = bool(key.flags & lib.FLOW_KEY_PORTS), bool(key.flags & lib.FLOW_KEY_ONE_WAY)
    return FlowKey(ends[0], key.port[0], ends[1], key.port[1], key.proto, has_ports, is_one_way)


def fill_key(key: FlowKey) -> Any:
    """The C struct; for the modules of this package."""
    out = ffi.new("struct flow_key *")
    out.port = [key.first_port, key.second_port]
    if key.first is not None and key.second is not None:
        for i, end in enumerate((key.first, key.second)):
            out.version, packed = _packed(end)
            ffi.memmove(out.addr[i], packed, 16)
    out.proto = key.proto
    out.flags = key.has_ports * lib.FLOW_KEY_PORTS | key.is_one_way * lib.FLOW_KEY_ONE_WAY
    return out


def flow_key(
    source: IPv4Address | IPv6Address | str,
    destination: IPv4Address | IPv6Address | str,
    proto: int,
    ports: tuple[int, int] | None = None,
) -> FlowKey:
    """The key of what `source` sends to `destination`.

    Args:
        source: of the same version as `destination`.
        destination: where it is sent.
        proto: IP protocol number.
        ports: of source and destination; for ICMP type and code. Protocols without ports leave them out.

    Raises:
        ValueError: addresses of different versions, or a number out of range.
    """
    out, direction = ffi.new("struct flow_key *"), ffi.new("uint8_t *")
    (version, src), (other, dst) = _packed(source), _packed(destination)
    if version != other:
        raise ValueError(f"addresses of different versions: {source}, {destination}")
    try:
        lib.flow_key_make(version, src, dst, proto, ports is not None, *(ports or (0, 0)), out, direction)
    except OverflowError as exc:
        raise ValueError(f"protocol or port out of range: {proto}, {ports}") from exc
    return make_key(out)


def _packet_flow(packet: Any) -> PacketFlow:
    is_later = packet.fragment == lib.FLOW_LATER_FRAGMENT
    return PacketFlow(make_key(packet.key), not packet.direction, packet.payload, packet.tcp_flags, is_later)


def packet_flow(linktype: int, data: bytes, wire_len: int | None = None) -> PacketFlow:
    """Parse one packet.

    Args:
        linktype: of pcap-linktype(7).
        data: what was captured of it.
        wire_len: its true length, if longer.
    """
    out = ffi.new("struct flow_packet *")
    lib.flow_parse(linktype, data, len(data), len(data) if wire_len is None else wire_len, out)
    return _packet_flow(out)


def community_id(key: FlowKey, seed: int = 0) -> str:
    """The Community ID, version 1, of a flow that is IP.

    Args:
        key: of the flow.
        seed: 0 to 65535; all who compare IDs must use the same.

    Raises:
        ValueError: not IP, or a seed out of range.

    Source: github.com/corelight/community-id-spec.
    """
    if key.first is None or not 0 <= seed <= 0xFFFF:
        raise ValueError(f"no Community ID for {key} with seed {seed}")
    digest, out = ffi.new("uint8_t[20]"), ffi.new("char[31]")
    lib.community_id_digest(fill_key(key), seed, digest)
    lib.community_id_text(digest, out)
    return ffi.string(out).decode("ascii")  # type: ignore[no-any-return]


class FlowVerdict(NamedTuple):
    """A tracked packet: its flow, and whether the flow is past the cutoff."""

    flow: PacketFlow
    is_cut: bool


class Seen(NamedTuple):
    """A packet to track."""

    ts_ns: int
    """Nanoseconds since the epoch."""
    data: bytes
    wire_len: int
    """Its true length, at least that of `data`."""


class FlowTotals(NamedTuple):
    """Counts of a flow; pairs are (sent by the first end, sent by the second)."""

    first_ns: int
    last_ns: int
    packets: tuple[int, int]
    bytes: tuple[int, int]
    """Payload of the transport."""
    wire_bytes: tuple[int, int]
    """Whole packets."""
    is_lifted: bool = False


class FlowCounts(NamedTuple):
    """What a table did since it was made."""

    packets: int
    flows: int
    """Begun."""
    other: int
    """Packets that are not IP; they are never cut."""
    expired: int
    """Flows that were idle too long."""
    evicted_young: int
    """Flows with packets in one direction only and few of them, or closed ones, that had to go for new ones."""
    evicted_established: int
    """Others that had to go."""
    untracked: int
    """Packets without a place, because lifted flows have it; never cut."""
    cut_packets: int
    cut_bytes: int
    """Their true lengths."""
    later_fragments: int
    unresolved_fragments: int
    """Later fragments without a first one."""
    lifted: int
    """Flows lifted now."""


def fill_packets(packets: list[Seen]) -> tuple[Any, Any, list[Any]]:
    """Views of packets, room for what the table says, and what the views point into; for this package."""
    views, hits = ffi.new("struct packet_view[]", len(packets)), ffi.new("struct flow_hit[]", len(packets))
    kept = [ffi.from_buffer("uint8_t[]", packet.data) for packet in packets]
    for view, packet, data in zip(views, packets, kept, strict=True):
        view.data, view.ts_ns, view.caplen, view.wire_len = data, packet.ts_ns, len(packet.data), packet.wire_len
    return views, hits, kept


def make_totals(out: Any) -> FlowTotals:
    """From the C struct; for the modules of this package."""
    pairs = (tuple(out.packets), tuple(out.bytes), tuple(out.wire_bytes))
    return FlowTotals(out.first_ns, out.last_ns, *pairs, bool(out.is_lifted))


def make_counts(out: Any) -> FlowCounts:
    """From the C struct; for the modules of this package."""
    return FlowCounts(*(getattr(out, field) for field in FlowCounts._fields))


class FlowTable(Owner):
    """Counts flows in fixed memory and says which packets are past the cutoff of their connection.

    A new flow takes the place of an idle one, else of a young or closed one, else of the longest silent: a scan or a
    flood replaces its own entries. A flow that comes back after that counts from zero.

    Args:
        slots: a power of two, 8 to 2**26; 64 bytes each.
        idle_ns: after that long without a packet a flow is over.
        cutoff: true lengths of both directions together after which packets of a flow are cut; None: never.

    Raises:
        ValueError: a limit is out of range.
        MemoryError: there is not enough memory for it.
    """

    def __init__(self, slots: int = 1 << 17, *, idle_ns: int = 300 * 10**9, cutoff: int | None = None) -> None:
        out = ffi.new("struct flow_table **")
        error = lib.flow_table_open(slots, idle_ns, _NEVER if cutoff is None else cutoff, out)
        super().__init__(opened("FlowTable", error, out, lib.flow_table_close))

    def track(self, linktype: int, packets: Iterable[Seen]) -> list[FlowVerdict]:
        """Count packets one by one; for tools and tests, as the recorder does this in C by the block."""
        views, hits, _kept = fill_packets(list(packets))
        lib.flow_table_track(self.open_handle, linktype, views, len(hits), hits)
        return [FlowVerdict(_packet_flow(hit.packet), hit.verdict == lib.FLOW_CUT) for hit in hits]

    def set_cutoff(self, cutoff: int | None) -> None:
        """Change the cutoff from the next packet on."""
        lib.flow_table_set_cutoff(self.open_handle, _NEVER if cutoff is None else cutoff)

    def lift(self, key: FlowKey, now_ns: int) -> None:
        """Cut a flow no more until it is idle; it need not have begun.

        Args:
            key: of the flow.
            now_ns: the present of the packets.

        Raises:
            OSError: `errno.ENOSPC`, too many are lifted.
        """
        error = lib.flow_table_lift(self.open_handle, fill_key(key), now_ns)
        if error:
            fail(error)

    def unlift(self, key: FlowKey) -> bool:
        """Let the cutoff apply again; False if the flow is not known."""
        return not lib.flow_table_unlift(self.open_handle, fill_key(key))

    def get(self, key: FlowKey) -> FlowTotals | None:
        """Counts of a flow, None if it is not known (any more)."""
        out = ffi.new("struct flow_totals *")
        return None if lib.flow_table_get(self.open_handle, fill_key(key), out) else make_totals(out)

    def counts(self) -> FlowCounts:
        """What was done since the table was made."""
        out = ffi.new("struct flow_counts *")
        lib.flow_table_get_counts(self.open_handle, out)
        return make_counts(out)
