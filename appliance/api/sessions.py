"""Browsers that have shown a token once: a session stands for it until it ends, or the token does.

The cookie is a number that cannot be guessed, and only its hash is kept. It goes to the page's own paths, is not sent
for a page of somebody else, and no script sees it.

Source: RFC 6265bis, sections 4.1.2 and 5.6.7.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

import trio

__all__ = ["COOKIE", "LIFE_S", "Sessions", "read_cookie"]

COOKIE = "broappliance"
PATH = "/ui/"
LIFE_S = 12 * 3600
"""A night's work."""
MAX_SESSIONS = 256
"""The oldest ends for one more."""


def read_cookie(header: str) -> str:
    """The session that a browser names; empty: none."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


class Sessions:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._tokens: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def begin(self, token: bytes, *, is_tls: bool) -> str:
        """A new one for the hash of a token; returns the header ``Set-Cookie``."""
        value = secrets.token_urlsafe(32)
        self._tokens[_digest(value)] = (self._clock() + LIFE_S, token)
        if len(self._tokens) > MAX_SESSIONS:
            self._tokens.popitem(last=False)
        return _cookie(value, LIFE_S, is_tls=is_tls)

    def find(self, value: str) -> bytes | None:
        """The hash of the token that it stands for; None: there is no such session any more."""
        end_s, token = self._tokens.get(_digest(value), (0.0, b""))
        return token if self._clock() < end_s else None

    def end(self, value: str, *, is_tls: bool) -> str:
        """It stands for nothing from now on; returns the header that takes it from the browser."""
        self._tokens.pop(_digest(value), None)
        return _cookie("", 0, is_tls=is_tls)


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


def _cookie(value: str, life_s: int, *, is_tls: bool) -> str:
    secure = "; Secure" if is_tls else ""
    return f"{COOKIE}={value}; Path={PATH}; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}"
