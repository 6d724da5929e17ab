"""Which of several nodes Zeek gives a key to: rendezvous hashing.

Every node has a weight for every key; the heaviest takes it. When a node goes, only its own keys move.

Source: Zeek, ``scripts/base/utils/hash_hrw.zeek`` (weights), ``src/Hash``'s FNV-1a as function ``fnv1a32``. How a count
is hashed follows from what Zeek's own tests of topic distribution expect, for all three ranges of versions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .values import Count
from .version import Version

__all__ = ["Key", "digest", "fnv1a32", "heaviest", "site_id"]

Key = bytes | str | Count
"""What we can hash as Zeek does. Of other types Zeek hashes a description that we do not know."""

_MASK = 0xFFFFFFFF
_MULTIPLIER, _INCREMENT = 1103515245, 12345
_TAG_COUNT = 3
_PLAIN_STRINGS = (7, 1)


def fnv1a32(data: bytes) -> int:
    """The 32-bit FNV-1a hash.

    Source: The FNV Non-Cryptographic Hash Algorithm, section FNV-1a.
    """
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & _MASK
    return value


def digest(key: Key, version: Version) -> int:
    """What Zeek makes of a key before it weighs it.

    Raises:
        TypeError: a key of another type.
    """
    if isinstance(key, Count):
        return fnv1a32(struct.pack("<iQ", _TAG_COUNT, key.value))
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogateescape")
    if not isinstance(key, bytes):
        raise TypeError(f"a key of type {type(key).__name__}")
    if version >= _PLAIN_STRINGS:
        return fnv1a32(key)
    tag = 8 if version < (4, 1) else 7
    return fnv1a32(struct.pack("<ii", tag, len(key)) + key)


def site_id(alias: str, version: Version) -> int:
    """What a member of a pool is called in the computation."""
    return digest(alias, version)


def _weight(hashed: int, site: int) -> int:
    inner = (_MULTIPLIER * site + _INCREMENT & _MASK) ^ (hashed & 0x7FFFFFFF)
    return (_MULTIPLIER * inner + _INCREMENT) % (1 << 31)


def heaviest(hashed: int, sites: Iterable[int]) -> int | None:
    """The site that takes a hashed key, of equal ones the larger; None if there is none."""
    return max(sites, key=lambda site: (_weight(hashed, site), site), default=None)
