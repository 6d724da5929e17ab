"""Bearer tokens: who has which, by their hashes.

A line of the file is ``NAME ROLE sha256:HEX``, ROLE ``read`` or ``operate``; empty lines and those that begin with a
``#`` are left out. A token has 256 bits from the system's random numbers, so that its plain hash is as good as one that
is slow to make: there is nothing to guess.

Source: RFC 6750, section 2.1.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

import msgspec

from appliance.errors import ConfigError

from .roles import Identity, Role

__all__ = ["Token", "Tokens", "digest_of", "make_token", "read_tokens"]

_LINE = re.compile(r"(\S{1,64})\s+(read|operate)\s+sha256:([0-9a-f]{64})")
_MAX_BYTES = 1 << 20
_PREFIX = "bro_"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    name: str
    role: Role
    digest: bytes


class Tokens:
    """Those that there are."""

    def __init__(self, tokens: tuple[Token, ...] = ()) -> None:
        self._tokens = tokens

    def names(self) -> list[tuple[str, str]]:
        """Names and roles, in the order of the file."""
        return [(each.name, each.role.word) for each in self._tokens]

    def find(self, text: str, address: str) -> Identity | None:
        """Who has this token; None: nobody. Takes the same time for each."""
        return self.find_digest(digest_of(text), address)

    def find_digest(self, digest: bytes, address: str) -> Identity | None:
        """Likewise, by the token's hash."""
        found: Token | None = None
        for each in self._tokens:
            if hmac.compare_digest(each.digest, digest):
                found = each
        if found is None:
            return None
        return Identity(name=f"token:{found.name}", role=found.role, address=address)


def digest_of(text: str) -> bytes:
    """The hash of a token, as it is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def read_tokens(path: str) -> Tokens:
    """Read the file. Blocks.

    Raises:
        ConfigError: it cannot be read, everybody can write it, or a line is none.
    """
    key = "api.token_file"
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}", key=key) from exc
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        raise ConfigError(f"everybody can write {path}, and give himself a token", key=key, hint=f"chmod o-w {path}")
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            hint = "make one with: broappliance token new NAME"
            raise ConfigError(f"{path}:{number}: expected NAME read|operate sha256:HEX", key=key, hint=hint)
        if found[1] in tokens:
            raise ConfigError(f"{path}:{number}: {found[1]!r} has a token already", key=key)
        tokens[found[1]] = Token(name=found[1], role=Role[found[2].upper()], digest=bytes.fromhex(found[3]))
    return Tokens(tuple(tokens.values()))


def make_token(name: str, role: str) -> tuple[str, str]:
    """A new token, and the line for the file."""
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, f"{name} {role} sha256:{hashlib.sha256(token.encode()).hexdigest()}"
