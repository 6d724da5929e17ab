"""One peering from its handshake to its end: what comes in, what goes out, and how it is left in peace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import trio

from appliance.config import Broker
from appliance.errors import RemoteProtocolError
from appliance.native.broker import BrokerIntake, OversizeFrameError, Run, RunKind
from appliance.runtime.ledger import Account
from appliance.runtime.outgoing import PeerQueue
from appliance.wire.names import EndpointId, endpoint_text
from appliance.wire.node_messages import MessageKind, kind_number
from appliance.wire.session import Command, Data, FilterChanged, Ignored, Pong, Session

from .delivery import Delivery, Sender
from .figures import PeerFigures
from .greeting import Guest
from .log_writes import LogBook
from .streams import receive, send

__all__ = ["BYE_PATIENCE_S", "Peer"]

READ_BYTES = 256 << 10
WRITE_BYTES = 256 << 10
BYE_PATIENCE_S = 3.0
"""How long Broker itself waits for the answer to its farewell."""
MISSED_PINGS = 3
_CONTROLS = frozenset({MessageKind.ROUTING_UPDATE, MessageKind.PING, MessageKind.PONG})


class Peer:
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
        self.ending = ""
        """Why the peering has ended, or is about to; empty as long as all is well."""
        self.is_ours = False
        """Whether it ends by our will."""
        self._table = table
        self._stream, self._rest, self._told = guest.stream, guest.rest, guest.told
        self._delivery, self._filter_changed = delivery, filter_changed
        self._session = Session(me, guest.peer, peer_filter=guest.filter)
        self._intake = BrokerIntake(me=me, peer=guest.peer, max_message=int(table.max_message))
        self._sender = Sender(peer=self.name, logs=LogBook(), relay=lambda *message: relay(self, *message))
        self.queue = PeerQueue(account, table, cut=self.cut)
        self._since = trio.current_time()
        self._reading: trio.CancelScope | None = None
        self._writing = trio.CancelScope()
        self._is_paused = False
        self._quiet, self._resumed = trio.Event(), trio.Event()
        self._bye_answered = trio.Event()
        self._messages_in = self._bytes_in = self._messages_out = self._bytes_out = 0

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
        self._table = table
        self.queue.configure(table)

    def cut(self, reason: str, *, is_ours: bool = True) -> None:
        """End the peering now: what was read is still handed on, what waits to be written is dropped."""
        if not self.ending:
            self.ending, self.is_ours = reason, is_ours
        self.queue.close("disconnected")
        self._writing.cancel()
        self._bye_answered.set()
        self._resumed.set()
        if self._reading is not None:
            self._reading.cancel()

    def pause(self) -> None:
        """Read nothing more; what was read is handed on."""
        self._is_paused = True
        if self._reading is not None:
            self._reading.cancel()

    async def wait_quiet(self) -> None:
        """Wait until what was read before `pause` is handed on."""
        await self._quiet.wait()

    async def leave(self) -> None:
        """Say goodbye and end the peering when the peer has heard everything, or does not answer."""
        self._is_paused = False
        self._resumed.set()
        self._session.say_bye()
        self._flush_controls()
        await self.queue.wait_idle()
        with trio.move_on_after(BYE_PATIENCE_S):
            await self._bye_answered.wait()
        self.cut("we have left")

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
        """Read and write until the peering ends; `ending` says why it did.

        Cancellation: what was read and not handed on is dropped for ``shutdown``, and what waits to be written.
        Resource handling: the connection is closed.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                if self._table.ping_interval:
                    nursery.start_soon(self._watch, self._table.ping_interval.seconds)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.ending = self.ending or "shutdown"
            self.queue.close("shutdown" if self.ending == "shutdown" else "disconnected")
            self._bye_answered.set()
            self._quiet.set()
            self._intake.close()
            await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        with self._writing:
            while True:
                frames = await self.queue.lease(WRITE_BYTES)
                data = frames[0] if len(frames) == 1 else b"".join(frames)
                messages = self.queue.leased_messages
                try:
                    await send(self._stream, data)
                except RemoteProtocolError as exc:
                    self.cut(str(exc), is_ours=False)
                    return
                self._messages_out += messages
                self._bytes_out += len(data)
                self.queue.settle()

    async def _read(self) -> None:
        data, self._rest = self._rest, b""
        if data:
            await self._take(data)
        while not self.ending:
            if self._is_paused:
                self._quiet.set()
                await self._resumed.wait()
                continue
            data = b""
            is_cut = True
            try:
                with trio.CancelScope() as self._reading:
                    data = await receive(self._stream, READ_BYTES)
                    is_cut = False
            except RemoteProtocolError as exc:
                self.cut(str(exc), is_ours=False)
                is_cut = False
            finally:
                self._reading = None
            if data:
                await self._take(data)
            elif not is_cut:
                await self._end_of_stream()

    async def _end_of_stream(self) -> None:
        # A peer that has got everything may close before our writer, which is about to run, has booked it.
        await trio.lowlevel.cancel_shielded_checkpoint()
        if not self._intake.is_between_frames:
            self._delivery.expect(1)
            self._delivery.refuse("torn_message", 1, self._sender)
        self.cut("the peer has closed the connection", is_ours=False)

    async def _take(self, data: bytes) -> None:
        self._bytes_in += len(data)
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
                self._bye_answered.set()
        self._flush_controls()

    def _flush_controls(self) -> None:
        self.queue.put_control(self._session.data_to_send())

    async def _watch(self, interval_s: float) -> None:
        """Ask for signs of life. Time in which we do not read ourselves says nothing about the peer."""
        missed, heard = 0, -1
        while True:
            await trio.sleep(interval_s)
            if self._bytes_in != heard or self._reading is None:
                missed, heard = 0, self._bytes_in
            else:
                missed += 1
            if missed >= MISSED_PINGS:
                self.cut(f"it has sent nothing for {missed * interval_s:g} s")
                return
            self._session.ping(b"are you there?")
            self._flush_controls()


def _kind(weighed: tuple[Run, int]) -> RunKind:
    return weighed[0].kind


def _weight(run: Run) -> int:
    """The messages in a run, as the ledger counts them: the protocol's own talk is none."""
    if run.kind is not RunKind.OTHER:
        return run.count
    return int(bool(run.data) and kind_number(run.data) not in _CONTROLS)
