"""What the endpoint says about itself."""

from __future__ import annotations

import msgspec

from appliance.cluster.figures import ClusterFigures
from appliance.runtime.dialing import DialerFigures

__all__ = ["EndpointFigures", "PeerFigures"]


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One peer at one moment."""

    peer: str
    """Its endpoint ID."""
    node: str = ""
    """Its name in the cluster; empty if it has not said hello."""
    address: str
    """Where it is, as the kernel says."""
    direction: str
    """``out`` if we dialled, else ``in``."""
    since_s: float
    """For how long it has been a peer."""
    filter_entries: int
    """Prefixes that it has subscribed to."""
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    queued: int
    """Messages that wait for it, or are being written."""
    queued_bytes: int
    dropped: int
    """Messages that overflow has cost it."""


class EndpointFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint at one moment."""

    endpoint: str
    """Our ID; another one after each start."""
    listening: tuple[str, ...]
    """As bound."""
    advertised: tuple[str, ...]
    """Our filter as peers know it."""
    peers: tuple[PeerFigures, ...]
    cluster: ClusterFigures | None = None
    """If we are a node of a cluster."""
    dialers: tuple[DialerFigures, ...]
    half_open: int
    """Incoming connections in their handshake."""
    refused: int
    """Incoming connections that did not become peers."""
    quarantined: int
    """Messages kept for inspection since the start."""

    @property
    def overdue(self) -> tuple[str, ...]:
        """See `appliance.runtime.dialing.Dials`."""
        return tuple(each.told for each in self.dialers if each.is_overdue)
