"""How P and Z become peers: both roles, both diallers, duplicates, and first words that are wrong.

The numbers are those of the protocol's test plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from appliance.wire.framing import FrameReader, make_frame
from appliance.wire.handshake import Established, Handshake, Refused, RoleKnown
from appliance.wire.handshake_messages import (
    DropCode,
    DropConn,
    HandshakeMessage,
    Hello,
    OriginatorAck,
    OriginatorSyn,
    Probe,
    ResponderSynAck,
    VersionSelect,
    encode_handshake,
    parse_handshake,
)
from appliance.wire.names import EndpointId
from appliance.wire.node_messages import data_frame
from appliance.wire.peers import PeerTable, Verdict

from .conftest import OpenZ
from .journal import DEADLINE_S
from .peer import Door, Peer, Shaken, Stream, closing, dial, make_id, note, open_door, open_stream, receive, shake
from .sides import Side

ROLES = pytest.mark.parametrize("first", [pytest.param(0x00, id="P leads"), pytest.param(0xFF, id="Z leads")])
TOPIC = "interop/x"


def say(*messages: HandshakeMessage) -> bytes:
    return b"".join(encode_handshake(message) for message in messages)


async def check_both_ways(z: Side, peer: Peer) -> None:
    """What is published on either side arrives on the other."""
    await peer.publish(TOPIC, note("from P"))
    assert "from P" in await z.notes(1)
    await z.publish(TOPIC, "from Z")
    messages = await peer.hear_until_pong()
    assert [message.sender for message in messages if message.topic == TOPIC] == [z.id]


@pytest.mark.parametrize(
    ("first", "heard"),
    [
        pytest.param(0x00, [Probe, Hello, ResponderSynAck], id="P leads"),
        pytest.param(0xFF, [Probe, VersionSelect, OriginatorSyn, OriginatorAck], id="Z leads"),
    ],
)
async def test_h1_h2_p_dials(open_z: OpenZ, first: int, heard: list[type]) -> None:
    """The smaller ID leads; Z sends what its role has to send, and tells of the peer once."""
    async with open_z(subscribe=["interop/"]) as z, dial(z.port, tls=z.tls, me=make_id(first), prefixes=[TOPIC]) as p:
        assert p.heard == heard
        assert p.other == z.id
        assert p.filter.matches("interop/anything")
        await z.wait_added(p.me)
        await check_both_ways(z, p)
        assert z.added(p.me) == 1


@pytest.mark.parametrize(
    ("first", "heard"),
    [
        pytest.param(0x00, [Hello, ResponderSynAck], id="P leads"),
        pytest.param(0xFF, [Hello, VersionSelect, OriginatorSyn, OriginatorAck], id="Z leads"),
    ],
)
async def test_h3_h4_z_dials(open_z: OpenZ, first: int, heard: list[type]) -> None:
    """The same with the connection the other way round."""
    async with open_z(subscribe=["interop/"]) as z, open_door(tls=z.tls) as door:
        await z.dial(door.port)
        async with door.accept(me=make_id(first), prefixes=[TOPIC]) as p:
            assert p.heard == heard
            await z.wait_added(p.me)
            await check_both_ways(z, p)
            await z.hang_up(door.port)
            await p.answer(await p.hear_bye())


class Crossing:
    """P dials Z while Z dials P: two handshakes, one table of peers."""

    def __init__(self, me: EndpointId) -> None:
        self.me = me
        self.ends: list[Shaken] = []
        self.refused: list[DropCode] = []
        self.both_known = trio.Event()
        self._table = PeerTable()

    def decide(self, handshake: Handshake, event: RoleKnown) -> None:
        # P waits for nobody: who would have to be parked is refused, for the other handshake will not fail.
        found = self._table.decide(event.peer, is_originator=event.is_originator, is_shutting_down=False)
        if found.verdict is Verdict.PROCEED:
            handshake.accept()
        elif event.is_originator:
            self.refused.append(DropCode.REDUNDANT_CONNECTION)
            handshake.refuse(DropCode.REDUNDANT_CONNECTION, "redundant connection")
        else:
            handshake.accept()  # the originator is the one to decide

    async def go(self, connect: Callable[[], Awaitable[Stream]], is_dialer: bool, done: trio.Event) -> None:
        """Shake hands on one connection, and keep it until the end if that went well."""
        stream = await connect()
        async with closing(stream):
            shaken = await shake(stream, self.me, is_dialer=is_dialer, decide=self.decide)
            self.ends.append(shaken)
            if len(self.ends) == 2:
                self.both_known.set()
            if isinstance(shaken.end, Established):
                await done.wait()


async def cross(z: Side, door: Door, me: EndpointId) -> Crossing:
    crossing = Crossing(me)
    done = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(z.dial, door.port)
        nursery.start_soon(crossing.go, partial(open_stream, z.port, tls=z.tls), True, done)
        nursery.start_soon(crossing.go, door.accept_stream, False, done)
        with trio.fail_after(DEADLINE_S):
            await crossing.both_known.wait()
        await z.wait_added(me)
        await z.hang_up(door.port)
        done.set()
    return crossing


@pytest.mark.slow
@ROLES
async def test_h5_both_dial_at_once(open_z: OpenZ, first: int) -> None:
    """Exactly one connection remains, each of a hundred times; the other one is refused as redundant."""
    async with open_z() as z:
        for _ in range(100):
            async with open_door(tls=z.tls) as door:
                crossing = await cross(z, door, make_id(first))
            await z.wait_gone(crossing.me)
            established = [shaken for shaken in crossing.ends if isinstance(shaken.end, Established)]
            codes = [shaken.end.code for shaken in crossing.ends if isinstance(shaken.end, Refused)]
            assert len(established) == 1
            assert [*codes, *crossing.refused] == [DropCode.REDUNDANT_CONNECTION]
            assert z.added(crossing.me) == 1


@pytest.mark.parametrize(
    ("first", "code"),
    [
        pytest.param(0xFF, DropCode.REDUNDANT_CONNECTION, id="Z leads"),
        pytest.param(0x00, DropCode.LOGIC_ERROR, id="P leads"),
    ],
)
async def test_h6_p_dials_twice(open_z: OpenZ, first: int, code: DropCode) -> None:
    """The second connection is refused with the code of Z's role; the first one does not notice."""
    async with open_z(subscribe=["interop/"]) as z, dial(z.port, tls=z.tls, me=make_id(first), prefixes=[TOPIC]) as p:
        await z.wait_added(p.me)
        stream = await open_stream(z.port, tls=z.tls)
        async with closing(stream):
            second = await shake(stream, p.me)
            assert isinstance(second.end, Refused)
            assert (second.end.code, second.end.peer) == (code, z.id)
        await check_both_ways(z, p)
        assert z.added(p.me) == 1


