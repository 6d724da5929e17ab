"""Stores at one moment."""

from __future__ import annotations

import msgspec

__all__ = ["StoreFigures"]


class StoreFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One store."""

    name: str
    role: str
    """``master``, ``clone`` or ``frontend``."""
    state: str
    """``open``, ``failing`` (the disk takes nothing), ``closed``; of clones ``attached``, ``lost`` (there is no
    master), ``idle`` (a frontend that nobody asks)."""
    entries: int = 0
    clones: int = 0
    writers: int = 0
    unsettled: int = 0
    """Commands that wait for the disk, or for the master."""
    resyncs: int = 0
    """How often the master was lost and another one looked for."""
    conflicts: int = 0
    """Peers that are masters as well."""
    untold: int = 0
    """Changes that nobody was told of, because whoever wants to hear is too slow."""
    refused: dict[str, int] = {}
    """Commands that had no effect, by reason."""
