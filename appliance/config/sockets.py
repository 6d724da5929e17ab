"""Captures that share a socket: which do, and what their tables must have in common.

The socket of an address is opened once, as the first ``[[capture]]`` of that address says; another one with the same
`conn_type` brings only handlers. The same address with another `conn_type` is refused, although the kernel could tell
the two apart: nobody could tell from a handler's address which of them it is on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

from appliance.config import addresses
from appliance.config.tables import Capture, Handler

__all__ = ["SOCKET_KEYS", "USED_BY", "CaptureGroup", "address_of", "group_captures", "parse_group"]

SOCKET_KEYS = tuple(name for name in Capture.__struct_fields__ if name not in ("name", "handler"))
"""What is said of the socket and not of its packets' way."""
USED_BY: dict[str, tuple[str, ...]] = {
    "multicast": ("udp",),
    "interface": ("udp", "tcp"),
    **dict.fromkeys(("filter", "promiscuous", "snaplen"), ("ethernet",)),
    **dict.fromkeys(
        ("mode", "framing", "max_frame", "max_clients", "keepalive", "tls", "ca", "certificate", "key"), ("tcp",)
    ),
}
"""Key → the `conn_type` that it is for."""

_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # linux/if.h, and dev_valid_name() of the kernel
_ETH_P_ALL = 3


class CaptureGroup(msgspec.Struct, frozen=True):
    """The captures of one socket, the one that says how it is opened first."""

    captures: tuple[Capture, ...]
    runtime: frozenset[tuple[str, str]] = frozenset()
    """Captures and handlers that are not in the file."""

    @property
    def first(self) -> Capture:
        return self.captures[0]

    def has_socket_of(self, other: CaptureGroup) -> bool:
        """Whether its socket is just as that of `other` would be."""
        is_fixed = address_of(self.first) is not None
        return is_fixed and all(getattr(self.first, key) == getattr(other.first, key) for key in SOCKET_KEYS)

    @property
    def handlers(self) -> list[tuple[str, Handler]]:
        """Every handler, with its capture's name."""
        return [(capture.name, handler) for capture in self.captures for handler in capture.handler]


def address_of(capture: Capture) -> tuple[str, int] | None:
    """By what captures of one socket are known; None if it is never shared: port 0 is another one each time.

    Raises:
        ValueError: it is not an address for that `conn_type`; the text says so.
    """
    host, port = capture.address
    if capture.conn_type == "ethernet":
        if not _INTERFACE.fullmatch(host) or host in (".", ".."):
            raise ValueError(f"{host!r} is not the name of an interface")
        return host, port or _ETH_P_ALL
    endpoint = addresses.parse_udp(host, port)
    if capture.conn_type == "tcp" and capture.mode == "connect" and not (host and port):
        raise ValueError("a host and a port are needed to connect to")
    return (endpoint.host, port) if port else None


def group_captures(
    captures: Iterable[Capture], runtime: frozenset[tuple[str, str]] = frozenset()
) -> list[CaptureGroup]:
    """Captures by socket, in their order; their addresses are valid.

    Args:
        captures: those that run.
        runtime: names of captures and handlers that are not in the file.
    """
    groups: dict[object, list[Capture]] = {}
    for capture in captures:
        groups.setdefault(address_of(capture) or capture.name, []).append(capture)
    found = [CaptureGroup(tuple(group)) for group in groups.values()]
    return [
        CaptureGroup(group.captures, runtime & {(name, handler.name) for name, handler in group.handlers})
        for group in found
    ]


def parse_group(text: str) -> tuple[str, str]:
    """A multicast group and its source, empty if any: ``239.1.2.3``, ``10.0.0.1@232.1.2.3``, ``ff3e::1``.

    Raises:
        ValueError: it is neither; the text says so.
    """
    source, at, group = text.rpartition("@")
    try:
        address = ipaddress.ip_address(group)
        sender = ipaddress.ip_address(source) if at else None
    except ValueError:
        raise ValueError(f'expected "group" or "source@group", got {text!r}') from None
    if not address.is_multicast:
        raise ValueError(f"{group} is not a multicast address")
    if sender is not None and (sender.is_multicast or sender.version != address.version):
        raise ValueError(f"{source} cannot be the source of {group}")
    return str(address), source
