"""P: a peer made of the pure protocol alone, which can keep its rules and break them.

Its TLS is the recipe of the protocol's description, not that of the appliance's own edge.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from appliance.wire.filters import PrefixSet, decode_filter, encode_filter
from appliance.wire.framing import FrameReader, make_frame
from appliance.wire.handshake import Established, Failed, Handshake, HandshakeEvent, Refused, RoleKnown
from appliance.wire.handshake_messages import HandshakeMessage, parse_handshake
from appliance.wire.names import CONTROL_TOPIC, NIL, EndpointId, endpoint_text
from appliance.wire.node_messages import MessageKind, NodeMessage, data_frame, encode_node_message, parse_node_message
from appliance.zeek.messages import Event, encode_message

from .journal import DEADLINE_S

__all__ = [
    "Door",
    "Peer",
    "Shaken",
    "Stream",
    "anonymous_context",
    "closing",
    "dial",
    "make_id",
    "note",
    "open_door",
    "open_stream",
    "receive",
    "secure",
    "shake",
]

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Decide = Callable[[Handshake, RoleKnown], None]


def make_id(first: int = 0x80) -> EndpointId:
    """A fresh ID that begins so: 0 makes it the originator with everybody, 0xff the responder."""
    return bytes([first]) * 6 + uuid.uuid4().bytes[6:]


def note(text: str) -> bytes:
    """The event that every counterpart knows."""
    return encode_message(Event.make("Interop::note", text.encode()))


def anonymous_context(*, is_server: bool) -> ssl.SSLContext:
    """Broker's default: encrypted, nobody is who he says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    if not is_server:
        context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES256-SHA@SECLEVEL=0")
    if is_server:
        context.set_ecdh_curve("secp384r1")
    return context


async def secure(transport: trio.SocketStream, context: ssl.SSLContext | None, *, is_server: bool) -> Stream:
    """Put TLS onto a connection, or not."""
    if context is None:
        return transport
    stream = trio.SSLStream(transport, context, server_side=is_server, https_compatible=True)
    try:
        with trio.fail_after(DEADLINE_S):
            await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise
    return stream


async def open_stream(port: int, *, tls: bool) -> Stream:
    transport = await trio.open_tcp_stream("127.0.0.1", port)
    return await secure(transport, anonymous_context(is_server=False) if tls else None, is_server=False)


async def receive(stream: Stream) -> bytes:
    """What comes next; nothing at the end of the connection, however it ended."""
    with trio.fail_after(DEADLINE_S):
        try:
            return bytes(await stream.receive_some(1 << 16))
        except trio.BrokenResourceError:
            return b""


class Shaken(NamedTuple):
    """How a handshake went."""

    end: HandshakeEvent
    heard: list[type[HandshakeMessage]]
    """What the other side said, in order; nothing if the handshake failed."""
    rest: bytes


async def shake(
    stream: Stream,
    me: EndpointId,
    *,
    prefixes: Sequence[str] = (),
    is_dialer: bool = True,
    decide: Decide | None = None,
) -> Shaken:
    """Shake hands; `decide` answers for us whether the other side is welcome."""
    handshake = Handshake(me, is_dialer=is_dialer, local_filter=lambda: tuple(prefixes))
    handshake.start()
    received, rest = b"", b""
    end: HandshakeEvent | None = None
    while end is None:
        event = handshake.next_event()
        match event:
            case RoleKnown():
                if decide is None:
                    handshake.accept()
                else:
                    decide(handshake, event)
                    if handshake.is_over:
                        end = event
            case Established():
                end, rest = event, handshake.take_rest()
            case Refused() | Failed():
                end = event
        if data := handshake.data_to_send():
            await stream.send_all(data)
        if event is None:
            data = await receive(stream)
            received += data
            handshake.receive_data(data)
    heard = _parse_all(received[: len(received) - len(rest)]) if isinstance(end, Established) else []
    return Shaken(end, heard, rest)


def _parse_all(data: bytes) -> list[type[HandshakeMessage]]:
    reader = FrameReader(max_frame=len(data))
    reader.feed(data)
    found = []
    while frame := reader.next_frame():
        found.append(type(parse_handshake(frame)))
    return found


