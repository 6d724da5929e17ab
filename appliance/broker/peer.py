"""One peering from its handshake to its end: what comes in, what goes out, and how it is left in peace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import trio

from appliance.config import Broker
from appliance.errors import RemoteProtocolError
from appliance.native.broker import BrokerIntake, OversizeFrameError, Run, RunKind
from appliance.runtime.ledger import Account
from appliance.runtime.peer_connection import PeerConnection
from appliance.wire.names import EndpointId, endpoint_text
from appliance.wire.node_messages import MessageKind, kind_number
from appliance.wire.session import Command, Data, FilterChanged, Ignored, Pong, Session

from .delivery import Delivery, Sender
from .figures import PeerFigures
from .greeting import Guest
from .log_writes import LogBook
from .tls import explain_tls

__all__ = ["Peer"]

_CONTROLS = frozenset({MessageKind.ROUTING_UPDATE, MessageKind.PING, MessageKind.PONG})


class Peer(PeerConnection):
    """See the module.

    Args:
        me: our ID.
        guest: the connection. It is closed at the end of `run`.
        address: where the peer is.
        dialed: the address that we dialled, or None.
        account: books each copy of a message for a peer.
        delivery: takes what comes in.
        relay: passes it on to other peers.
        filter_changed: called when the peer wants other topics.
    """

    def __init__(
        self,
        me: EndpointId,
        guest: Guest,
        table: Broker,
        *,
        address: str,
        dialed: tuple[str, int] | None,
        account: Account,
        delivery: Delivery,
        relay: Callable[[Peer, str, Sequence[bytes], int], None],
        filter_changed: Callable[[Peer], object],
    ) -> None:
        self.id = guest.peer
        self.name = endpoint_text(guest.peer)
        self.address, self.dialed = address, dialed
        self.announced: dict[str, bytes] = {}
        """What was announced to it, by key."""
        self.is_greeted = False
        """Whether we have said hello, as a node of a cluster."""
        super().__init__(guest.stream, account, table, explain=explain_tls, ping_interval_s=table.ping_interval.seconds)
        self._rest, self._told = guest.rest, guest.told
        self._delivery, self._filter_changed = delivery, filter_changed
        self._session = Session(me, guest.peer, peer_filter=guest.filter)
        self._intake = BrokerIntake(me=me, peer=guest.peer, max_message=int(table.max_message))
        self._sender = Sender(peer=self.name, logs=LogBook(), relay=lambda *message: relay(self, *message))

    # ── what others may ask of it ──

    @property
    def is_leaving(self) -> bool:
        return bool(self.ending)

    def wants(self, topic: str) -> bool:
        return self._session.peer_filter.matches(topic)

    def lists(self, topic: str) -> bool:
        """Whether its filter names exactly this topic."""
        return not self.is_leaving and topic in self._session.peer_filter.prefixes

    def tell_filter(self, prefixes: tuple[str, ...]) -> None:
        """Tell the peer what we want from now on, unless it knows."""
        if prefixes != self._told:
            self._told = prefixes
            self._session.update_filter(prefixes)
            self._flush_controls()

    def configure(self, table: Broker) -> None:
        """Take over what can be changed during a peering: all but `max_message`."""
        self.queue.configure(table)

    def statistics(self) -> PeerFigures:
        return PeerFigures(
            peer=self.name,
            address=self.address,
            direction="in" if self.dialed is None else "out",
            since_s=round(trio.current_time() - self._since, 3),
            filter_entries=len(self._session.peer_filter.prefixes),
            messages_in=self._messages_in,
            bytes_in=self._bytes_in,
            messages_out=self._messages_out,
            bytes_out=self._bytes_out,
            queued=self.queue.messages,
            queued_bytes=self.queue.size,
            dropped=self.queue.dropped,
        )

    # ── its life ──

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self._intake.close()

    async def _begin(self) -> None:
        rest, self._rest = self._rest, b""
        self._bytes_in += len(rest)
        await self._take(rest)

    async def _end_of_stream(self) -> None:
        # A peer that has got everything may close before our writer, which is about to run, has booked it.
        await trio.lowlevel.cancel_shielded_checkpoint()
        if not self._intake.is_between_frames:
            self._delivery.expect(1)
            self._delivery.refuse("torn_message", 1, self._sender)
        self.cut("the peer has closed the connection", is_ours=False)

    async def _take(self, data: bytes) -> None:
        broken = reason = ""
        try:
            runs = self._intake.feed(data)
        except OversizeFrameError as exc:
            runs, reason, broken = exc.runs, "too_large", f"it broke the protocol: {exc}"
        except MemoryError:
            runs, reason, broken = [], "no_memory", "there was no memory for what it sent"
        weights = [_weight(run) for run in runs]
        left = sum(weights)
        self._delivery.expect(left)
        try:
            for kind, group in groupby(zip(runs, weights, strict=True), key=_kind):
                same = list(group)
                if kind is RunKind.LOGS:
                    left -= len(same)
                    self._messages_in += len(same)
                    await self._delivery.take_logs([run for run, _ in same], self._sender)
                    continue
                for run, weight in same:
                    left -= weight
                    self._messages_in += weight
                    if kind is RunKind.EVENTS:
                        await self._delivery.take_events(run, self._sender)
                    elif not self.is_leaving or weight:
                        await self._take_other(run, weight)
        finally:
            self._delivery.abandon("shutdown", left)
        if broken:
            self._delivery.expect(1)
            self._delivery.refuse(reason, 1, self._sender)
            self.cut(broken)

    async def _take_other(self, run: Run, weight: int) -> None:
        """Take a message that is neither an event nor log writes, or that is none at all."""
        try:
            event = self._session.receive(run.data)
        except RemoteProtocolError as exc:
            self._delivery.refuse("bad_message", weight, self._sender)
            self.cut(f"it broke the protocol: {exc}")
            return
        match event:
            case Data():
                await self._delivery.take_data(event, self._sender)
            case Command():
                await self._delivery.take_command(event, self._sender)
            case Ignored(reason):
                if not weight:
                    self._delivery.expect(1)
                self._delivery.refuse(str(reason), 1, self._sender)
            case FilterChanged():
                self._filter_changed(self)
            case Pong() if self._session.is_bye_answered:
                self._answered.set()
        self._flush_controls()

    def _flush_controls(self) -> None:
        self.queue.put_control(self._session.data_to_send())

    def _say_bye(self) -> None:
        self._session.say_bye()

    def _ping(self) -> None:
        self._session.ping(b"are you there?")


def _kind(weighed: tuple[Run, int]) -> RunKind:
    return weighed[0].kind


def _weight(run: Run) -> int:
    """The messages in a run, as the ledger counts them: the protocol's own talk is none."""
    if run.kind is not RunKind.OTHER:
        return run.count
    return int(bool(run.data) and kind_number(run.data) not in _CONTROLS)