@ROLES
async def test_h7_p_comes_back_at_once(open_z: OpenZ, first: int) -> None:
    """With an ID whose connection Z may not know to be gone: it is refused as redundant until it is welcome."""
    me = make_id(first)
    async with open_z(subscribe=["interop/"]) as z:
        async with dial(z.port, tls=z.tls, me=me) as p:
            await z.wait_added(p.me)
        with trio.fail_after(DEADLINE_S):
            while True:
                stream = await open_stream(z.port, tls=z.tls)
                async with closing(stream):
                    shaken = await shake(stream, me, prefixes=[TOPIC])
                    if isinstance(shaken.end, Established):
                        await check_both_ways(z, Peer(stream, me, shaken))
                        break
                assert isinstance(shaken.end, Refused)
                assert shaken.end.code in (DropCode.REDUNDANT_CONNECTION, DropCode.LOGIC_ERROR)
                await trio.sleep(0.01)
        await z.wait_added(me, count=2)


FIRST_WORDS = {
    "versions 2 to 3": (encode_handshake(Hello(make_id(), 2, 3)), DropCode.PEER_INCOMPATIBLE),
    "versions 0 to 0": (encode_handshake(Hello(make_id(), 0, 0)), DropCode.PEER_INCOMPATIBLE),
    "wrong magic": (encode_handshake(Hello(make_id())).replace(b"ZEEK", b"KEEZ"), DropCode.WRONG_MAGIC_NUMBER),
    "truncated": (make_frame(encode_handshake(Hello(make_id()))[4:-3]), DropCode.INVALID_MESSAGE),
    "type 1": (make_frame(b"\x01" + bytes(40)), DropCode.INVALID_MESSAGE),
    "type 99": (make_frame(b"\x63"), DropCode.INVALID_MESSAGE),
    "unknown code": (encode_handshake(DropConn(make_id(), 77, "why not")), DropCode.UNSPECIFIED),
    "out of turn": (encode_handshake(OriginatorAck()), None),
    "a refusal": (encode_handshake(DropConn(make_id(), 2, "no")), None),
    "nothing": (make_frame(b""), None),
}


