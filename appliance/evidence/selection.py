"""Which packets an alarm is about, by the fields that its record has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple

import msgspec

from appliance.native import FlowKey, FlowQuery, flow_key
from appliance.zeek.values import PROTOCOLS, Address, Port, Table, Vector

from .uids import MAX_UID, PROTOS

__all__ = [
    "Ends",
    "Selection",
    "Wanted",
    "address_text",
    "choose",
    "community",
    "ends_of_event",
    "ends_of_record",
    "flows_of",
    "proto_of",
]

Wanted = Literal["conn", "pair", "host", "all"]

_DEPTH = 8
"""Levels of an event's arguments that are looked at."""
_VALUES = 4096
"""Values of an event's arguments that are looked at."""
_ICMP = {"ipv4": 1, "ipv6": 58}


class Ends(NamedTuple):
    """What a record says about who talked to whom; what it does not say is None, or empty."""

    orig_h: str | None = None
    orig_p: int | None = None
    resp_h: str | None = None
    resp_p: int | None = None
    proto: int | None = None
    src: str | None = None
    """Who did it, if the record says so other than by a connection; as in Zeek's notices."""
    dst: str | None = None
    uid: str = ""
    community_id: str = ""


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which packets. Two of the same `key` are about the same ones."""

    select: Wanted
    hosts: tuple[str, ...] = ()
    """One, or both ends."""
    ports: tuple[int, ...] = ()
    """Of the connection's ends, in the order of `hosts`; ICMP's type and code are none."""
    proto: int | None = None
    """IP protocol number; None: not known."""
    uid: str = ""
    community_id: str = ""

    @property
    def is_known(self) -> bool:
        """False: the uid has to be looked up first."""
        return bool(self.select == "all" or self.hosts or self.community_id)

    @property
    def key(self) -> str:
        """The same for the same packets, whichever end is named first."""
        ends = sorted(zip(self.hosts, self.ports or (0,) * len(self.hosts), strict=True))
        named = "" if self.is_known and not self.community_id else self.uid if not self.is_known else self.community_id
        hosts = " ".join(f"{host}:{port}" if self.ports else host for host, port in ends)
        proto = "" if self.proto is None else f"/{self.proto}"
        return f"{self.select} {hosts or named}{proto}".strip()

    def flows(self) -> list[FlowKey]:
        """The flow that is meant, or the two that may be if the protocol is not known; none if it is no connection."""
        if self.select != "conn" or len(self.hosts) != 2:
            return []
        if self.ports:
            protos = (6, 17) if self.proto is None else (self.proto,)
            return [flow_key(self.hosts[0], self.hosts[1], proto, (self.ports[0], self.ports[1])) for proto in protos]
        return []

    def query(self, from_ns: int, to_ns: int) -> FlowQuery:
        """The packets in a span of time, both ends included."""
        return FlowQuery(
            from_ns=from_ns,
            to_ns=to_ns,
            hosts=self.hosts,
            ports=self.ports,
            proto=self.proto,
            is_conn=self.select == "conn" and len(self.ports) == 2,
            community_id=self.community_id or None if not self.hosts else None,
        )

    def resolve(self, key: FlowKey) -> Selection:
        """The same, now that the flow of its uid is known."""
        assert key.first is not None
        assert key.second is not None
        hosts = str(key.first), str(key.second)
        if self.select == "host":
            return msgspec.structs.replace(self, hosts=hosts[:1])
        if self.select == "pair":
            return msgspec.structs.replace(self, hosts=hosts)
        ports = (key.first_port, key.second_port) if key.proto not in _ICMP.values() else ()
        return msgspec.structs.replace(self, hosts=hosts, ports=ports, proto=key.proto or None)


def choose(ends: Ends, wanted: Wanted) -> Selection | None:
    """The packets that are wanted, or of more than these the fewest that the record can name; None: it names nobody."""
    uid, community = ends.uid, ends.community_id
    if wanted == "all":
        return Selection(select="all")
    src, dst = ends.src or ends.orig_h, ends.dst or ends.resp_h
    if wanted == "conn":
        if ends.orig_h and ends.resp_h:
            return _connection(ends)
        if community or uid:
            return Selection(select="conn", uid=uid, community_id=community)
    if wanted in ("conn", "pair") and src and dst:
        return Selection(select="pair", hosts=(src, dst), uid=uid)
    host = src or dst
    if host:
        return Selection(select="host", hosts=(host,), uid=uid)
    return Selection(select=wanted, uid=uid) if uid else None


def flows_of(ends: Ends) -> list[FlowKey]:
    """The flow of the connection that a record names, whichever packets are wanted; as `Selection.flows`."""
    return _connection(ends).flows() if ends.orig_h and ends.resp_h else []


def _connection(ends: Ends) -> Selection:
    assert ends.orig_h
    assert ends.resp_h
    hosts = ends.orig_h, ends.resp_h
    has_ports = ends.orig_p is not None and ends.resp_p is not None and ends.proto not in _ICMP.values()
    ports = (ends.orig_p or 0, ends.resp_p or 0) if has_ports else ()
    return Selection(select="conn", hosts=hosts, ports=ports, proto=ends.proto, uid=ends.uid)


def ends_of_record(record: Mapping[str, Any]) -> Ends:
    """Of a log record: ``id.*``, ``src``, ``dst``, ``proto``, ``uid`` and ``community_id``, where they are valid."""
    id_ = record.get("id")
    nested = id_ if isinstance(id_, Mapping) else {}

    def end(name: str) -> Any:
        return record.get(f"id.{name}", nested.get(name))

    orig_h, resp_h = _host(end("orig_h")), _host(end("resp_h"))
    if orig_h and resp_h and (":" in orig_h) != (":" in resp_h):
        orig_h = resp_h = None
    src, dst = _host(record.get("src")), _host(record.get("dst"))
    if src and dst and (":" in src) != (":" in dst):
        dst = None
    proto = proto_of(_text(record.get("proto")), orig_h or "")
    return Ends(
        orig_h, _port(end("orig_p")), resp_h, _port(end("resp_p")), proto, src, dst,
        _text(record.get("uid")), community(record.get("community_id")),
    )  # fmt: skip


def proto_of(name: str, host: str) -> int | None:
    """The number of a protocol as Zeek names it, between hosts like this one; None: unknown."""
    proto = PROTOS.get(name)
    return _ICMP["ipv6"] if proto == _ICMP["ipv4"] and ":" in host else proto


def _host(value: object) -> str | None:
    if not isinstance(value, str) or "%" in value:
        return None
    try:
        return str(ip_address(value))
    except ValueError:
        return None


def _port(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF else None


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_UID else ""


def community(value: object) -> str:
    """A Community ID of version 1, or nothing."""
    text = _text(value)
    try:
        FlowQuery(community_id=text).fill()
    except ValueError:
        return ""
    return text


def ends_of_event(args: Sequence[Any]) -> Ends:
    """Of an event's arguments, which have no names: the first connection in them, a ``conn_id`` with its addresses and
    ports, and the first text that looks like a uid; if there is no connection, the first two addresses.
    """
    hosts: list[str] = []
    uid, conn = "", None
    for value in _walk(args):
        if isinstance(value, Vector) and conn is None:
            conn = _conn_id(value)
        elif isinstance(value, Address) and len(hosts) < 2:
            hosts.append(address_text(value))
        elif isinstance(value, bytes) and not uid and _is_uid(value):
            uid = value.decode()
    if conn is not None:
        return conn._replace(uid=uid)
    same = len(hosts) == 2 and (":" in hosts[0]) == (":" in hosts[1])
    return Ends(src=hosts[0] if hosts else None, dst=hosts[1] if same else None, uid=uid)


def _walk(values: Sequence[Any]) -> Iterator[Any]:
    """Every value, in order, those in others after these; no more than it takes."""
    left, level = _VALUES, list(values)
    for _ in range(_DEPTH):
        inside: list[Any] = []
        for value in level[:left]:
            yield value
            if isinstance(value, Vector):
                inside.extend(value)
            elif isinstance(value, Table):
                inside.extend(item for _, item in value.pairs())
        left -= len(level)
        if left <= 0 or not inside:
            return
        level = inside


def _conn_id(value: Vector) -> Ends | None:
    if len(value) < 4:
        return None
    orig_h, orig_p, resp_h, resp_p = value[:4]
    if not (isinstance(orig_h, Address) and isinstance(resp_h, Address)):
        return None
    if not (isinstance(orig_p, Port) and isinstance(resp_p, Port)):
        return None
    source, target = address_text(orig_h), address_text(resp_h)
    if (":" in source) != (":" in target):
        return None
    return Ends(source, orig_p.number, target, resp_p.number, proto_of(PROTOCOLS[orig_p.protocol], source))


def address_text(value: Address) -> str:
    """As the standard library writes it, and the selection compares it."""
    return str(ip_address(value.packed))


def _is_uid(value: bytes) -> bool:
    """Zeek's are a ``C`` and a number of 96 bits in base 62."""
    return value[:1] == b"C" and 12 <= len(value) <= 20 and value.isalnum() and value.isascii()
