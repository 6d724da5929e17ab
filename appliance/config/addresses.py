"""Addresses: ``tcp://host:port``, ``ipc://path``, ``unix:/path``, and which of them cannot be bound side by side."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Endpoint",
    "check_connect",
    "is_loopback",
    "parse_bind",
    "parse_listen",
    "parse_peer",
    "parse_udp",
]

_PEER = re.compile(r"(\[[^\]]*\]|[^:\[\]/]*):([0-9]{1,5})")
_TCP = re.compile(r"tcp://(\*|\[[^\]]*\]|[^:\[\]/]*):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9._%-]+")
_SUN_PATH = 107  # unix(7): sun_path is 108 bytes, with its final NUL
_BIND = '"tcp://host:port" or "ipc:///path"'
_WILDCARDS = frozenset({"", "*", "0.0.0.0", "::"})  # noqa: S104


class Endpoint(NamedTuple):
    """What is occupied by a bound socket."""

    family: str  # tcp, udp or unix
    host: str  # or the path of a Unix socket
    port: int = 0

    @property
    def is_fixed(self) -> bool:
        """Whether it can collide at all: port 0 is a free one each time."""
        return self.family == "unix" or self.port != 0

    def collides(self, other: Endpoint) -> bool:
        """Whether the kernel would refuse the second of the two."""
        if (self.family, self.port) != (other.family, other.port) or not (self.is_fixed and other.is_fixed):
            return False
        # UDP sockets of one port on "" and on one address can live side by side; TCP listeners cannot.
        any_host = self.family == "tcp" and not _WILDCARDS.isdisjoint((self.host, other.host))
        return any_host or self.host == other.host


def parse_bind(text: str, base: str) -> tuple[str, Endpoint]:
    """Read a ZeroMQ endpoint to bind.

    Args:
        text: ``tcp://host:port``, ``tcp://[::1]:port``, ``tcp://*:port``, ``ipc:///path`` or ``ipc://relative/path``.
        base: the folder of relative paths.

    Returns:
        The endpoint with an absolute path, and what it occupies.

    Raises:
        ValueError: it is none of these; the text says so.
    """
    if text.startswith("ipc://"):
        path = _socket_path(text.removeprefix("ipc://"), base)
        return f"ipc://{path}", Endpoint("unix", path)
    found = _TCP.fullmatch(text)
    if found is None:
        raise ValueError(f"expected {_BIND}, got {text!r}")
    port = int(found[2])
    if port > 65535:
        raise ValueError(f"port {port} is beyond 65535")
    host = found[1]
    if host.startswith("["):
        host = _ipv6(host[1:-1])
    elif host != "*" and not _HOST.fullmatch(host):
        raise ValueError(f"expected {_BIND}, got {text!r}")
    return text, Endpoint("tcp", host.lower(), port)


def check_connect(text: str) -> None:
    """Look at a ZeroMQ endpoint to connect to.

    Raises:
        ValueError: it is none, or only one to bind; the text says so.
    """
    _, endpoint = parse_bind(text, "/")
    if endpoint.family == "tcp" and (endpoint.port == 0 or endpoint.host in ("", "*")):
        raise ValueError(f"expected a host and a port to connect to, got {text!r}")


def parse_listen(text: str, base: str) -> tuple[str, Endpoint]:
    """Read an address of the API, as `parse_bind` does: ``unix:/path``, ``unix:relative/path`` or ``host:port``.

    Raises:
        ValueError: it is none of these; the text says so.
    """
    if not text.startswith("unix:"):
        try:
            host, port = parse_peer(text)
        except ValueError:
            raise ValueError(f'expected "unix:/path" or "host:port", got {text!r}') from None
        return text, Endpoint("tcp", host or "*", port)
    path = _socket_path(text.removeprefix("unix:"), base)
    return f"unix:{path}", Endpoint("unix", path)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; names other than ``localhost`` are not known to be one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_peer(text: str) -> tuple[str, int]:
    """Read the address of a Broker endpoint, ours or another one.

    Args:
        text: ``host:port`` or ``[::1]:port``; an empty host stands for all of our addresses.

    Returns:
        The host without brackets, and the port.

    Raises:
        ValueError: it is none of these; the text says so.
    """
    found = _PEER.fullmatch(text)
    if found is None or not (found[1].startswith("[") or not found[1] or _HOST.fullmatch(found[1])):
        raise ValueError(f'expected "host:port" or "[address]:port", got {text!r}')
    port = int(found[2])
    if port > 65535:
        raise ValueError(f"port {port} is beyond 65535")
    host = _ipv6(found[1][1:-1]) if found[1].startswith("[") else found[1].lower()
    return host, port


def parse_udp(host: str, port: int) -> Endpoint:
    """Read the address of a capture.

    Raises:
        ValueError: the host is neither empty nor a name or an address; the text says so.
    """
    if ":" in host:
        host = _ipv6(host)
    elif host and not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is neither a host's name nor an address")
    return Endpoint("udp", "" if host == "0.0.0.0" else host.lower(), port)  # noqa: S104


def _ipv6(text: str) -> str:
    address, _, zone = text.partition("%")
    try:
        plain = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
    except OSError:
        raise ValueError(f"{text!r} is not an IPv6 address") from None
    return f"{plain}%{zone}" if zone else plain


def _socket_path(text: str, base: str) -> str:
    # libzmq reads "@" as the abstract namespace, where no file permissions guard the socket, and "*" as a random file.
    if not text or text.startswith("@") or text == "*" or "\0" in text or text.endswith("/"):
        raise ValueError(f"{text!r} is not the path of a socket")
    path = os.path.normpath(Path(base, text))
    size = len(os.fsencode(path))
    if size > _SUN_PATH:
        raise ValueError(f"the socket's path has {size} bytes, at most {_SUN_PATH} are possible: {path}")
    return path
