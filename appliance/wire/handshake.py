"""The handshake of two endpoints as a state machine, in either role and from either end of the connection.

Who dialled and who leads are independent: the endpoint with the smaller ID is the originator. What is accepted when is
the table of `handshake_states`; what is not in it closes the connection without a word, as Broker does. Two things are
not in the table: messages are checked while they are parsed, in whatever state they come (`handshake_messages`); and
the ID of the peer decides whether a hello is answered, or the owner of the connection is asked, who alone knows of
other connections with that peer (`peers`).

Source: Broker, ``internal/connector.cc``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.framing import HEADER_BYTES, FrameReader
from appliance.wire.handshake_messages import (
    DropCode,
    DropConn,
    HandshakeError,
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
from appliance.wire.handshake_states import NEXT, OVER, HandshakeState
from appliance.wire.names import NIL, EndpointId, endpoint_text

__all__ = [
    "Established",
    "Failed",
    "Handshake",
    "HandshakeEvent",
    "HandshakeState",
    "Refused",
    "RoleKnown",
]

_MAX_FRAME = 1 << 20
_SHOWN = 200  # characters of what the peer says, in a sentence of ours
_OURSELVES = "the peer has our own endpoint ID: the connection leads back to us, or two processes use the same ID"


class RoleKnown(msgspec.Struct, frozen=True):
    """We know who the peer is. Nothing goes on before `Handshake.accept` or `Handshake.refuse`."""

    peer: EndpointId
    is_originator: bool
    """Whether we lead."""


class Established(msgspec.Struct, frozen=True):
    """The handshake has succeeded. What is to be sent goes out first, by itself; then node messages may follow."""

    peer: EndpointId
    filter: tuple[str, ...]
    """What the peer wants."""


class Refused(msgspec.Struct, frozen=True):
    """The peer has said no. With `DropCode.REDUNDANT_CONNECTION` and a connection to that peer, all is well."""

    code: DropCode
    text: str
    """As it came: quote it before you show it."""
    peer: EndpointId
    """Who says so, which nobody has checked."""


class Failed(msgspec.Struct, frozen=True):
    """The handshake has ended. What is to be sent goes out, and the connection is closed."""

    reason: str
    """A sentence for people."""
    sent: DropCode | None
    """What the peer is told; None if nothing."""


HandshakeEvent: TypeAlias = RoleKnown | Established | Refused | Failed
"""What a handshake has to say."""


class Handshake:
    """One handshake on one connection.

    Call `start`; then, as long as it is not over, give it what arrives, take its events until there are none, and send
    what it has to send. Events come in the order of the stream, each once. It holds at most one frame, and one more
    `receive_data`.

    Args:
        me: our ID.
        is_dialer: whether we opened the connection.
        local_filter: what we want, in the form of `filters.minimal`; asked as late as possible, once.
        max_frame: the largest message in bytes that is taken; Broker has no limit.

    Raises:
        LocalProtocolError: an ID that is not one.
    """

    def __init__(
        self,
        me: EndpointId,
        *,
        is_dialer: bool,
        local_filter: Callable[[], tuple[str, ...]],
        max_frame: int = _MAX_FRAME,
    ) -> None:
        if len(me) != len(NIL) or me == NIL:
            raise LocalProtocolError(f"{me!r} is no endpoint's ID")
        self._me = me
        self._is_dialer = is_dialer
        self._local_filter = local_filter
        self._max_held = max_frame + HEADER_BYTES
        self._reader = FrameReader(max_frame=max_frame)
        self._state = HandshakeState.IDLE
        self._is_ended = False
        self._peer = NIL
        self._is_originator = False
        self._peer_filter: tuple[str, ...] = ()
        self._out: list[bytes] = []

    @property
    def state(self) -> HandshakeState:
        """Where the handshake is."""
        return self._state

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded or failed. There may still be something to send."""
        return self._state in OVER

    def start(self) -> None:
        """Say the first word: both sides do so at once.

        Raises:
            LocalProtocolError: already started.
        """
        self._require(HandshakeState.IDLE)
        self._send(Hello(self._me) if self._is_dialer else Probe())
        self._state = HandshakeState.AWAIT_HELLO_OR_VERSION_SELECT if self._is_dialer else HandshakeState.AWAIT_HELLO

    def receive_data(self, data: bytes) -> None:
        """Take what has arrived; nothing happens before `next_event`. After a failure it is thrown away.

        Args:
            data: the next bytes; none at the end of the stream.

        Raises:
            LocalProtocolError: more after the end of the stream, or after the handshake has succeeded.
        """
        if self._state is HandshakeState.ESTABLISHED or (self._is_ended and not self.is_over):
            raise LocalProtocolError(f"bytes for a handshake that takes none: {self._state}")
        if not self.is_over:
            self._is_ended = not data
            self._reader.feed(data)

    def next_event(self) -> HandshakeEvent | None:
        """What has happened; None if more data is needed, or an answer to `RoleKnown`.

        Raises:
            LocalProtocolError: not started.
        """
        if self._state is HandshakeState.IDLE:
            raise LocalProtocolError("a handshake that was not started")
        while not self.is_over:
            if self._state is HandshakeState.AWAIT_DECISION:
                return self._watch_undecided()
            try:
                payload = self._reader.next_frame()
                if payload is None:
                    return self._fail(self._describe_end()) if self._is_ended else None
                event = self._hear(payload)
            except HandshakeError as exc:
                return self._fail(_describe(exc), exc.code, exc.message)
            except RemoteProtocolError as exc:
                return self._fail(f"the peer broke the protocol: {exc}", DropCode.INVALID_MESSAGE, "message too long")
            if event is not None:
                return event
        return None

    def accept(self) -> None:
        """Answer `RoleKnown`: go on.

        Raises:
            LocalProtocolError: there is nothing to answer.
        """
        self._require(HandshakeState.AWAIT_DECISION)
        if self._is_originator:
            self._send(VersionSelect(self._me))
            self._send(OriginatorSyn(self._local_filter()))
            self._state = HandshakeState.AWAIT_RESPONDER_SYN_ACK
        else:
            self._state = HandshakeState.AWAIT_ORIGINATOR_SYN

    def refuse(self, code: DropCode, text: str) -> None:
        """Answer `RoleKnown`: say no, and why; or give up at any other time. The handshake is over without an event.

        Raises:
            LocalProtocolError: it is over, or not started.
        """
        if self.is_over or self._state is HandshakeState.IDLE:
            raise LocalProtocolError(f"nothing to refuse: {self._state}")
        self._send(DropConn(self._me, code, text))
        self._close(HandshakeState.CLOSED)

    def data_to_send(self) -> bytes:
        """Everything that was queued since the last call; never anything of what follows the handshake.

        Broker loses sight of bytes that arrive in one TLS record with the end of the handshake, so send it by itself.
        """
        data = b"".join(self._out)
        self._out.clear()
        return data

    def take_rest(self) -> bytes:
        """What has arrived behind the handshake: the first node messages.

        Raises:
            LocalProtocolError: the handshake has not succeeded.
        """
        self._require(HandshakeState.ESTABLISHED)
        return self._reader.take_rest()

    def _require(self, state: HandshakeState) -> None:
        if self._state is not state:
            raise LocalProtocolError(f"only possible in the state {state!s}, not in {self._state!s}")

    def _send(self, message: HandshakeMessage) -> None:
        self._out.append(encode_handshake(message))

    def _close(self, state: HandshakeState) -> None:
        self._state = state
        self._reader.take_rest()

    def _fail(self, reason: str, code: DropCode | None = None, text: str = "") -> Failed:
        if code is not None:
            self._send(DropConn(self._me, code, text))
        self._close(HandshakeState.FAILED)
        return Failed(reason, code)

    def _describe_end(self) -> str:
        where = f"in the state {self._state!s}"
        if self._reader.held_bytes and self._state is not HandshakeState.AWAIT_DECISION:
            where = "in the middle of a message"
        return f"the peer closed the connection during the handshake, {where}"

    def _watch_undecided(self) -> Failed | None:
        """A peer that waits for our decision has nothing to say, but it may go away."""
        if self._is_ended:
            return self._fail(self._describe_end())
        if self._reader.held_bytes > self._max_held:
            return self._fail("the peer sends on without waiting for an answer", DropCode.INVALID_MESSAGE, "too much")
        return None

    def _hear(self, payload: bytes) -> HandshakeEvent | None:
        if not payload:
            return self._fail("the peer sent an empty message")
        message = parse_handshake(payload)
        then = NEXT[self._state].get(type(message))
        if then is None:
            return self._fail(f"the peer sent an unexpected {type(message).__name__} in the state {self._state!s}")
        match message:
            case Hello(sender) | VersionSelect(sender):
                return self._meet(sender, is_hello=isinstance(message, Hello), then=then)
            case DropConn(sender, code, text):
                return self._hear_no(sender, DropCode(code), text)
            case OriginatorSyn(prefixes):
                self._peer_filter = prefixes
                self._send(ResponderSynAck(self._local_filter()))
            case ResponderSynAck(prefixes):
                self._peer_filter = prefixes
                self._send(OriginatorAck())
        self._state = then
        return Established(self._peer, self._peer_filter) if then is HandshakeState.ESTABLISHED else None

    def _meet(self, sender: EndpointId, *, is_hello: bool, then: HandshakeState) -> RoleKnown | Failed | None:
        """The peer has said who it is; with anything but a hello, that it leads."""
        if sender == self._me:
            return self._fail(_OURSELVES, DropCode.INVALID_PEERING_REQUEST, "same endpoint ID")
        if sender == NIL:
            return self._fail("the peer has no endpoint ID", DropCode.LOGIC_ERROR, "nil endpoint ID")
        if self._peer not in (NIL, sender):
            reason = f"the peer was {endpoint_text(self._peer)} and is now {endpoint_text(sender)}"
            return self._fail(reason, DropCode.LOGIC_ERROR, "changed endpoint ID")
        self._peer = sender
        self._is_originator = self._me < sender
        if self._is_originator and not is_hello:
            reason = f"the peer {endpoint_text(sender)} leads although its endpoint ID is the larger one"
            return self._fail(reason, DropCode.LOGIC_ERROR, "larger endpoint ID as originator")
        if is_hello and not self._is_originator:
            self._send(Hello(self._me))
            self._state = then
            return None
        self._state = HandshakeState.AWAIT_DECISION
        return RoleKnown(sender, self._is_originator)

    def _hear_no(self, sender: EndpointId, code: DropCode, text: str) -> Refused | Failed:
        if sender == self._me:
            return self._fail(_OURSELVES)
        self._close(HandshakeState.REFUSED)
        return Refused(code, text, sender)


def _describe(error: HandshakeError) -> str:
    # Only a refusal with a code that Broker does not know is answered so; the text is the peer's.
    is_refusal = error.code is DropCode.UNSPECIFIED
    what = "refused us with an unknown code" if is_refusal else "broke the protocol"
    return f"the peer {what}: {error.message[:_SHOWN]!r}"
