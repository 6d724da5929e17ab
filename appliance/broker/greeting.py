"""From a new connection to a peer: TLS, Broker's handshake, and who of two connections with one peer may stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress

import msgspec
import trio

from appliance.errors import RemoteProtocolError
from appliance.wire.handshake import Established, Failed, Handshake, Refused, RoleKnown
from appliance.wire.handshake_messages import DropCode
from appliance.wire.names import EndpointId, endpoint_text
from appliance.wire.peers import PeerTable, Verdict

from .streams import Stream, receive, secure, send
from .tls import TlsContexts, is_tls

__all__ = ["Guest", "Lobby", "Unwelcome"]

_CHUNK = 65536
_INCOMPATIBLE = frozenset({DropCode.PEER_INCOMPATIBLE, DropCode.WRONG_MAGIC_NUMBER, DropCode.INVALID_MESSAGE})
_REDUNDANT = frozenset({DropCode.REDUNDANT_CONNECTION, DropCode.LOGIC_ERROR})


class Guest(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose handshake has succeeded. The peer is reserved for it in the table, as established."""

    stream: Stream
    peer: EndpointId
    filter: tuple[str, ...]
    """What the peer wants."""
    told: tuple[str, ...]
    """What it was told that we want."""
    rest: bytes
    """What it has sent already behind the handshake."""


class Unwelcome(Exception):  # noqa: N818 - not an error of ours
    """A connection that did not become a peering. It is closed.

    Args:
        reason: a sentence for people.
        peer: who it was, if that became known.
        code: what one of the two sides was told, if anything.
    """

    def __init__(self, reason: str, *, peer: EndpointId | None = None, code: DropCode | None = None) -> None:
        super().__init__(reason)
        self.peer = peer
        self.is_redundant = peer is not None and code in _REDUNDANT
        self.is_incompatible = code in _INCOMPATIBLE


class Lobby:
    """Where connections stay until they are peers.

    Args:
        me: our ID.
        contexts: TLS, or None.
        local_filter: what we want; asked as late as possible.
        has_room: whether one more peer is taken.
    """

    def __init__(
        self,
        me: EndpointId,
        *,
        contexts: TlsContexts | None,
        local_filter: Callable[[], tuple[str, ...]],
        has_room: Callable[[], bool],
    ) -> None:
        self.me = me
        self.contexts = contexts
        self.local_filter = local_filter
        self._has_room = has_room
        self._table = PeerTable()
        self._changes = trio.lowlevel.ParkingLot()
        self.is_shutting_down = False
        """Nobody is taken any more."""

    def goodbye(self, peer: EndpointId, *, is_ours: bool) -> None:
        """A peering has ended, by our will or not."""
        (self._table.removed if is_ours else self._table.lost)(peer)
        self._changes.unpark_all()

    async def greet(self, stream: trio.SocketStream, *, is_dialer: bool) -> Guest:
        """Make a peer of a connection.

        Raises:
            Unwelcome: it did not become one.

        Cancellation: the connection is closed.
        Resource handling: the connection is closed unless it is in what is returned.
        """
        attempt = _Attempt(self, stream, is_dialer=is_dialer)
        try:
            return await attempt.run()
        except RemoteProtocolError as exc:
            raise Unwelcome(str(exc)) from exc
        finally:
            if not attempt.is_welcome:
                if attempt.reserved is not None:
                    self._table.failed(attempt.reserved)
                    self._changes.unpark_all()
                await trio.aclose_forcefully(stream)

    # ── for the connections in here ──

    def decide(self, event: RoleKnown) -> tuple[Verdict, DropCode, str]:
        """What becomes of a handshake with that peer."""
        if not self._has_room():
            return Verdict.REFUSE, DropCode.NO_CONNECTOR_AVAILABLE, "too many peers"
        decision = self._table.decide(
            event.peer, is_originator=event.is_originator, is_shutting_down=self.is_shutting_down
        )
        return decision.verdict, decision.code, decision.text

    async def wait_change(self) -> None:
        """Wait until the table says something else about somebody."""
        await self._changes.park()

    def settle(self, peer: EndpointId) -> None:
        """A reserved peer is one now."""
        self._table.established(peer)
        self._changes.unpark_all()


class _Attempt:
    """One connection in the lobby."""

    def __init__(self, lobby: Lobby, stream: trio.SocketStream, *, is_dialer: bool) -> None:
        self._lobby = lobby
        self._plain = stream
        self._is_dialer = is_dialer
        self._told: tuple[str, ...] = ()
        self._handshake = Handshake(lobby.me, is_dialer=is_dialer, local_filter=self._tell_filter)
        self._has_heard = False
        self.reserved: EndpointId | None = None
        self.is_welcome = False

    def _tell_filter(self) -> tuple[str, ...]:
        self._told = self._lobby.local_filter()
        return self._told

    async def run(self) -> Guest:
        stream = await secure(self._plain, self._lobby.contexts, is_dialer=self._is_dialer)
        handshake = self._handshake
        handshake.start()
        while True:
            event = handshake.next_event()
            with suppress(RemoteProtocolError) if isinstance(event, Failed) else nullcontext():
                if data := handshake.data_to_send():
                    await send(stream, data)
            match event:
                case None:
                    handshake.receive_data(await self._hear(stream))
                case RoleKnown():
                    await self._admit(stream, event)
                case Established(peer, prefixes):
                    self.is_welcome = True
                    self._lobby.settle(peer)
                    rest = handshake.take_rest()
                    return Guest(stream=stream, peer=peer, filter=prefixes, told=self._told, rest=rest)
                case Refused(code, text, peer):
                    raise Unwelcome(f"the peer refuses: {text} (code {int(code)})", peer=peer, code=code)
                case Failed(reason, sent):
                    raise Unwelcome(reason, code=sent)

    async def _hear(self, stream: Stream) -> bytes:
        data = await receive(stream, _CHUNK)
        if not self._has_heard and self._lobby.contexts is None and is_tls(data):
            raise Unwelcome('the peer speaks TLS, and we are set to tls = "off"')
        if not self._has_heard and not data:
            raise Unwelcome("the peer closed the connection without a word; do both sides have the same TLS mode?")
        self._has_heard = self._has_heard or bool(data)
        return data

    async def _admit(self, stream: Stream, event: RoleKnown) -> None:
        """Answer who it is with yes or no, at once or when another connection with that peer has come to its end."""
        handshake = self._handshake
        verdict, code, text = self._lobby.decide(event)
        while verdict is Verdict.PARK:
            await self._wait_parked(stream)
            if handshake.is_over:
                raise Unwelcome("the peer gave up a second connection", peer=event.peer)
            verdict, code, text = self._lobby.decide(event)
        if verdict is Verdict.PROCEED:
            self.reserved = event.peer
            handshake.accept()
            return
        handshake.refuse(code, text)
        with suppress(RemoteProtocolError):
            await send(stream, handshake.data_to_send())
        raise Unwelcome(f"{text}: {endpoint_text(event.peer)}", peer=event.peer, code=code)

    async def _wait_parked(self, stream: Stream) -> None:
        """Wait for news of the other connection, or of the end of this one."""
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                while not self._handshake.is_over:
                    try:
                        data = await receive(stream, _CHUNK)
                    except RemoteProtocolError:
                        data = b""
                    self._handshake.receive_data(data)
                    self._handshake.next_event()
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            await self._lobby.wait_change()
            nursery.cancel_scope.cancel()