@pytest.mark.parametrize("words", FIRST_WORDS)
async def test_h8_wrong_first_words(open_z: OpenZ, words: str) -> None:
    """Z says why, or nothing, and closes; the next one is welcome."""
    data, code = FIRST_WORDS[words]
    async with open_z(subscribe=["interop/"]) as z:
        stream = await open_stream(z.port, tls=z.tls)
        async with closing(stream):
            await stream.send_all(data)
            received = b""
            while more := await receive(stream):
                received += more
        reader = FrameReader(max_frame=1 << 16)
        reader.feed(received)
        heard = []
        while frame := reader.next_frame():
            heard.append(parse_handshake(frame))
        assert isinstance(heard[0], Probe)
        assert [m.code for m in heard[1:] if isinstance(m, DropConn)] == ([] if code is None else [code])
        async with dial(z.port, tls=z.tls, prefixes=[TOPIC]) as p:
            await check_both_ways(z, p)


async def test_h9_an_id_that_zeek_cannot_read(open_z: OpenZ) -> None:
    """The peering comes about; whether Z tells of it depends on the version in the ID."""
    me = bytearray(make_id())
    me[6] = 0x70 | me[6] & 0x0F
    async with open_z(subscribe=["interop/"]) as z, dial(z.port, tls=z.tls, me=bytes(me)) as p:
        await p.publish(TOPIC, note("here I am"))
        assert await z.notes(1) == ["here I am"]
        if z.habits.takes_any_version:
            await z.wait_added(p.me)
        else:
            await z.journal.wait("report", "ignoring malformed Broker status event")
            assert z.added(p.me) == 0


@pytest.mark.parametrize("whole", [True, False], ids=["the whole handshake", "from the choice of the version"])
async def test_h15_a_handshake_in_one_segment(open_plain_z: OpenZ, whole: bool) -> None:
    """P does not wait for the answers that it knows, and publishes behind them."""
    me = make_id(0x00)
    async with open_plain_z(subscribe=["interop/"]) as z:
        stream = await open_stream(z.port, tls=False)
        async with closing(stream):
            begin = encode_handshake(Hello(me))
            rest = say(VersionSelect(me), OriginatorSyn((TOPIC,)), OriginatorAck())
            data = data_frame(me, TOPIC, note("at once"))
            if not whole:
                await stream.send_all(begin)
                heard = b""
                while len(heard) < 9 + 27:
                    heard += await receive(stream)
                begin = b""
            await stream.send_all(begin + rest + data)
            assert await z.notes(1) == ["at once"]
            await z.wait_added(me)


async def test_a_handshake_byte_by_byte(open_z: OpenZ) -> None:
    """However it is cut."""
    me = make_id(0x00)
    async with open_z(subscribe=["interop/"]) as z:
        stream = await open_stream(z.port, tls=z.tls)
        async with closing(stream):
            for byte in say(Hello(me), VersionSelect(me), OriginatorSyn((TOPIC,)), OriginatorAck()):
                await stream.send_all(bytes([byte]))
            await z.wait_added(me)
