"""Our endpoint in the place of either of two real peers: it says what they said, and hears what they heard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from appliance.wire.filters import decode_filter, minimal
from appliance.wire.framing import FrameReader, make_frame
from appliance.wire.handshake import Established, Handshake
from appliance.wire.handshake_messages import (
    Hello,
    OriginatorSyn,
    ResponderSynAck,
    VersionSelect,
    encode_handshake,
    parse_handshake,
)
from appliance.wire.node_messages import MessageKind, data_frame, encode_node_message, parse_node_message
from appliance.wire.session import BYE_PREFIX, Command, Data, FilterChanged, PingAnswered, Pong, Session, SessionEvent
from appliance.zeek.messages import Event, Unknown, decode_message
from appliance.zeek.values import Count, EnumValue, Set, Table, Timespan, Timestamp, Value, Vector
from tests.wire.golden import Recorded, conversations, printed
from tests.wire.harness import drain, pieces_of

sides = pytest.mark.parametrize("is_dialer", [True, False], ids=["as dialer", "as listener"])
# One connection of the cluster ends before the listener has said anything.
COMPLETE = [("events", 0), ("stores", 0), ("cluster", 0), ("cluster", 2), ("cluster", 3)]
recordings = pytest.mark.parametrize(("name", "number"), COMPLETE)
HANDSHAKE_TYPES = range(6, 13)


def is_handshake(payload: bytes) -> bool:
    """Whether a recorded frame is one; those that are not begin with a random ID, and are long."""
    if payload[0] not in HANDSHAKE_TYPES or (len(payload) > 37 and payload[32] in range(1, 6)):
        return False
    return encode_handshake(parse_handshake(payload))[4:] == payload


class Actor:
    """An endpoint of ours that plays one side of a recorded conversation."""

    def __init__(self, frames: list[Recorded], *, is_dialer: bool) -> None:
        own = [frame.payload for frame in frames if frame.is_from_dialer == is_dialer]
        greetings = [parse_handshake(payload) for payload in own if is_handshake(payload)]
        (me,) = {each.sender for each in greetings if isinstance(each, Hello | VersionSelect)}
        (wants,) = [each.filter for each in greetings if isinstance(each, OriginatorSyn | ResponderSynAck)]
        assert minimal(reversed(wants)) == wants, "Broker's order is ours"
        farewells = [payload[-8:] for payload in own if payload[32:33] == b"\4" and payload[-11:-8] == BYE_PREFIX]
        self._bye_number = int.from_bytes(farewells[0], "little") if farewells else 1
        self._me = me
        self._handshake = Handshake(me, is_dialer=is_dialer, local_filter=lambda: wants)
        self._reader = FrameReader(max_frame=1 << 24)
        self.session: Session | None = None
        self.said = b""
        self.heard: list[SessionEvent] = []
        self._handshake.start()
        self._flush()

    def hear(self, data: bytes) -> None:
        """Take what comes from the other side."""
        if self.session is None:
            self._handshake.receive_data(data)
            for event in drain(self._handshake):
                if isinstance(event, Established):
                    self.session = Session(self._me, event.peer, peer_filter=event.filter, bye_number=self._bye_number)
                    data = self._handshake.take_rest()
        if self.session is not None:
            self._reader.feed(data)
            for payload in iter(self._reader.next_frame, None):
                event_of_session = self.session.receive(payload)
                assert event_of_session is not None
                self.heard.append(event_of_session)
        self._flush()

    def say(self, payload: bytes) -> None:
        """Do what made the real peer send this; what it sends by itself, ours does as well."""
        if is_handshake(payload):
            return
        message = parse_node_message(payload)
        assert self.session is not None
        if message.kind is MessageKind.DATA:
            self.said += data_frame(self._me, message.topic, message.payload, receiver=message.receiver)
        elif message.kind is MessageKind.COMMAND:
            self.said += encode_node_message(message)
        elif message.kind is MessageKind.ROUTING_UPDATE:
            self.session.update_filter(decode_filter(message.payload))
        elif message.kind is MessageKind.PING:
            self.session.say_bye()
        self._flush()

    def _flush(self) -> None:
        self.said += self._handshake.data_to_send()
        if self.session is not None:
            self.said += self.session.data_to_send()


def play(frames: list[Recorded], *, is_dialer: bool, cut: int = 1 << 20) -> Actor:
    actor = Actor(frames, is_dialer=is_dialer)
    for frame in frames:
        if frame.is_from_dialer == is_dialer:
            actor.say(frame.payload)
        else:
            for piece in pieces_of(make_frame(frame.payload), [cut]):
                actor.hear(piece)
    return actor


@sides
@recordings
def test_our_endpoint_says_what_the_real_one_said(name: str, number: int, is_dialer: bool) -> None:
    """Handshake, routing updates, pongs and farewell come out byte for byte, in their places among the data."""
    frames = conversations(name)[number]
    recorded = [make_frame(frame.payload) for frame in frames if frame.is_from_dialer == is_dialer]
    actor = play(frames, is_dialer=is_dialer)
    assert actor.said == b"".join(recorded)


@sides
@recordings
def test_our_endpoint_hears_everything_that_was_said(name: str, number: int, is_dialer: bool) -> None:
    """Each node message is an event of its kind, none is ignored, and a farewell of ours is answered."""
    frames = conversations(name)[number]
    actor = play(frames, is_dialer=is_dialer)
    payloads = [frame.payload for frame in frames if frame.is_from_dialer != is_dialer]
    messages = [parse_node_message(payload) for payload in payloads if not is_handshake(payload)]
    kinds: dict[MessageKind, type[SessionEvent]] = {
        MessageKind.DATA: Data,
        MessageKind.COMMAND: Command,
        MessageKind.ROUTING_UPDATE: FilterChanged,
        MessageKind.PING: PingAnswered,
        MessageKind.PONG: Pong,
    }
    assert [type(event) for event in actor.heard] == [kinds[message.kind] for message in messages]
    assert actor.session is not None
    assert actor.session.is_bye_answered == any(message.kind is MessageKind.PONG for message in messages)
    for event, message in zip(actor.heard, messages, strict=True):
        if isinstance(event, Data):
            assert (event.topic, event.payload) == (message.topic, message.payload)


@sides
def test_recording_in_single_bytes(is_dialer: bool) -> None:
    """One byte at a time gives the same."""
    frames = conversations("events")[0]
    whole, single = (play(frames, is_dialer=is_dialer, cut=cut) for cut in (1 << 20, 1))
    assert (single.said, single.heard) == (whole.said, whole.heard)


@pytest.mark.parametrize(("name", "count"), [("events", 18), ("stores", 189), ("cluster", 4000)])
def test_every_recorded_frame_is_understood(name: str, count: int) -> None:
    """Every frame is read and written again as it was, and every value in it is a message of Zeek's."""
    payloads = [frame.payload for frames in conversations(name) for frame in frames]
    assert len(payloads) == count
    for payload in payloads:
        if is_handshake(payload):
            continue
        message = parse_node_message(payload)
        assert encode_node_message(message)[4:] == payload
        if message.kind is MessageKind.DATA:
            assert not isinstance(decode_message(message.payload), Unknown)


