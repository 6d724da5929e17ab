"""At most one connection with each peer: what is known of each, and what becomes of another handshake with it.

When two endpoints dial each other at once, both connections have the same originator, the endpoint with the smaller ID.
It decides which one lives: the one that it heard of first.

Broker parks a second handshake while a first one is under way, and forgets it there if the first one fails. Here
whoever was told to park asks again as soon as the peer's status has changed, and is then told to proceed or, if the
other one has succeeded, to refuse. A responder parks as well, where Broker refuses: the originator has decided already,
so the handshake that is still under way is one whose end has not been noticed yet.

Source: Broker, ``internal/connector.cc``, ``broker/detail/peer_status_map.cc``.
"""

from __future__ import annotations

import enum

import msgspec

from appliance.errors import LocalProtocolError
from appliance.wire.handshake_messages import DropCode
from appliance.wire.names import EndpointId, endpoint_text

__all__ = ["MAX_PEERS", "PARK", "PROCEED", "Decision", "PeerStatus", "PeerTable", "Verdict"]

MAX_PEERS = 4096
"""Peers that are remembered. A large Zeek cluster has some hundreds of nodes."""


class PeerStatus(enum.StrEnum):
    """What is known of a peer; by Broker's names, without `connected`, which nothing sets before the peer is peered."""

    UNKNOWN = "unknown"
    CONNECTING = "connecting"
    PEERED = "peered"
    DISCONNECTED = "disconnected"
    RECONNECTING = "reconnecting"


class Verdict(enum.Enum):
    """What to do with a handshake whose role has become known."""

    PROCEED = "proceed"
    """Go on; say later whether it was `established` or `failed`."""
    PARK = "park"
    """Send nothing, and ask again when the status of the peer has changed."""
    REFUSE = "refuse"
    """Send `DropConn` with the code and text, and close."""


class Decision(msgspec.Struct, frozen=True):
    """A verdict and, with `Verdict.REFUSE`, what the peer is told."""

    verdict: Verdict
    code: DropCode = DropCode.NONE
    text: str = ""


PROCEED = Decision(Verdict.PROCEED)
PARK = Decision(Verdict.PARK)
_SHUTTING_DOWN = Decision(Verdict.REFUSE, DropCode.SHUTTING_DOWN, "shutting down")
_FULL = Decision(Verdict.REFUSE, DropCode.NO_CONNECTOR_AVAILABLE, "too many peers")
_REDUNDANT = Decision(Verdict.REFUSE, DropCode.REDUNDANT_CONNECTION, "redundant connection")
_REDUNDANT_AT_RESPONDER = Decision(
    Verdict.REFUSE, DropCode.LOGIC_ERROR, "detected redundant connection at the responder"
)

# Status → decision of the originator, decision of the responder, status if either proceeds.
_TABLE: dict[PeerStatus, tuple[Decision, Decision, PeerStatus]] = {
    PeerStatus.UNKNOWN: (PROCEED, PROCEED, PeerStatus.CONNECTING),
    PeerStatus.DISCONNECTED: (PROCEED, PROCEED, PeerStatus.RECONNECTING),
    PeerStatus.CONNECTING: (PARK, PARK, PeerStatus.CONNECTING),
    PeerStatus.RECONNECTING: (PARK, PARK, PeerStatus.RECONNECTING),
    PeerStatus.PEERED: (_REDUNDANT, _REDUNDANT_AT_RESPONDER, PeerStatus.PEERED),
}
_AFTER_FAILURE = {
    PeerStatus.CONNECTING: PeerStatus.UNKNOWN,
    PeerStatus.RECONNECTING: PeerStatus.DISCONNECTED,
}


class PeerTable:
    """Status of each remote endpoint that has a connection, or had one.

    Args:
        max_peers: endpoints that are remembered. The one that was disconnected longest ago is forgotten for a new one;
            if all are alive, the new one is refused.
    """

    def __init__(self, *, max_peers: int = MAX_PEERS) -> None:
        self._max_peers = max_peers
        self._known: dict[EndpointId, PeerStatus] = {}

    def __len__(self) -> int:
        return len(self._known)

    def status(self, peer: EndpointId) -> PeerStatus:
        """What is known of a peer."""
        return self._known.get(peer, PeerStatus.UNKNOWN)

    def decide(self, peer: EndpointId, *, is_originator: bool, is_shutting_down: bool) -> Decision:
        """What to do with a handshake that has just told who the peer is; a decision to proceed reserves the peer.

        Args:
            peer: who it is.
            is_originator: whether we lead this handshake.
            is_shutting_down: whether we take nobody any more.
        """
        if is_shutting_down:
            return _SHUTTING_DOWN
        status = self.status(peer)
        as_originator, as_responder, then = _TABLE[status]
        decision = as_originator if is_originator else as_responder
        if decision.verdict is Verdict.PROCEED:
            if status is PeerStatus.UNKNOWN and not self._make_room():
                return _FULL
            self._set(peer, then)
        return decision

    def established(self, peer: EndpointId) -> None:
        """The handshake that was told to proceed has succeeded.

        Raises:
            LocalProtocolError: none was.
        """
        if self.status(peer) not in _AFTER_FAILURE:
            raise LocalProtocolError(f"no handshake with {endpoint_text(peer)} was to proceed")
        self._set(peer, PeerStatus.PEERED)

    def failed(self, peer: EndpointId) -> None:
        """The handshake that was told to proceed has ended otherwise."""
        then = _AFTER_FAILURE.get(self.status(peer))
        if then is PeerStatus.UNKNOWN:
            del self._known[peer]
        elif then is not None:
            self._set(peer, then)

    def lost(self, peer: EndpointId) -> None:
        """The connection has ended by itself or by the peer's will."""
        if self.status(peer) is PeerStatus.PEERED:
            self._set(peer, PeerStatus.DISCONNECTED)

    def removed(self, peer: EndpointId) -> None:
        """The connection has ended by our will; nothing is known of the peer any more."""
        self._known.pop(peer, None)

    def _set(self, peer: EndpointId, status: PeerStatus) -> None:
        # At the end again, so that the table is in the order of the last changes.
        self._known.pop(peer, None)
        self._known[peer] = status

    def _make_room(self) -> bool:
        if len(self._known) < self._max_peers:
            return True
        oldest = next((peer for peer, status in self._known.items() if status is PeerStatus.DISCONNECTED), None)
        if oldest is None:
            return False
        del self._known[oldest]
        return True
