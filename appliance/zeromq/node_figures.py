"""What the node says about itself."""

from __future__ import annotations

import msgspec

from appliance.cluster.figures import ClusterFigures

from .links import LinkState

__all__ = ["NodeFigures"]


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Our node on a ZeroMQ cluster at one moment."""

    node_id: str
    """Its ID; another one after each start."""
    is_ready: bool
    """Whether our subscriptions are known to the proxy, and those of the others to us."""
    read: LinkState | None
    """None: it does not run."""
    write: LinkState | None
    subscriptions: tuple[str, ...]
    """Ours."""
    heard: int
    """Topics that anybody has subscribed to."""
    cluster: ClusterFigures
    """Who we are in it, and who is up."""
    waiting_in: int
    """Messages that wait for the loop."""
    waiting_out: int
    """Messages that wait for the network."""
    quarantined: int
    """Messages kept for inspection since the start."""

    @property
    def overdue(self) -> tuple[str, ...]:
        """See `appliance.runtime.dialing.Dials`."""
        return tuple(each.told for each in (self.read, self.write) if each is not None and each.is_overdue)
