"""What the endpoint needs on TCP: tokens, and its certificate. Read before anything starts, and again at a reload.

Source: RFC 6750, section 2.1 (bearer tokens); RFC 7617 (a token as a password, with ``legacy_routes``).
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
import trio

from appliance.config import Api
from appliance.runtime.tls_words import load_chain

from .exchange import Answer, problem
from .roles import Identity
from .sessions import Sessions, read_cookie
from .tokens import Tokens, digest_of, read_tokens

__all__ = ["Credentials", "read_credentials"]

log = structlog.get_logger("api")

PERIOD_S = 60.0
MAX_FAILURES = 10
"""Wrong tokens from one address in a period; for more the answer is 429."""
_MAX_ADDRESSES = 1024
_FILES = ("token_file", "certificate", "key")


def read_credentials(table: Api) -> tuple[Tokens, ssl.SSLContext | None]:
    """Tokens and TLS of a table. Blocks.

    Raises:
        ConfigError: a file cannot be read, or is no such thing.
    """
    tokens = read_tokens(table.token_file) if table.token_file else Tokens()
    if not table.certificate:
        return tokens, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_chain(
        context,
        table.certificate,
        table.key,
        passphrase=b"",
        key="api.certificate",
        hint="is it PEM, do the two belong together, and is the key without a passphrase?",
    )
    return tokens, context


def _digest_files(table: Api) -> dict[str, bytes]:
    """By the keys that name them. Blocks."""
    found = {}
    for key in _FILES:
        path = Path(getattr(table, key) or os.devnull)
        try:
            found[key] = hashlib.sha256(path.read_bytes()).digest()
        except OSError:
            found[key] = b""  # it is gone since it was read
    return found


class Credentials:
    """See the module.

    Args:
        table: names the files; `read` reads them.
    """

    def __init__(self, table: Api, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._table = table
        self._clock = clock
        self._tokens = Tokens()
        self._digests: dict[str, bytes] = {}
        self._sessions = Sessions(clock)
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.context: ssl.SSLContext | None = None
        """For connections from now on; None: there is no TLS."""

    async def read(self) -> tuple[str, ...]:
        """Read everything, or leave it as it was. Returns the keys of the files that have changed since the last time.

        Raises:
            ConfigError: a mistake in a file.
        """
        before = self._digests
        self._tokens, self.context = await trio.to_thread.run_sync(read_credentials, self._table)
        self._digests = await trio.to_thread.run_sync(_digest_files, self._table)
        return tuple(key for key, digest in self._digests.items() if before and before[key] != digest)

    def identify(self, peer: Identity, headers: Mapping[str, str]) -> Identity | Answer:
        """Who sends a request over TCP."""
        kind, _, text = headers.get("authorization", "").partition(" ")
        if not text:
            return self._identify_session(peer, headers)
        token = text.strip() if kind.lower() == "bearer" else self._password(kind, text)
        if token is not None and (found := self._tokens.find(token, peer.address)) is not None:
            return found
        return self._refuse(peer.address.rpartition(":")[0])

    def _password(self, kind: str, text: str) -> str | None:
        """The password of basic authentication, if that is taken here: AIT's tools know nothing else."""
        if kind.lower() != "basic" or not self._table.legacy_routes:
            return None
        try:
            return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return None

    def _identify_session(self, peer: Identity, headers: Mapping[str, str]) -> Identity:
        """Who has signed in, if his token is still one."""
        digest = self._sessions.find(read_cookie(headers.get("cookie", "")))
        found = self._tokens.find_digest(digest, peer.address) if digest is not None else None
        return found if found is not None else peer

    def sign_in(self, text: str, peer: Identity) -> str | Answer:
        """Begin a session for whoever has a token; returns the header ``Set-Cookie``, or a refusal."""
        found = self._tokens.find(text, peer.address)
        if found is None:
            return self._refuse(peer.address.rpartition(":")[0])
        log.info("signed in", who=found.name, address=found.address)
        return self._sessions.begin(digest_of(text), is_tls=self.context is not None)

    def sign_out(self, headers: Mapping[str, str]) -> str:
        """End the session that a request is of; returns the header ``Set-Cookie``."""
        return self._sessions.end(read_cookie(headers.get("cookie", "")), is_tls=self.context is not None)

    def _refuse(self, host: str) -> Answer:
        now = self._clock()
        since, count = self._failures.pop(host, (now, 0))
        if now - since >= PERIOD_S:
            since, count = now, 0
        self._failures[host] = since, count + 1
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        if count >= MAX_FAILURES:
            wait_s = max(1, round(since + PERIOD_S - now))
            return problem(429, "too many wrong tokens", headers={"retry-after": str(wait_s)})
        log.warning("a wrong token", address=host)
        challenge = 'Bearer realm="broappliance", error="invalid_token"'
        return problem(401, "nobody has this token", headers={"www-authenticate": challenge})