def render(value: Value) -> str:
    """A value as Zeek prints it; records have no names on the wire and are left to the caller."""
    match value:
        case None:
            return "<uninitialized>"
        case bool():
            return "T" if value else "F"
        case int() | Count():
            return str(value if isinstance(value, int) else value.value)
        case float():
            text = f"{value + 0.0:.17g}"
            return text if "." in text or "e" in text else f"{text}.0"
        case bytes():
            return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in value)
        case EnumValue():
            return value.name
        case Timestamp():
            return f"{value.ns / 1e9:.6f}".rstrip("0")
        case Timespan():
            seconds, rest = divmod(abs(value.ns), 10**9)
            sign = -1 if value.ns < 0 else 1
            return f"{float(sign * seconds)} sec {sign * rest / 1e6} msecs"
        case Vector():
            return f"[{', '.join(map(render, value))}]"
        case Set():
            return "{" + "; ".join(sorted(map(render, value))) + "}"
        case Table():
            return "{" + "; ".join(sorted(f"[{render(key)}] = {render(of)}" for key, of in value.pairs())) + "}"
        case _:
            return str(value)


def render_event(event: Event) -> str:
    """The arguments of the recorded event as Zeek prints them."""
    *plain, record, pattern = event.args
    assert isinstance(record, Vector)
    assert isinstance(pattern, Vector)
    number, inner, members, reals, optional = record
    assert isinstance(inner, Vector)
    inner_text = ", ".join(f"{name}={render(value)}" for name, value in zip("ab", inner, strict=True))
    fields = f"i={render(number)}, inner=[{inner_text}], s={render(members)}, v={render(reals)}, o={render(optional)}"
    exact, _anywhere = pattern
    return ", ".join([*map(render, plain), f"[{fields}]", f"/{render(exact)}/"])


def events_heard(actor: Actor) -> Iterator[Event]:
    for heard in actor.heard:
        if isinstance(heard, Data):
            message = decode_message(heard.payload)
            assert isinstance(message, Event)
            yield message


@sides
def test_values_are_those_that_zeek_printed(is_dialer: bool) -> None:
    """Every argument of every event, of every type that Zeek has, in either direction."""
    actor = play(conversations("events")[0], is_dialer=is_dialer)
    events = list(events_heard(actor))
    assert {event.name for event in events} == {"Interop::all_types"}
    assert [render_event(event) for event in events] == printed("dialer" if is_dialer else "listener")


def test_data_leaves_only_after_the_handshake() -> None:
    """In the recordings, too, nothing but the handshake comes before its end."""
    for name, number in COMPLETE:
        order = [is_handshake(frame.payload) for frame in conversations(name)[number]]
        assert all(before or not then for before, then in pairwise(order))
