"""Handshakes that answer for themselves, alone or in pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from hypothesis import strategies as st

from appliance.wire.framing import FrameReader
from appliance.wire.handshake import Handshake, HandshakeEvent, RoleKnown
from appliance.wire.handshake_messages import DropConn, HandshakeMessage, encode_handshake, parse_handshake

MAX_FRAME = 1 << 16


def endpoint(me: bytes, *, is_dialer: bool, wants: tuple[str, ...] = (), max_frame: int = MAX_FRAME) -> Handshake:
    """A handshake that has been started; its first word is still to be sent."""
    handshake = Handshake(me, is_dialer=is_dialer, local_filter=lambda: wants, max_frame=max_frame)
    handshake.start()
    return handshake


def drain(handshake: Handshake, *, is_accepting: bool = True) -> list[HandshakeEvent]:
    """Events until there are none; the question whether to go on is answered with yes."""
    events = []
    while (event := handshake.next_event()) is not None:
        events.append(event)
        if isinstance(event, RoleKnown) and is_accepting:
            handshake.accept()
    return events


def hear(handshake: Handshake, *messages: HandshakeMessage | bytes) -> list[HandshakeEvent]:
    """What happens when messages arrive."""
    handshake.receive_data(b"".join(each if isinstance(each, bytes) else encode_handshake(each) for each in messages))
    return drain(handshake)


def said(data: bytes) -> list[HandshakeMessage]:
    """Messages of a handshake in what an endpoint sends."""
    return [parse_handshake(payload) for payload in frames_of(data)]


def drops(data: bytes) -> list[tuple[int, str]]:
    """Code and text of each refusal in what an endpoint sends."""
    return [(message.code, message.text) for message in said(data) if isinstance(message, DropConn)]


def converse(left: Handshake, right: Handshake, sizes: Iterable[int]) -> tuple[list[HandshakeEvent], ...]:
    """Let two endpoints talk, in pieces of these sizes, until neither has more to say: the events of each."""
    sides = (left, right)
    events: tuple[list[HandshakeEvent], ...] = ([], [])
    ways = [bytearray(left.data_to_send()), bytearray(right.data_to_send())]
    pieces = itertools.cycle(sizes)
    while any(ways):
        for way, other in ((0, 1), (1, 0)):
            piece = bytes(ways[way][: next(pieces)])
            del ways[way][: len(piece)]
            if piece and not sides[other].is_over:
                sides[other].receive_data(piece)
                events[other].extend(drain(sides[other]))
                ways[other] += sides[other].data_to_send()
    return events


def pieces_of(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def frames_of(data: bytes) -> list[bytes]:
    """Payloads of the frames that these bytes are."""
    reader = FrameReader(max_frame=1 << 30)
    reader.feed(data)
    frames = list(iter(reader.next_frame, None))
    assert reader.held_bytes == 0
    return frames


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=8)
"""Sizes of pieces."""
ids = st.binary(min_size=16, max_size=16).filter(any)
topics = st.text(max_size=12) | st.binary(max_size=6).map(lambda data: data.decode("utf-8", "surrogateescape"))
"""Topics and prefixes, not all of them UTF-8."""
