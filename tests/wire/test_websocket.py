"""Sessions with Zeek's WebSocket API: the recorded ones, and what can go wrong."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.websocket import Closed, Ignored, Pong, Refused, SessionState, WebsocketSession
from appliance.wire.websocket_messages import Ack, Data
from appliance.zeek.messages import Event
from appliance.zeek.values import Count, Set, Table, Timestamp, Vector
from tests.wire.harness import pieces_of
from tests.wire.websocket import ACK, answer_to, client_frames, connect, events_of, make_session, ready, server_frame
from tests.zeek.golden import websocket_texts

DATA = (
    b'{"type":"data-message","topic":"t","@data-type":"vector","data":[{"@data-type":"count","data":1},'
    b'{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"My::event"},'
    b'{"@data-type":"vector","data":[%s]}]}]}'
)


def message(argument: bytes = b"") -> bytes:
    return server_frame(DATA % argument)


def recorded_sessions() -> list[list[tuple[str, bytes]]]:
    """What was said in each session, in its order."""
    sessions: list[list[tuple[str, bytes]]] = []
    for direction, text in websocket_texts():
        if direction == "open":
            sessions.append([])
        elif direction != "quiet":
            sessions[-1].append((direction, text))
    return sessions


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
def test_the_recorded_session(cut: int) -> None:
    """Zeek's frames in pieces of any size: errors in between end nothing, every event arrives, with the bytes that are
    not UTF-8 as they are."""
    said = [text for direction, text in recorded_sessions()[0] if direction == "s2c"]
    session = connect("interop/ws")
    assert client_frames(session.data_to_send()) == [(1, b'["interop/ws"]')]
    events = []
    for piece in pieces_of(b"".join(map(server_frame, said)), [cut]):
        session.receive_data(piece)
        events += events_of(session)
    assert events[0] == Ack("76fb84b9-6010-525f-a3b1-822f53a4d2ea-websocket-0", "8.0.10")
    assert events[1:3] == [
        Refused("deserialization_failed", "failed to create Zeek event", is_fatal=False),
        Refused("deserialization_failed", "failed to decode JSON object", is_fatal=False),
    ]
    data = [event for event in events[3:] if isinstance(event, Data)]
    assert len(data) == len(said) - 3
    assert [each.topic for each in data] == ["interop/wspong", "interop/wsall"] * 3
    # One has a raw control character, three have a byte that is not UTF-8.
    assert [each.event.name for each in data if each.is_mended] == [
        "Interop::all_types",
        "Interop::pong",
        "Interop::all_types",
        "Interop::all_types",
    ]
    odd = "h\u00e9llo \udcff\0 end".encode("utf-8", "surrogateescape")
    assert [odd in each.event.args for each in data] == [False, True] * 3
    assert session.state is SessionState.READY


def test_what_we_publish_is_what_the_recorded_client_published() -> None:
    """The same JSON, but for blanks."""
    session = ready("interop/ws")
    texts = ["hello", 'h\u00e9llo \u0001 \\ " /', "after error"]
    for number, text in enumerate(texts, 1):
        session.publish("interop/ping", Event.make("Interop::ping", Count(number), text.encode()))
    sent = [json.loads(payload) for _, payload in client_frames(session.data_to_send())]
    recorded = [text for direction, text in recorded_sessions()[0][1:] if direction == "c2s"]
    right = [tree for tree in map(parse, recorded) if tree is not None and len(tree["data"]) == 3]
    assert sent == right


def parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_topics_that_the_server_takes_for_wrong() -> None:
    """As in the second recorded session: an error before the acknowledgement is the end, by our goodbye."""
    (refusal,) = [text for direction, text in recorded_sessions()[1] if direction == "s2c"]
    session = connect("x")
    session.data_to_send()
    session.receive_data(server_frame(refusal) + server_frame(ACK))
    assert events_of(session) == [
        Refused("deserialization_failed", "subscriptions not an array", is_fatal=True),
    ]
    assert session.state is SessionState.CLOSING
    assert client_frames(session.data_to_send()) == [(8, b"\x03\xe8")]
    session.receive_data(server_frame(b"\x03\xe8", 8))
    assert events_of(session) == [Closed(1000, "")]
    assert session.data_to_send() == b""


def test_without_topics() -> None:
    """As in the third recorded session: publishing only."""
    session = connect()
    assert client_frames(session.data_to_send()) == [(1, b"[]")]
    (ack,) = [text for direction, text in recorded_sessions()[2] if direction == "s2c"]
    session.receive_data(server_frame(ack))
    (event,) = events_of(session)
    assert isinstance(event, Ack)
    assert event.endpoint.endswith("-websocket-2")


def test_nothing_is_published_before_the_acknowledgement() -> None:
    """Nor after the end."""
    session = connect("t")
    with pytest.raises(LocalProtocolError, match="while subscribing"):
        session.publish("t", Event.make("My::event"))
    session.close()
    with pytest.raises(LocalProtocolError, match="while closing"):
        session.publish("t", Event.make("My::event"))
    with pytest.raises(LocalProtocolError, match="while closing"):
        session.ping()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (server_frame(ACK), "second_ack"),
        (server_frame(b"{}"), "bad_message"),
        (server_frame(b"[]"), "bad_message"),
        (server_frame(b"not json"), "bad_message"),
        (server_frame(b'{"type":"ack","endpoint":1}'), "bad_message"),
        (server_frame(b'{"type":"other"}'), "bad_message"),
        (server_frame(b'{"type":"data-message","topic":"t","@data-type":"count","data":1}'), "bad_message"),
        (server_frame((DATA % b"").replace(b'"topic":"t",', b"")), "bad_message"),
        (server_frame(b'{"type":' + b"[" * 100_000), "bad_message"),
    ],
)
def test_messages_that_make_no_sense_are_counted(frame: bytes, reason: str) -> None:
    """The session goes on, and what is told of them is bounded."""
    session = ready()
    session.receive_data(frame + message())
    ignored, data = events_of(session)
    assert isinstance(ignored, Ignored)
    assert (ignored.reason, len(ignored.detail) < 1000) == (reason, True)
    assert isinstance(data, Data)


def test_events_before_the_acknowledgement() -> None:
    """Zeek sends none; they are not delivered."""
    session = connect("t")
    session.receive_data(message())
    assert events_of(session) == [Ignored("early", "t")]


@pytest.mark.parametrize(
    ("argument", "value", "is_mended"),
    [
        (b'{"@data-type":"string","data":"\xff"}', b"\xff", True),
        (b'{"@data-type":"string","data":"a\\vb"}', b"a\vb", True),
        (b'{"@data-type":"string","data":"a\\\\vb"}', b"a\\vb", False),
        (b'{"@data-type":"string","data":"a\nb\x01"}', b"a\nb\x01", True),
        ('{"@data-type":"string","data":"ä"}'.encode(), "ä".encode(), False),
        (b'{"@data-type":"real","data":1.000000}', 1.0, False),
    ],
)
def test_what_is_not_json_is_mended_and_told_of(argument: bytes, value: object, is_mended: bool) -> None:
    """Bytes, raw control characters and a vertical tab, as Zeek writes them."""
    session = ready()
    session.receive_data(message(argument))
    (data,) = events_of(session)
    assert isinstance(data, Data)
    assert (data.event.args[0], data.is_mended) == (value, is_mended)


def test_reals_have_a_point() -> None:
    """Without one the server takes them for integers and refuses the event."""
    session = ready()
    session.publish("t", Event.make("My::event", 1.0, 1e300))
    ((_, payload),) = client_frames(session.data_to_send())
    assert b'"data":1.0}' in payload
    assert b'"data":1e+300}' in payload


@pytest.mark.parametrize("event", [Event.make("a", b"\xff"), Event.make("a", float("inf"))])
def test_what_cannot_be_sent_as_text_is_refused(event: Event) -> None:
    """Here, where it can be told; the server would hang up."""
    session = ready()
    with pytest.raises(LocalProtocolError):
        session.publish("t", event)
    with pytest.raises(LocalProtocolError):
        session.publish("\udcff", Event.make("a"))
    assert session.data_to_send() == b""


def test_local_times_of_older_servers() -> None:
    """A server up to 7.2 writes and reads its own local time; wherever a time stands, it is turned."""
    zone = timezone(timedelta(hours=2))
    session = ready(zone=zone)
    stamp = b'{"@data-type":"timestamp","data":"1970-01-01T02:00:01.500"}'
    nested = b'{"@data-type":"table","data":[{"key":{"@data-type":"set","data":[%s]},"value":%s}]}' % (stamp, stamp)
    session.receive_data(message(stamp + b"," + nested))
    (data,) = events_of(session)
    assert isinstance(data, Data)
    when = Timestamp(1_500_000_000)
    assert data.event.args == Vector((when, Table([(Set((when,)), when)])))
    session.publish("t", data.event)
    ((_, payload),) = client_frames(session.data_to_send())
    assert payload.count(b'"1970-01-01T02:00:01.500"') == 3


def test_pings_are_answered_and_asked() -> None:
    """With the same data; our own pings come back as events."""
    session = ready()
    session.receive_data(server_frame(b"are you there", 9))
    session.ping(b"1")
    assert events_of(session) == []
    assert sorted(client_frames(session.data_to_send())) == [(9, b"1"), (10, b"are you there")]
    session.receive_data(server_frame(b"1", 10))
    assert events_of(session) == [Pong(b"1")]


def test_a_server_that_only_pings_is_cut() -> None:
    """Answers wait for no more than a megabyte."""
    session = ready()
    session.receive_data(server_frame(b"x" * 125, 9) * 10_000)
    with pytest.raises(RemoteProtocolError, match="faster than answers are read"):
        events_of(session)
    assert len(session.data_to_send()) < (1 << 20) + 1000
    assert session.state is SessionState.CLOSED


@pytest.mark.parametrize(
    ("payload", "answer", "event"),
    [
        (b"\x03\xf0invalid_uri", b"\x03\xf0", Closed(1008, "invalid_uri")),
        (b"\x03\xe9\xff", b"\x03\xe9", Closed(1001, "\\xff")),
        (b"", b"", Closed(1005, "")),
    ],
)
def test_the_server_says_goodbye(payload: bytes, answer: bytes, event: Closed) -> None:
    """It is answered, and over."""
    session = ready()
    session.receive_data(server_frame(payload, 8) + message())
    assert events_of(session) == [event]
    assert client_frames(session.data_to_send()) == [(8, answer)]
    session.receive_data(b"anything")
    assert events_of(session) == []


def test_the_connection_breaks() -> None:
    """Told once, after everything that came before."""
    session = ready()
    session.receive_data(message())
    session.receive_data(b"")
    first, last = events_of(session)
    assert isinstance(first, Data)
    assert last == Closed(1006, "the connection broke")
    assert session.next_event() is None


@given(st.binary(max_size=40), st.lists(st.integers(1, 9), max_size=6))
@settings(deadline=None)
def test_any_bytes_are_events_or_a_mistake(junk: bytes, cuts: list[int]) -> None:
    """Whatever a server sends behind the upgrade; after a mistake there is nothing more."""
    session = ready()
    try:
        for piece in pieces_of(junk, cuts or [1]):
            session.receive_data(piece)
            events_of(session)
    except RemoteProtocolError:
        assert session.state is SessionState.CLOSED
        assert session.next_event() is None


# ── the upgrade ──


def test_application_and_authorization() -> None:
    """Headers that may be there."""
    session = make_session(application="broappliance/0.1", authorization="Bearer x")
    request = session.data_to_send()
    assert b"\r\nX-Application-Name: broappliance/0.1\r\n" in request
    assert b"\r\nAuthorization: Bearer x\r\n" in request
    for options in ({"application": "a b"}, {"authorization": "a\r\nb"}, {"target": "a b"}):
        with pytest.raises(LocalProtocolError):
            make_session(**options)


def test_upgrade_in_single_bytes_with_the_first_message_behind_it() -> None:
    """Nothing that comes early is lost."""
    session = make_session("t")
    for byte in answer_to(session.data_to_send()) + server_frame(ACK):
        session.receive_data(bytes([byte]))
    assert events_of(session) == [Ack("e", "8.0.10")]


def alter(old: bytes, new: bytes) -> tuple[WebsocketSession, bytes]:
    session = make_session("t")
    answer = answer_to(session.data_to_send())
    assert old in answer
    return session, answer.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"101 Switching Protocols", b"404 Not Found", "answers 404 instead of 101"),
        (b"101 Switching Protocols", b"200 OK", "answers 200 instead of 101"),
        (b"Accept: ", b"Accept: x", "to another request"),
        (b"Upgrade: WebSocket", b"Upgrade: h2c", "something else than WebSocket"),
        (b"Connection: Upgrade", b"Connection: close", "something else than WebSocket"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "nobody offered"),
        (b"HTTP/1.1", b"SMTP/1.1", "does not answer in HTTP"),
    ],
)
def test_servers_that_speak_something_else(old: bytes, new: bytes, told: str) -> None:
    """The session ends before it has begun."""
    session, answer = alter(old, new)
    with pytest.raises(RemoteProtocolError, match=told):
        session.receive_data(answer)
    assert session.state is SessionState.CLOSED
    assert (session.next_event(), session.data_to_send()) == (None, b"")


def test_an_endless_answer() -> None:
    """Is given up while it is still small."""
    session = make_session("t")
    session.receive_data(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 10_000)
    with pytest.raises(RemoteProtocolError, match="does not answer in HTTP"):
        session.receive_data(b"y" * 10_000)


class BackAtMidnight(tzinfo):
    """One hour ahead up to 1970; the first hour of that year comes twice."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        is_before = moment.year < 1970 or (moment.year == 1970 and not moment.hour and not moment.fold)
        return timedelta(hours=is_before)

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> None:
        return None

    def fromutc(self, moment: datetime) -> datetime:
        return moment + timedelta(hours=1) if moment.year < 1970 else moment.replace(fold=1)


