"""What happens to a peering between its beginning and its end: pings, farewells, redialling, and TLS below it.

The numbers are those of the protocol's test plan.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import trio

from appliance.wire.handshake import Established
from appliance.wire.handshake_messages import Hello, OriginatorAck, OriginatorSyn, VersionSelect, encode_handshake
from appliance.wire.names import CONTROL_TOPIC, NIL, EndpointId
from appliance.wire.node_messages import MessageKind, NodeMessage, data_frame
from appliance.zeek.messages import Event, decode_message

from .conftest import OpenZ
from .peer import (
    Peer,
    Stream,
    anonymous_context,
    closing,
    dial,
    make_id,
    note,
    open_door,
    open_stream,
    receive,
    secure,
    shake,
)
from .sides import Side

TOPIC = "interop/x"


# ── pings ──

Which = Callable[[Peer], EndpointId | None]
PINGS: dict[str, tuple[bytes, Which, Which, bool]] = {
    # payload, receiver, sender, whether it is answered
    "one byte": (b"x", lambda p: p.other, lambda p: p.me, True),
    "eleven bytes": (b"hello there", lambda p: p.other, lambda p: p.me, True),
    "60,000 bytes": (b"x" * 60_000, lambda p: p.other, lambda p: p.me, True),
    "nothing": (b"", lambda p: p.other, lambda p: p.me, True),
    "to nobody": (b"x", lambda p: NIL, lambda p: p.me, True),
    "to P itself": (b"x", lambda p: p.me, lambda p: p.me, False),
    "to a stranger": (b"x", lambda p: make_id(), lambda p: p.me, False),
    "from a stranger": (b"x", lambda p: p.other, lambda p: make_id(), False),
    "from Z itself": (b"x", lambda p: p.other, lambda p: p.other, False),
}


@pytest.mark.parametrize("which", PINGS)
async def test_h10_pings(open_plain_z: OpenZ, which: str) -> None:
    """The answer has the same payload, and goes to who asked; whoever is not the peer gets none."""
    payload, receiver, sender, is_answered = PINGS[which]
    async with open_plain_z() as z, dial(z.port, tls=False) as p:
        await p.ping(payload, receiver=receiver(p), sender=sender(p))
        pongs = [m for m in await p.hear_until_pong() if m.kind is MessageKind.PONG]
        expected = [(z.id, p.me, CONTROL_TOPIC, payload)] if is_answered else []
        assert [(m.sender, m.receiver, m.topic, m.payload) for m in pongs] == expected


# ── farewells ──


def texts(messages: Sequence[NodeMessage]) -> list[str]:
    """The notes among messages."""
    events = [decode_message(message.payload) for message in messages if message.topic == TOPIC]
    return [str(event.args[0], "ascii") for event in events if isinstance(event, Event)]  # type: ignore[arg-type]


async def test_h11_z_leaves_one_peer(open_z: OpenZ) -> None:
    """It says goodbye, and goes when it is answered; it does not dial again."""
    async with open_z() as z, open_door(tls=z.tls) as door:
        await z.dial(door.port)
        async with door.accept() as p:
            await z.wait_added(p.me)
            await z.hang_up(door.port)
            bye = await p.hear_bye()
            assert (bye.sender, bye.receiver) == (z.id, p.me)
            await p.answer(bye)
            assert await p.hear() is None
            await z.wait_removed(p.me)


async def test_h11_z_stops(open_z: OpenZ) -> None:
    """It says goodbye to everybody, behind all that it has published."""
    async with open_z() as z, dial(z.port, tls=z.tls, prefixes=[TOPIC]) as p, dial(z.port, tls=z.tls) as q:
        await z.wait_added(p.me)
        await z.wait_added(q.me)
        await z.publish(TOPIC, "first", "second")
        z.begin_stop()
        assert texts(await p.hear_on(TOPIC, 2)) == ["first", "second"]
        for peer in (q, p):
            await peer.answer(await peer.hear_bye())
            assert await peer.hear() is None


@pytest.mark.slow
async def test_h11_p_does_not_answer(open_plain_z: OpenZ) -> None:
    """Z goes after three seconds, not sooner."""
    async with open_plain_z() as z, dial(z.port, tls=False) as p:
        await z.wait_added(p.me)
        z.begin_stop()
        await p.hear_bye()
        began = trio.current_time()
        assert await p.hear() is None
        assert trio.current_time() - began > 2.5


async def test_h12_p_leaves(open_z: OpenZ) -> None:
    """The answer comes behind everything that was queued; Z does not close."""
    async with open_z() as z, dial(z.port, tls=z.tls, prefixes=[TOPIC]) as p:
        await z.wait_added(p.me)
        await z.publish(TOPIC, *(str(number) for number in range(200)))
        await p.ping(b"BYE" + bytes(range(8)))
        messages: list[NodeMessage] = []
        while not messages or messages[-1].kind is not MessageKind.PONG:
            message = await p.hear()
            assert message is not None
            messages.append(message)
        assert texts(messages) == [str(number) for number in range(200)]
        assert messages[-1].payload == b"BYE" + bytes(range(8))
        assert texts(await p.hear_until_pong()) == []
        await p.stream.aclose()
        await z.wait_lost(p.me)


async def test_h12_z_dials_again(open_z: OpenZ) -> None:
    """Whoever dialled comes back, farewell or not."""
    async with open_z(subscribe=["interop/"]) as z, open_door(tls=z.tls) as door:
        await z.dial(door.port)
        me = make_id()
        async with door.accept(me=me) as p:
            await z.wait_added(me)
            await p.ping(b"BYE" + bytes(8))
            await p.hear_some(MessageKind.PONG)
        await z.wait_lost(me)
        async with door.accept(me=me) as p:
            await z.wait_added(me, count=2)
            await p.publish(TOPIC, note("again"))
            assert await z.notes(1) == ["again"]
            await z.hang_up(door.port)
            await p.answer(await p.hear_bye())


async def test_h17_nobody_is_there_at_first(open_plain_z: OpenZ) -> None:
    """Z dials on, tells of each failure, and becomes a peer when there is one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and does not listen: whoever dials is refused
        port = sock.getsockname()[1]
        async with open_plain_z() as z:
            await z.dial(port)
            await z.wait_unreachable(2)
            sock.listen()
            async with trio.SocketListener(trio.socket.from_stdlib_socket(sock.dup())) as listener:
                stream = await listener.accept()
                async with closing(stream):
                    p = Peer(stream, me := make_id(), await shake(stream, me, is_dialer=False))
                    await z.wait_added(me)
                    await z.hang_up(port)
                    await p.answer(await p.hear_bye())


