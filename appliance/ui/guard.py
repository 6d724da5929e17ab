"""What keeps a page of somebody else from using this one: headers, and a token in every form. Pure but for the secret.

Whoever sends a form has come through the gate, which compares the origin; the token holds where a browser sends none.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict

from appliance.api.exchange import Answer
from appliance.api.roles import Identity

__all__ = ["HEADERS", "Guard", "Notes", "page"]

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer. Without a referrer policy of this kind browsers would send forms with the origin ``null``."""
_MAX_NOTES = 64


def page(text: str, status: int = 200) -> Answer:
    """A document as an answer."""
    return Answer(status, text.encode("utf-8", "replace"), "text/html; charset=utf-8", HEADERS)


class Guard:
    """Makes and knows the tokens of forms, which hold until the endpoint is started again."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def token(self, who: Identity, session: str = "") -> str:
        """For one person, and one session of his."""
        said = f"{who.name}\n{who.role.word}\n{session}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()

    def knows(self, token: str, who: Identity, session: str = "") -> bool:
        """Whether that was made for him."""
        return hmac.compare_digest(token.encode(), self.token(who, session).encode())


class Notes:
    """What is to be told of a change on the page that follows it, once; the last `_MAX_NOTES`."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, tuple[str, bool, str]] = OrderedDict()

    def put(self, who: Identity, told: str, *, ok: bool) -> str:
        """Keep one; returns its name."""
        name = secrets.token_urlsafe(9)
        self._notes[name] = (who.name, ok, told)
        if len(self._notes) > _MAX_NOTES:
            self._notes.popitem(last=False)
        return name

    def take(self, who: Identity, name: str) -> tuple[bool, str] | None:
        """Whether it went well, and what is told; None: there is nothing for him."""
        found = self._notes.pop(name, None)
        return found[1:] if found is not None and found[0] == who.name else None
