"""Versions of Bro and Zeek, as far as they decide how a cluster's things are spelt."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Version", "parse_version"]

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,6}))?(?:[-+].*)?")


class Version(NamedTuple):
    """A version; compares with plain tuples: ``version >= (7, 1)``."""

    major: int
    minor: int
    patch: int | None = None
    """None: any of them, the last when one must be chosen."""

    @property
    def branch(self) -> tuple[int, int]:
        """Without the patch."""
        return self.major, self.minor

    def __str__(self) -> str:
        return ".".join(str(part) for part in self if part is not None)


def parse_version(text: str) -> Version:
    """Read ``8.0``, ``8.0.10`` or ``9.1.0-dev.123``.

    Raises:
        ValueError: not a version.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a version like 8.0")
    major, minor, patch = found.groups()
    return Version(int(major), int(minor), None if patch is None else int(patch))
