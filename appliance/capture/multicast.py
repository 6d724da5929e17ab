"""Joining multicast groups, of any source (ASM) or of one (SSM), IPv4 and IPv6 alike.

Source: RFC 3678 §5, RFC 4607, ip(7).
"""

from __future__ import annotations

import ipaddress
import socket
import struct

__all__ = ["join_group"]

# linux/in.h and linux/in6.h; the socket module does not name them.
MCAST_JOIN_GROUP = 42
MCAST_JOIN_SOURCE_GROUP = 46
IP_MULTICAST_ALL = 49
IPV6_MULTICAST_ALL = 29
_STORAGE = 128  # sizeof(struct sockaddr_storage)


def _sockaddr(host: str) -> bytes:
    address = ipaddress.ip_address(host)
    if address.version == 4:
        packed = struct.pack("=HH4s", socket.AF_INET, 0, address.packed)
    else:
        packed = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, address.packed, 0)
    return packed.ljust(_STORAGE, b"\0")


def join_group(sock: socket.socket, group: str, source: str, *, interface: str) -> None:
    """Have the kernel deliver what is sent to a group.

    Args:
        sock: of the group's IP version.
        group: numeric.
        source: numeric, the only sender that is heard; empty: every sender.
        interface: name; empty: where the kernel would send to that group.

    Raises:
        OSError: there is no such interface, no route to the group, or too many groups are joined.
    """
    if sock.family == socket.AF_INET6:
        level, deliver_all = socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL
    else:
        level, deliver_all = socket.IPPROTO_IP, IP_MULTICAST_ALL
    # Else the kernel also delivers what other programs of this host have joined, from any source.
    sock.setsockopt(level, deliver_all, 0)
    index = socket.if_nametoindex(interface) if interface else 0
    request = struct.pack("=II", index, 0) + _sockaddr(group)  # the addresses are aligned to 8 bytes
    if source:
        sock.setsockopt(level, MCAST_JOIN_SOURCE_GROUP, request + _sockaddr(source))
    else:
        sock.setsockopt(level, MCAST_JOIN_GROUP, request)