# ── TLS ──


class Tapped:
    """What an endpoint has received on its socket, below TLS."""

    def __init__(self, transport: trio.SocketStream) -> None:
        self.received = b""
        self._receive = transport.receive_some
        transport.receive_some = self.receive_some  # type: ignore[method-assign]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._receive(max_bytes))
        self.received += data
        return data

    def handshake_messages(self) -> dict[int, bytes]:
        """The TLS handshake's messages by their type, as long as they are in the clear (RFC 5246 sections 6.2, 7.4)."""
        at, plain = 0, b""
        while at + 5 <= len(self.received) and self.received[at] == 22:
            length = int.from_bytes(self.received[at + 3 : at + 5])
            plain += self.received[at + 5 : at + 5 + length]
            at += 5 + length
        found: dict[int, bytes] = {}
        at = 0
        while at + 4 <= len(plain):
            length = int.from_bytes(plain[at + 1 : at + 4])
            found.setdefault(plain[at], plain[at + 4 : at + 4 + length])
            at += 4 + length
        return found


_SERVER_KEY_EXCHANGE = 12
_NAMED_CURVE_P384 = b"\x03\x00\x18"  # RFC 4492 section 5.4


async def test_h16_what_is_agreed_upon(open_tls_z: OpenZ) -> None:
    """TLS 1.2 with Broker's anonymous cipher and its curve, at either end."""
    async with open_tls_z() as z:
        transport = await trio.open_tcp_stream("127.0.0.1", z.port)
        tapped = Tapped(transport)
        stream = await secure(transport, anonymous_context(is_server=False), is_server=False)
        assert isinstance(stream, trio.SSLStream)
        async with closing(stream):
            assert stream.version() == "TLSv1.2"
            assert stream.cipher() == ("AECDH-AES256-SHA", "TLSv1.0", 256)
            assert tapped.handshake_messages()[_SERVER_KEY_EXCHANGE].startswith(_NAMED_CURVE_P384)
        async with open_door(tls=True) as door:
            await z.dial(door.port)
            stream = await door.accept_stream()
            assert isinstance(stream, trio.SSLStream)
            async with closing(stream):
                assert stream.version() == "TLSv1.2"
                cipher = stream.cipher()
                assert cipher is not None
                assert cipher[0] == "AECDH-AES256-SHA"
                await z.hang_up(door.port)