class Peer:
    """P after its handshake. `filter` is what the other side wants, as last told."""

    def __init__(self, stream: Stream, me: EndpointId, shaken: Shaken) -> None:
        assert isinstance(shaken.end, Established), shaken.end
        self.stream, self.me, self.other = stream, me, shaken.end.peer
        self.heard = shaken.heard
        self.filter = PrefixSet(shaken.end.filter)
        self._reader = FrameReader(max_frame=1 << 30)
        self._reader.feed(shaken.rest)
        self._pings = 0

    @property
    def name(self) -> str:
        return endpoint_text(self.me)

    # ── what it says ──

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def publish(
        self, topic: str, *payloads: bytes, receiver: EndpointId = NIL, ttl: int = 16, sender: EndpointId | None = None
    ) -> None:
        """Publish; with a sender, in its name."""
        await self.send(*(raw_data(sender or self.me, topic, each, receiver, ttl) for each in payloads))

    async def publish_nameless(self, topic: str, payload: bytes) -> None:
        """Publish in nobody's name."""
        await self.send(raw_data(NIL, topic, payload, NIL, 16))

    async def ask_for(self, *prefixes: str) -> None:
        """Tell a new filter."""
        await self._control(MessageKind.ROUTING_UPDATE, encode_filter(prefixes), self.other)

    async def ping(
        self, payload: bytes, *, receiver: EndpointId | None = None, sender: EndpointId | None = None
    ) -> None:
        receiver = self.other if receiver is None else receiver
        if payload:
            await self._control(MessageKind.PING, payload, receiver, sender)
            return
        head = (sender or self.me) + receiver + bytes([MessageKind.PING]) + b"\0\x10\0\3" + CONTROL_TOPIC.encode()
        await self.send(make_frame(head))

    async def answer(self, ping: NodeMessage) -> None:
        await self._control(MessageKind.PONG, ping.payload, ping.sender)

    async def _control(
        self, kind: MessageKind, payload: bytes, receiver: EndpointId, sender: EndpointId | None = None
    ) -> None:
        message = NodeMessage(
            sender=sender or self.me, receiver=receiver, kind=kind, topic=CONTROL_TOPIC, payload=payload
        )
        await self.send(encode_node_message(message))

    # ── what it hears ──

    async def hear(self) -> NodeMessage | None:
        """The next message; None at the end of the connection."""
        while (frame := self._reader.next_frame()) is None:
            data = await receive(self.stream)
            if not data:
                return None
            self._reader.feed(data)
        return parse_node_message(frame)

    async def hear_some(self, kind: MessageKind, count: int = 1) -> list[NodeMessage]:
        """As many messages of a kind; those of other kinds are left out."""
        found: list[NodeMessage] = []
        while len(found) < count:
            message = await self.hear()
            assert message is not None, found
            if message.kind is kind:
                found.append(message)
        return found

    async def hear_on(self, topic: str, count: int = 1) -> list[NodeMessage]:
        """As many messages on a topic; Zeek announces its logs to everybody, which comes in between."""
        found: list[NodeMessage] = []
        while len(found) < count:
            found += [message for message in await self.hear_some(MessageKind.DATA) if message.topic == topic]
        return found

    async def hear_until_pong(self) -> list[NodeMessage]:
        """Everything that the other side has sent so far: all that comes before the answer to a ping of ours."""
        self._pings += 1
        token = b"so far %d" % self._pings
        await self.ping(token)
        found: list[NodeMessage] = []
        while True:
            message = await self.hear()
            assert message is not None, found
            if message.kind is MessageKind.PONG and message.payload == token:
                return found
            found.append(message)

    async def follow_filter(self) -> None:
        """Wait for the other side's new filter, and take it over."""
        [update] = await self.hear_some(MessageKind.ROUTING_UPDATE)
        self.filter = PrefixSet(decode_filter(update.payload))

    async def hear_bye(self) -> NodeMessage:
        """The farewell, past whatever comes before it."""
        [bye] = await self.hear_some(MessageKind.PING)
        assert (len(bye.payload), bye.payload[:3], bye.topic) == (11, b"BYE", CONTROL_TOPIC)
        return bye


def raw_data(sender: EndpointId, topic: str, payload: bytes, receiver: EndpointId, ttl: int) -> bytes:
    """A data message, whatever it claims."""
    head = sender + receiver + bytes([MessageKind.DATA]) + ttl.to_bytes(2) + len(topic.encode()).to_bytes(2)
    frame = make_frame(head + topic.encode() + payload)
    if sender != NIL and not topic.startswith(CONTROL_TOPIC):
        assert frame == data_frame(sender, topic, payload, receiver=receiver, ttl=ttl)
    return frame


@asynccontextmanager
async def dial(
    port: int, *, tls: bool, me: EndpointId | None = None, prefixes: Sequence[str] = ()
) -> AsyncIterator[Peer]:
    """A peer that has dialled."""
    me = me or make_id()
    stream = await open_stream(port, tls=tls)
    async with closing(stream):
        yield Peer(stream, me, await shake(stream, me, prefixes=prefixes))


@asynccontextmanager
async def closing(stream: Stream) -> AsyncIterator[None]:
    """Close without a word, as Broker does."""
    try:
        yield
    finally:
        await trio.aclose_forcefully(stream)


class Door:
    """An address at which P can be dialled."""

    def __init__(self, listener: trio.SocketListener, *, tls: bool) -> None:
        self._listener, self._tls = listener, tls
        self.port = int(listener.socket.getsockname()[1])

    async def accept_transport(self) -> trio.SocketStream:
        with trio.fail_after(DEADLINE_S):
            return await self._listener.accept()

    async def accept_stream(self) -> Stream:
        transport = await self.accept_transport()
        with trio.fail_after(DEADLINE_S):
            return await secure(transport, anonymous_context(is_server=True) if self._tls else None, is_server=True)

    @asynccontextmanager
    async def accept(self, *, me: EndpointId | None = None, prefixes: Sequence[str] = ()) -> AsyncIterator[Peer]:
        """A peer that was dialled."""
        me = me or make_id()
        stream = await self.accept_stream()
        async with closing(stream):
            yield Peer(stream, me, await shake(stream, me, prefixes=prefixes, is_dialer=False))


@asynccontextmanager
async def open_door(*, tls: bool, port: int = 0) -> AsyncIterator[Door]:
    [listener] = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with listener:
        yield Door(listener, tls=tls)
