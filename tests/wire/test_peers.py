"""The table of peers: each decision, and two endpoints that dial each other at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError
from appliance.wire.handshake import Established, Failed, Handshake, Refused, RoleKnown
from appliance.wire.handshake_messages import DropCode
from appliance.wire.peers import PARK, PROCEED, Decision, PeerStatus, PeerTable, Verdict
from tests.wire.harness import endpoint
from tests.wire.vectors import A, B, C


def decide(table: PeerTable, peer: bytes = B, *, is_originator: bool = True) -> Decision:
    return table.decide(peer, is_originator=is_originator, is_shutting_down=False)


def table_with(status: PeerStatus) -> PeerTable:
    """A table in which B has a status."""
    table = PeerTable()
    if status is not PeerStatus.UNKNOWN:
        decide(table)
    if status in (PeerStatus.PEERED, PeerStatus.DISCONNECTED, PeerStatus.RECONNECTING):
        table.established(B)
    if status in (PeerStatus.DISCONNECTED, PeerStatus.RECONNECTING):
        table.lost(B)
    if status is PeerStatus.RECONNECTING:
        decide(table)
    assert table.status(B) is status
    return table


REDUNDANT = Decision(Verdict.REFUSE, DropCode(39), "redundant connection")
REDUNDANT_AT_RESPONDER = Decision(Verdict.REFUSE, DropCode(40), "detected redundant connection at the responder")


@pytest.mark.parametrize(
    ("status", "as_originator", "as_responder", "then"),
    [
        (PeerStatus.UNKNOWN, PROCEED, PROCEED, PeerStatus.CONNECTING),
        (PeerStatus.DISCONNECTED, PROCEED, PROCEED, PeerStatus.RECONNECTING),
        (PeerStatus.CONNECTING, PARK, PARK, PeerStatus.CONNECTING),
        (PeerStatus.RECONNECTING, PARK, PARK, PeerStatus.RECONNECTING),
        (PeerStatus.PEERED, REDUNDANT, REDUNDANT_AT_RESPONDER, PeerStatus.PEERED),
    ],
)
def test_decision_for_each_status(
    status: PeerStatus, as_originator: Decision, as_responder: Decision, then: PeerStatus
) -> None:
    """Broker's table, but for a responder that waits where Broker's gives up."""
    for is_originator, expected in ((True, as_originator), (False, as_responder)):
        table = table_with(status)
        assert decide(table, is_originator=is_originator) == expected
        assert table.status(B) is then


@pytest.mark.parametrize("status", PeerStatus)
@pytest.mark.parametrize("is_originator", [True, False])
def test_endpoint_that_shuts_down_takes_nobody(status: PeerStatus, is_originator: bool) -> None:
    """Code 28 for everybody, and nothing is reserved."""
    table = table_with(status)
    decision = table.decide(B, is_originator=is_originator, is_shutting_down=True)
    assert decision == Decision(Verdict.REFUSE, DropCode.SHUTTING_DOWN, "shutting down")
    assert table.status(B) is status


def test_parked_connection_is_resumed_if_the_other_fails() -> None:
    """Whoever asks again after a failure may go on; the next one parks again."""
    for status, after in (
        (PeerStatus.CONNECTING, PeerStatus.UNKNOWN),
        (PeerStatus.RECONNECTING, PeerStatus.DISCONNECTED),
    ):
        table = table_with(status)
        assert decide(table) == PARK
        table.failed(B)
        assert table.status(B) is after
        assert decide(table) == PROCEED
        assert decide(table) == PARK


def test_parked_connection_is_refused_if_the_other_succeeds() -> None:
    """After a success there is one too many."""
    table = table_with(PeerStatus.CONNECTING)
    table.established(B)
    assert decide(table) == REDUNDANT


def test_end_of_a_peering_by_either_side() -> None:
    """A peer that was lost is remembered, one that was removed is not; both may come again."""
    table = table_with(PeerStatus.PEERED)
    table.lost(B)
    assert table.status(B) is PeerStatus.DISCONNECTED
    table = table_with(PeerStatus.PEERED)
    table.removed(B)
    assert table.status(B) is PeerStatus.UNKNOWN
    assert len(table) == 0
    assert decide(table) == PROCEED


def test_news_of_a_peer_without_a_connection_change_nothing() -> None:
    """Late news do not bring a peer back; a success without a handshake is our mistake."""
    table = PeerTable()
    table.lost(B)
    table.failed(B)
    table.removed(B)
    assert len(table) == 0
    with pytest.raises(LocalProtocolError, match="no handshake with c0551e8d"):
        table.established(B)


def test_peers_that_are_remembered_are_bounded() -> None:
    """The one that was lost longest ago makes room; if all are alive, nobody else is taken."""
    table = PeerTable(max_peers=2)
    for peer in (A, B):
        decide(table, peer)
        table.established(peer)
    full = decide(table, C)
    assert full == Decision(Verdict.REFUSE, DropCode.NO_CONNECTOR_AVAILABLE, "too many peers")
    assert table.status(C) is PeerStatus.UNKNOWN

    table.lost(B)
    table.lost(A)
    assert decide(table, C) == PROCEED
    assert [table.status(peer) for peer in (A, B, C)] == [
        PeerStatus.DISCONNECTED,
        PeerStatus.UNKNOWN,
        PeerStatus.CONNECTING,
    ]
    assert decide(table, A) == PROCEED
    assert len(table) == 2


class End:
    """One end of a connection: a handshake, what is on its way to it, and what became of it."""

    def __init__(self, owner: Owner, *, is_dialer: bool) -> None:
        self.owner = owner
        self.handshake: Handshake = endpoint(owner.me, is_dialer=is_dialer)
        self.arriving: list[bytes] = []
        self.other: End = self
        self.peer = b""
        self.is_parked = False
        self.is_reserved = False
        self.is_closed = False
        self.refusal: Refused | None = None

    @property
    def is_established(self) -> bool:
        return not self.is_closed and self.handshake.state == "established"

    def flush(self) -> None:
        if data := self.handshake.data_to_send():
            self.other.arriving.append(data)

    def close(self) -> None:
        """Close the connection at this end: the other one learns it in its turn."""
        self.is_closed = True
        self.is_parked = False
        self.flush()
        self.other.arriving.append(b"")
        if self.is_reserved:
            self.is_reserved = False
            self.owner.table.failed(self.peer)
            self.owner.ask_again(self.peer)


class Owner:
    """An endpoint with its table, as an application would have it."""

    def __init__(self, me: bytes) -> None:
        self.me = me
        self.table = PeerTable()
        self.ends: list[End] = []

    def ask_again(self, peer: bytes) -> None:
        for end in self.ends:
            if end.is_parked and end.peer == peer:
                self.ask(end)

    def ask(self, end: End) -> None:
        decision = decide(self.table, end.peer, is_originator=self.me < end.peer)
        end.is_parked = decision.verdict is Verdict.PARK
        if decision.verdict is Verdict.PROCEED:
            end.is_reserved = True
            end.handshake.accept()
            self.work(end)
        elif decision.verdict is Verdict.REFUSE:
            end.handshake.refuse(decision.code, decision.text)
            end.close()

    def work(self, end: End) -> None:
        """Handle what has happened on a connection."""
        end.flush()
        while not end.is_closed and (event := end.handshake.next_event()) is not None:
            match event:
                case RoleKnown(peer):
                    end.peer = peer
                    self.ask(end)
                case Established(peer):
                    end.is_reserved = False
                    self.table.established(peer)
                    end.flush()
                    self.ask_again(peer)
                case Refused():
                    end.refusal = event
                    end.close()
                case Failed():
                    end.close()
        end.flush()

    def deliver(self, end: End) -> None:
        """Hand the next piece on its way to a connection."""
        piece = end.arriving.pop(0)
        if end.is_closed or end.handshake.is_over:
            return
        end.handshake.receive_data(piece)
        self.work(end)


class Network:
    """Two endpoints that dial each other at once."""

    def __init__(self) -> None:
        self.owners = (Owner(A), Owner(B))
        self.connections: list[tuple[End, End]] = []
        for dialing, listening in (self.owners, self.owners[::-1]):
            ends = End(dialing, is_dialer=True), End(listening, is_dialer=False)
            ends[0].other, ends[1].other = ends[1], ends[0]
            for end in ends:
                end.owner.ends.append(end)
                end.flush()
            self.connections.append(ends)

    def run(self, data: st.DataObject) -> None:
        """Deliver everything, in an order of hypothesis's choice that keeps that of each connection."""
        while waiting := [end for owner in self.owners for end in owner.ends if end.arriving]:
            end = data.draw(st.sampled_from(waiting)) if len(waiting) > 1 else waiting[0]
            end.owner.deliver(end)

    def alive(self) -> list[int]:
        """Which connections are established at both ends."""
        return [number for number, ends in enumerate(self.connections) if all(end.is_established for end in ends)]