async def test_h14_data_in_the_record_of_the_last_word(open_tls_z: OpenZ) -> None:
    """Ours takes it at once; Broker does when something follows."""
    me = make_id(0x00)
    async with open_tls_z(subscribe=["interop/"]) as z:
        stream = await open_stream(z.port, tls=True)
        async with closing(stream):
            await stream.send_all(encode_handshake(Hello(me)))
            heard = b""
            while len(heard) < 9 + 27:
                heard += await receive(stream)
            await stream.send_all(encode_handshake(VersionSelect(me)) + encode_handshake(OriginatorSyn(())))
            await receive(stream)
            await stream.send_all(encode_handshake(OriginatorAck()) + data_frame(me, TOPIC, note("first")))
            if z.habits.stalls:
                await z.wait_added(me)
                await stream.send_all(data_frame(me, TOPIC, note("second")))
                assert await z.notes(2) == ["first", "second"]
            else:
                assert await z.notes(1) == ["first"]


Connect = Callable[[], Awaitable[Stream]]


async def becomes_a_peering(connect: Connect, *, is_dialer: bool) -> bool:
    """Whether a connection comes about and its handshake succeeds."""
    try:
        stream = await connect()
        async with closing(stream):
            return isinstance((await shake(stream, make_id(), is_dialer=is_dialer)).end, Established)
    except trio.BrokenResourceError:
        return False


async def is_welcome(z: Side, context: ssl.SSLContext | None, *, p_dials: bool) -> bool:
    """Whether Z and P become peers if P has this TLS, or none."""

    async def dial_z() -> Stream:
        return await secure(await trio.open_tcp_stream("127.0.0.1", z.port), context, is_server=False)

    if p_dials:
        return await becomes_a_peering(dial_z, is_dialer=True)
    async with open_door(tls=False) as door:

        async def accept_z() -> Stream:
            return await secure(await door.accept_transport(), context, is_server=True)

        await z.dial(door.port)
        found = await becomes_a_peering(accept_z, is_dialer=False)
        await z.hang_up(door.port)
        return found


WHO_DIALS = pytest.mark.parametrize("p_dials", [True, False], ids=["P dials", "Z dials"])


@WHO_DIALS
async def test_h13_only_one_side_has_tls(open_z: OpenZ, p_dials: bool) -> None:
    """There is no peering, and nobody hangs; with the same mode there is one."""
    async with open_z() as z:
        anonymous = anonymous_context(is_server=not p_dials)
        assert not await is_welcome(z, None if z.tls else anonymous, p_dials=p_dials)
        assert await is_welcome(z, anonymous if z.tls else None, p_dials=p_dials)


@WHO_DIALS
@pytest.mark.parametrize(
    ("node", "ca", "expected"),
    [
        pytest.param("node", "ca", True, id="right certificate"),
        pytest.param("other", "ca", False, id="of another authority"),
        pytest.param("expired", "ca", False, id="expired"),
        pytest.param("node", "other-ca", False, id="P knows another authority"),
        pytest.param("", "ca", False, id="none"),
        pytest.param("", "", False, id="anonymous cipher"),
    ],
)
async def test_h13_certificates(
    open_tls_z: OpenZ, certificates: Path, p_dials: bool, node: str, ca: str, expected: bool
) -> None:
    """With its own, Z takes only who has one of the same authority, and goes only where there is one."""
    if ca:
        context = certified_context(certificates, node, ca, is_server=not p_dials)
    else:
        context = anonymous_context(is_server=not p_dials)
    async with open_tls_z(certificates=certificates) as z:
        assert await is_welcome(z, context, p_dials=p_dials) is expected


def certified_context(folder: Path, node: str, ca: str, *, is_server: bool) -> ssl.SSLContext:
    """TLS with certificates, as Broker has it once any of them is configured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder / f"{ca}.pem")
    if node:
        context.load_cert_chain(folder / f"{node}.pem", folder / f"{node}.key")
    return context
