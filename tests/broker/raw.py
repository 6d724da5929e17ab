"""A peer that does what a test says: it can shake hands, and send and read frames."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from appliance.wire.framing import FrameReader, make_frame
from appliance.wire.handshake import Established, Failed, Handshake, HandshakeEvent, Refused, RoleKnown
from appliance.wire.names import CONTROL_TOPIC, NIL
from appliance.wire.node_messages import MessageKind, NodeMessage, data_frame, encode_node_message, parse_node_message

from .harness import DEADLINE_S, House, wait_until

__all__ = ["Raw", "connect", "make_id", "meet", "receive_exactly", "shake"]


def make_id(first: int = 0x80) -> bytes:
    """A fresh ID that begins so: 0 leads the handshake with everybody, 0xff with nobody."""
    return bytes([first]) * 6 + uuid.uuid4().bytes[6:]


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    """So many bytes, which must come."""
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        assert more
        data += bytes(more)
    return data


async def shake(
    stream: trio.abc.Stream, me: bytes, *, prefixes: Sequence[str] = (), is_dialer: bool = True
) -> tuple[HandshakeEvent, bytes]:
    """Shake hands to the end; returns how it ended and what came behind it."""
    handshake = Handshake(me, is_dialer=is_dialer, local_filter=lambda: tuple(prefixes))
    handshake.start()
    while True:
        event = handshake.next_event()
        if data := handshake.data_to_send():
            await stream.send_all(data)
        match event:
            case None:
                handshake.receive_data(bytes(await stream.receive_some()))
            case RoleKnown():
                handshake.accept()
            case Established():
                return event, handshake.take_rest()
            case Refused() | Failed():
                return event, b""


class Raw:
    """A peer after its handshake."""

    def __init__(self, stream: trio.SocketStream, me: bytes, other: bytes, rest: bytes) -> None:
        self.stream, self.me, self.other = stream, me, other
        self._reader = FrameReader(max_frame=1 << 30)
        self._reader.feed(rest)

    @property
    def name(self) -> str:
        return str(uuid.UUID(bytes=self.me))

    async def send(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def publish(self, topic: str, *payloads: bytes, receiver: bytes = NIL, ttl: int = 16) -> None:
        await self.send(*(data_frame(self.me, topic, each, receiver=receiver, ttl=ttl) for each in payloads))

    async def control(self, kind: MessageKind, payload: bytes, *, sender: bytes = b"", receiver: bytes = b"") -> None:
        message = NodeMessage(
            sender=sender or self.me, receiver=receiver or self.other, kind=kind, topic=CONTROL_TOPIC, payload=payload
        )
        await self.send(encode_node_message(message))

    async def raw_data(
        self, topic: bytes, payload: bytes, *, sender: bytes | None = None, receiver: bytes = NIL, kind: int = 1
    ) -> None:
        """Any message, however wrong."""
        sender = self.me if sender is None else sender
        head = sender + receiver + bytes([kind]) + (16).to_bytes(2) + len(topic).to_bytes(2)
        await self.send(make_frame(head + topic + payload))

    async def next_message(self) -> NodeMessage | None:
        """The next message from the endpoint; None at the end of the connection."""
        with trio.fail_after(DEADLINE_S):
            while (frame := self._reader.next_frame()) is None:
                try:
                    data = await self.stream.receive_some(1 << 16)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self._reader.feed(bytes(data))
        return parse_node_message(frame)

    async def messages(self, count: int) -> list[NodeMessage]:
        found = []
        for _ in range(count):
            message = await self.next_message()
            assert message is not None
            found.append(message)
        return found


async def connect(house: House) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", house.port)


@asynccontextmanager
async def meet(house: House, *, me: bytes = b"", prefixes: Sequence[str] = ("",)) -> AsyncIterator[Raw]:
    """Be a peer of that endpoint."""
    me = me or make_id()
    stream = await connect(house)
    async with stream:
        with trio.fail_after(DEADLINE_S):
            event, rest = await shake(stream, me, prefixes=prefixes)
        assert isinstance(event, Established), event
        raw = Raw(stream, me, event.peer, rest)
        await wait_until(lambda: raw.name in house.peers)
        yield raw
