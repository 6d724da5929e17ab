"""Addresses of WebSocket servers.

Source: RFC 6455 section 3, RFC 3986.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

__all__ = ["TARGET", "WebsocketUrl", "parse_websocket_url"]

TARGET = "/v1/messages/json"
"""The only path that Zeek serves."""
_URL = re.compile(r"(?i:(wss?)://)(\[[^\[\]/?#@]*\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[!-~]*)?")
_PORTS = {"ws": 80, "wss": 443}


class WebsocketUrl(NamedTuple):
    """Where a server is."""

    is_tls: bool
    host: str
    """Without brackets, in lower case."""
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["wss" if self.is_tls else "ws"] else f"{host}:{self.port}"


def parse_websocket_url(text: str) -> WebsocketUrl:
    """Read a URL of a WebSocket server.

    Raises:
        ValueError: it is none; the text says why.
    """
    found = _URL.fullmatch(text)
    if found is None or "#" in text:
        raise ValueError(f'expected "ws://host:port" or "wss://host:port", got {text!r}')
    scheme, host, port = found[1].lower(), found[2].lower(), int(found[3] or _PORTS[found[1].lower()])
    if not 0 < port < 1 << 16:
        raise ValueError(f"there is no port {port}")
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{host!r} is no IPv6 address") from None
    target = found[4] or "/"
    return WebsocketUrl(scheme == "wss", host, port, TARGET if target == "/" else target)
