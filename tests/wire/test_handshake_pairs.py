"""Two of our endpoints shake hands, whoever dials and whoever leads, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.filters import minimal
from appliance.wire.handshake import Established, Failed, Handshake, RoleKnown
from appliance.wire.handshake_states import HandshakeState
from tests.wire.harness import converse, drain, endpoint, ids, pieces_of, sizes, topics
from tests.wire.vectors import A, B

filters = st.lists(topics, max_size=4).map(minimal)
both_orders = pytest.mark.parametrize(("dialing", "listening"), [(A, B), (B, A)], ids=["smaller dials", "larger dials"])


def pair(dialing: bytes, listening: bytes) -> tuple[Handshake, Handshake]:
    return (
        endpoint(dialing, is_dialer=True, wants=("dialer/",)),
        endpoint(listening, is_dialer=False, wants=("listener/",)),
    )


def everything_said(dialing: bytes, listening: bytes) -> tuple[bytes, bytes]:
    """All that the two say to each other, if all goes well."""
    left, right = pair(dialing, listening)
    said: tuple[list[bytes], list[bytes]] = ([], [])
    while any(pieces := (left.data_to_send(), right.data_to_send())):
        for index, (piece, other) in enumerate(zip(pieces, (right, left), strict=True)):
            said[index].append(piece)
            if piece:
                other.receive_data(piece)
                drain(other)
    return b"".join(said[0]), b"".join(said[1])


def check(dialing: bytes, listening: bytes, cut: Iterable[int]) -> None:
    left, right = pair(dialing, listening)
    heard_left, heard_right = converse(left, right, cut)
    assert heard_left == [
        RoleKnown(listening, is_originator=dialing < listening),
        Established(listening, ("listener/",)),
    ]
    assert heard_right == [RoleKnown(dialing, is_originator=listening < dialing), Established(dialing, ("dialer/",))]
    assert left.take_rest() == right.take_rest() == b""


@both_orders
def test_whole_messages(dialing: bytes, listening: bytes) -> None:
    """Both sides learn who the other is, who leads, and what the other wants."""
    check(dialing, listening, [10_000])


@both_orders
def test_single_bytes(dialing: bytes, listening: bytes) -> None:
    """One byte at a time changes nothing."""
    check(dialing, listening, [1])


@given(ids, ids, filters, filters, sizes)
def test_any_two_endpoints(
    dialing: bytes, listening: bytes, wants: tuple[str, ...], offers: tuple[str, ...], cut: list[int]
) -> None:
    """Any IDs but the same, any filters, any cut."""
    left = endpoint(dialing, is_dialer=True, wants=wants)
    right = endpoint(listening, is_dialer=False, wants=offers)
    events = converse(left, right, cut)
    if dialing == listening:
        assert all(isinstance(side[-1], Failed) for side in events)
    else:
        assert [side[-1] for side in events] == [Established(listening, offers), Established(dialing, wants)]


@both_orders
@pytest.mark.parametrize("is_dialer", [True, False])
def test_whole_half_of_a_handshake_in_one_segment(dialing: bytes, listening: bytes, is_dialer: bool) -> None:
    """A peer that does not wait for our answers is understood; what it sends then is left for the next phase."""
    half = everything_said(dialing, listening)[0 if not is_dialer else 1]
    handshake = pair(dialing, listening)[0 if is_dialer else 1]
    handshake.receive_data(half + b"what follows")
    peer, wants = (listening, "listener/") if is_dialer else (dialing, "dialer/")
    assert drain(handshake)[-1] == Established(peer, (wants,))
    assert handshake.take_rest() == b"what follows"


@both_orders
@pytest.mark.parametrize("is_dialer", [True, False])
def test_end_of_the_stream_behind_every_byte(dialing: bytes, listening: bytes, is_dialer: bool) -> None:
    """Whenever the peer goes, the handshake has failed, is over, and says so once."""
    half = everything_said(dialing, listening)[0 if not is_dialer else 1]
    for size in range(len(half)):
        handshake = pair(dialing, listening)[0 if is_dialer else 1]
        for piece in (half[:1], half[1:size]) if size else ():
            if piece:
                handshake.receive_data(piece)
                drain(handshake)
        assert not handshake.is_over
        handshake.receive_data(b"")
        events = drain(handshake)
        assert isinstance(events[-1], Failed)
        assert "closed the connection" in events[-1].reason
        assert handshake.state == HandshakeState.FAILED
        assert drain(handshake) == []


def test_same_id_on_both_sides() -> None:
    """Both learn that they are the same, whoever dialled."""
    left, right = pair(A, A)
    for events in converse(left, right, [7]):
        (event,) = events
        assert isinstance(event, Failed)
        assert "our own endpoint ID" in event.reason


@both_orders
@given(cut=sizes)
def test_what_is_sent_does_not_depend_on_the_cut(dialing: bytes, listening: bytes, cut: list[int]) -> None:
    """An endpoint says the same to the same bytes in any pieces."""
    from_dialer, from_listener = everything_said(dialing, listening)
    for handshake, half, expected in zip(
        pair(dialing, listening), (from_listener, from_dialer), (from_dialer, from_listener), strict=True
    ):
        out = handshake.data_to_send()
        for piece in pieces_of(half, cut):
            handshake.receive_data(piece)
            drain(handshake)
            out += handshake.data_to_send()
        assert out == expected
