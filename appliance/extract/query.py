"""What is asked for: a span of time, the ends of a flow, an expression; as values, and as people write them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

import msgspec

from appliance.errors import ConfigError
from appliance.native import FlowKey, FlowQuery
from appliance.pcap.moment import parse_time
from appliance.units import Duration

from .sources import FOREVER_NS

__all__ = ["KEYS", "PROTOCOLS", "Query", "parse_query", "query_of_flow"]

T = TypeVar("T")
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ospf": 89, "sctp": 132}
"""Source: IANA, Assigned Internet Protocol Numbers."""
KEYS = ("from", "to", "host", "port", "proto", "conn", "community-id", "bpf")
"""What `parse_query` knows."""
_MAX_BPF = 8192
_END = r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?"
_CONN = re.compile(rf"{_END}-{_END}(?:/([a-z0-9]+))?")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which packets are wanted: all conditions together."""

    from_ns: int = 0
    """Nanoseconds since the epoch, inclusive as is `to_ns`."""
    to_ns: int = FOREVER_NS
    hosts: tuple[IPv4Address | IPv6Address, ...] = ()
    """One end, or both."""
    ports: tuple[int, ...] = ()
    """One port, or both."""
    proto: int | None = None
    """Of IP."""
    is_conn: bool = False
    """The first port belongs to the first host. With `proto`, packets between them without ports are wanted, too."""
    community_id: str | None = None
    bpf: str = ""
    """pcap-filter(7)."""

    def flow_query(self) -> FlowQuery:
        """All of it but the expression."""
        ends = {"hosts": self.hosts, "ports": self.ports, "proto": self.proto, "is_conn": self.is_conn}
        return FlowQuery(from_ns=self.from_ns, to_ns=self.to_ns, community_id=self.community_id, **ends)  # type: ignore[arg-type]


def query_of_flow(key: FlowKey, *, from_ns: int = 0, to_ns: int = FOREVER_NS) -> Query:
    """The query for all packets of a flow; one that is not IP is asked for by its time alone."""
    hosts = tuple(end for end in (key.first, key.second) if end is not None)
    if not hosts:
        return Query(from_ns=from_ns, to_ns=to_ns)
    ports = (key.first_port, key.second_port) if key.has_ports else ()
    return Query(from_ns=from_ns, to_ns=to_ns, hosts=hosts, ports=ports, proto=key.proto, is_conn=True)


def parse_query(values: Mapping[str, Sequence[str]], *, now_ns: int) -> Query:
    """Read a query as the command line and the endpoint take it.

    Args:
        values: by the names of `KEYS`; ``host`` and ``port`` may come twice, everything else once.
        now_ns: the present, for times such as ``-10m``.

    Raises:
        ConfigError: a value is wrong, or two contradict each other; its `key` says which.
    """
    for key, given in values.items():
        if key not in KEYS:
            raise ConfigError(f"there is no such condition; there are {', '.join(KEYS)}", key=key)
        if len(given) > (2 if key in ("host", "port") else 1):
            raise ConfigError("given too often", key=key)

    def one(key: str, parse: Callable[[str], T], default: T) -> T:
        given = values.get(key) or ()
        return _parsed(key, given[0], parse) if given else default

    from_ns = one("from", lambda text: _time(text, now_ns), 0)
    to_ns = one("to", lambda text: _time(text, now_ns) - 1, FOREVER_NS)
    if from_ns > to_ns:
        raise ConfigError("is not before the end of the time", key="from")
    hosts = tuple(_parsed("host", text, ip_address) for text in values.get("host", ()))
    ports = tuple(_parsed("port", text, _port) for text in values.get("port", ()))
    proto = one("proto", _proto, None)
    conn = one("conn", _conn, None)
    if conn is not None and (hosts or ports or proto is not None):
        raise ConfigError("names both ends and the protocol; leave out host, port and proto", key="conn")
    if len({host.version for host in hosts}) > 1:
        raise ConfigError("one is IPv4, the other one IPv6: no packet has both", key="host")
    base = conn or Query(hosts=hosts, ports=ports, proto=proto)
    query = msgspec.structs.replace(
        base, from_ns=from_ns, to_ns=to_ns, community_id=one("community-id", str, None), bpf=one("bpf", _bpf, "")
    )
    try:
        query.flow_query().fill()
    except ValueError as exc:
        raise ConfigError(str(exc), key="community-id") from None
    return query


def _parsed(key: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as exc:
        raise ConfigError(str(exc), key=key) from None


def _time(text: str, now_ns: int) -> int:
    if text == "now":
        return now_ns
    if text.startswith("-"):
        return max(now_ns - Duration.parse(text[1:]), 0)
    return parse_time(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 0xFFFF:
        raise ValueError(f"{text!r} is no port, which is a number up to 65535")
    return int(text)


def _proto(text: str) -> int | None:
    if text.isascii() and text.isdecimal() and len(text) < 4 and int(text) < 256:
        return int(text)
    if text not in PROTOCOLS:
        raise ValueError(f"{text!r} is no protocol; write a number up to 255, or one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[text]


def _bpf(text: str) -> str:
    if len(text) > _MAX_BPF:
        raise ValueError(f"longer than {_MAX_BPF} characters")
    return text


def _conn(text: str) -> Query | None:
    """``10.0.0.1:1025-10.0.0.2:53/udp``, ``[2001:db8::1]:1025-[2001:db8::2]:53/udp``; without ports: all between."""
    found = _CONN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no connection; write A:PORT-B:PORT/tcp, and IPv6 addresses in brackets")
    first, first_port, second, second_port, proto = found.groups()
    hosts = tuple(ip_address(end.strip("[]")) for end in (first, second))
    if hosts[0].version != hosts[1].version:
        raise ValueError("one end is IPv4, the other one IPv6")
    if (first_port is None) != (second_port is None):
        raise ValueError("only one end has a port; use host and port instead")
    ports = () if first_port is None else (_port(first_port), _port(second_port))
    return Query(hosts=hosts, ports=ports, proto=None if proto is None else _proto(proto), is_conn=True)