@settings(max_examples=300)
@given(st.data())
def test_simultaneous_dialling_leaves_exactly_one_connection(data: st.DataObject) -> None:
    """Whatever comes first, one connection lives, the other is refused with code 39, and no end waits for ever."""
    network = Network()
    network.run(data)

    (alive,) = network.alive()
    by_owner = {end.owner.me: end for end in network.connections[1 - alive]}
    assert by_owner[A].handshake.state == "closed"
    assert by_owner[B].refusal == Refused(DropCode.REDUNDANT_CONNECTION, "redundant connection", A)
    assert [owner.table.status(peer) for owner, peer in zip(network.owners, (B, A), strict=True)] == ["peered"] * 2


@settings(max_examples=200)
@given(st.data(), st.integers(0, 12), st.integers(0, 3))
def test_connection_that_dies_meanwhile_leaves_the_other_one(data: st.DataObject, steps: int, victim: int) -> None:
    """If one end closes at any moment, the other connection goes on, unless this one had succeeded at its other end."""
    network = Network()
    ends = [end for owner in network.owners for end in owner.ends]
    for _ in range(steps):
        if waiting := [end for end in ends if end.arriving]:
            end = data.draw(st.sampled_from(waiting))
            end.owner.deliver(end)
    if not ends[victim].handshake.is_over:
        ends[victim].close()
    network.run(data)

    is_broken_later = ends[victim].is_closed and ends[victim].other.is_established
    assert len(network.alive()) == (0 if is_broken_later else 1)
    assert all(end.is_closed or end.handshake.is_over for end in ends), "an end that waits for ever"
