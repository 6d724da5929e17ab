"""What a node says about its cluster."""

from __future__ import annotations

import msgspec

__all__ = ["ClusterFigures", "NodeFigures", "PoolFigures"]


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the layout."""

    name: str
    type: str
    is_up: bool
    id: str
    """Empty if it is not up."""
    since_s: float
    """For how long it has been up; 0 if it is not."""


class PoolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One pool."""

    topic: str
    members: tuple[str, ...]
    alive: int


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster as we see it at one moment."""

    node: str
    """Our name."""
    role: str
    announced: bool
    """Whether we take part in presence; if not, nobody is up for us."""
    up: int
    nodes: tuple[NodeFigures, ...]
    """The layout's, without us."""
    worker_count: int
    pools: tuple[PoolFigures, ...]
    refused: dict[str, int]
    """Hellos that were of no use, and other mistakes of others, by reason, since the start."""