HALF_HOUR = 1800 * 10**9


def test_times_that_become_one() -> None:
    """In an hour that comes twice two times are one: a set that cannot hold them is refused, and none is cut."""
    session = ready(zone=BackAtMidnight())
    for ns in (-HALF_HOUR, HALF_HOUR):
        session.publish("t", Event.make("a", Timestamp(ns)))
    texts = [payload for _, payload in client_frames(session.data_to_send())]
    assert texts[0] == texts[1]
    assert b"1970-01-01T00:30:00.000" in texts[0]
    with pytest.raises(LocalProtocolError, match="the same in the server's zone"):
        session.publish("t", Event.make("a", Set((Timestamp(-HALF_HOUR), Timestamp(HALF_HOUR)))))
    session.publish("t", Event.make("a", Timestamp(-(1 << 63))))
    ((_, payload),) = client_frames(session.data_to_send())
    assert b'"1677-09-21T01:12:43.145224192"' in payload


def test_end_before_the_answer() -> None:
    """Hung up, or given up by us."""
    session = make_session("t")
    with pytest.raises(RemoteProtocolError):
        session.receive_data(b"")
    session = make_session("t")
    session.close()
    assert session.state is SessionState.CLOSED
    session.receive_data(b"late")
    assert session.next_event() is None
