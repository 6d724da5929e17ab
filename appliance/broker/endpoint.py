"""Our endpoint on a Broker network: the service that listens, dials, and keeps peers; the way out for who publishes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Broker, Peering
from appliance.config.addresses import parse_peer
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import Outlet, PoolKey, Published
from appliance.runtime.quarantine import Quarantine
from appliance.runtime.streams import dial, host_port
from appliance.wire.filters import minimal
from appliance.wire.names import NIL, EndpointId, endpoint_text

from . import framework
from .audience import Audience
from .delivery import Delivery
from .dialers import Dialer, Dialers
from .figures import EndpointFigures
from .framework import SOURCE
from .greeting import Guest, Lobby, Unwelcome
from .listeners import Listeners
from .peer import Peer
from .place import ClusterPlace
from .stores.hub import StoreHub
from .tls import make_contexts
from .topics import Topics

__all__ = ["BrokerEndpoint"]

log = structlog.get_logger("broker")

_RESTART_KEYS = ("tls", "certificate", "key", "ca", "passphrase_file")


class BrokerEndpoint:
    """See the module. A service of the supervisor, and a `Publisher`.

    Args:
        peering: what it is made from.
        state_dir: gets the file ``broker.ports``.
        records: the account of the items that are handed on.
        messages: the account of the messages that arrive.
        copies: the account of the messages that are queued for peers, one for each peer.
        quarantine: keeps messages that do not decode.
        outlet: this endpoint is a door of it as long as it runs.
        stores: their commands go through this endpoint.
        clock_ns: wall time.
    """

    def __init__(
        self,
        peering: Peering,
        *,
        state_dir: Path,
        records: Account,
        messages: Account,
        copies: Account,
        dispatcher: Dispatcher,
        quarantine: Quarantine,
        outlet: Outlet | None = None,
        stores: StoreHub | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.peering = peering
        self._stores = stores or StoreHub()
        self._store_topics: tuple[str, ...] = ()
        self._ports_file = state_dir / "broker.ports"
        self._copies = copies
        self._outlet = outlet or Outlet()
        self._clock_ns = clock_ns
        self._topics = Topics(peering.broker)
        self._peers = Audience(self._topics, int(peering.broker.max_message))
        self._delivery = Delivery(
            peering,
            records=records,
            messages=messages,
            dispatcher=dispatcher,
            topics=self._topics,
            quarantine=quarantine,
            stores=self._stores,
            clock_ns=clock_ns,
        )
        self._place = ClusterPlace(
            peering.member,
            delivery=self._delivery,
            topics=self._topics,
            publish=self._peers.publish_own,
            clock_ns=clock_ns,
        )
        self._throttle = Throttle()
        self._me: EndpointId = NIL
        self._gone = trio.lowlevel.ParkingLot()
        self._half_open: dict[trio.CancelScope, None] = {}
        self._refused = 0
        self._running: _Running | None = None
        self._stop_wanted = trio.Event()

    def statistics(self) -> EndpointFigures:
        running = self._running
        return EndpointFigures(
            endpoint=endpoint_text(self._me),
            listening=running.listeners.bound if running else (),
            advertised=self._topics.advertised,
            peers=tuple(self._place.figures_of(peer) for peer in self._peers),
            cluster=self._place.statistics(),
            dialers=running.dialers.statistics() if running else (),
            half_open=len(self._half_open),
            refused=self._refused,
            quarantined=self._delivery.specimens.kept,
        )

    # ── the service ──

    def stop(self) -> None:
        self._stop_wanted.set()

    async def stop_intake(self) -> None:
        """Take in nothing more, but go on sending until `stop`: what consumers still publish shall get out. Returns
        when everything that was read is handed on.
        """
        self._close_doors()
        for peer in self._peers:
            await peer.wait_quiet()

    def _close_doors(self) -> None:
        if self._running is not None:
            self._running.lobby.is_shutting_down = True
            self._running.listeners.close()
            self._running.dialers.close()
        for peer in self._peers:
            peer.pause()

    def apply(self, peering: Peering) -> bool:
        """Take over a new table while peers stay; False if TLS differs, or who we are in the cluster: that needs new
        connections.

        Raises:
            ApplianceError: an address cannot be bound; nothing has changed then.
        """
        old, new = self.peering.broker, peering.broker
        if any(getattr(old, key) != getattr(new, key) for key in _RESTART_KEYS):
            return False
        if not self._place.can_become(peering.member):
            return False
        running = self._running
        if running is not None:
            running.listeners.change(new.listen)
        self.peering = peering
        self._peers.max_message = int(new.max_message)
        self._delivery.configure(peering)
        if self._place.change(peering.member, None if running is None else running.nursery):
            self._peers.tell_filter()
        for peer in self._peers:
            peer.configure(new)
        if self._topics.configure(new):
            self._peers.tell_filter()
        if running is not None:
            _dial_all(running.dialers, new)
            dialed = {parse_peer(text) for text in new.connect}
            for peer in self._peers:
                if peer.dialed is not None and peer.dialed not in dialed:
                    running.nursery.start_soon(peer.leave)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        table = self.peering.broker
        self._me = self._peers.me = uuid.uuid4().bytes  # another one each time, and of a version that Zeek can read
        lobby = Lobby(
            self._me,
            contexts=make_contexts(table),
            local_filter=lambda: self._topics.advertised,
            has_room=lambda: len(self._peers) < self.peering.broker.max_peers,
        )
        self._delivery.open()
        self.topics_changed()
        self._place.open(self._me)
        try:
            async with trio.open_nursery() as nursery:
                listeners = Listeners(
                    nursery, self._serve, ports_file=self._ports_file, is_guarded=table.tls == "mutual"
                )
                dialers = Dialers(nursery, converse=self._dial, wait_gone=self._wait_gone, report=self._report)
                self._running = _Running(nursery=nursery, lobby=lobby, listeners=listeners, dialers=dialers)
                try:
                    listeners.change(table.listen)
                    _dial_all(dialers, table)
                    self._outlet.open(SOURCE, self)
                    log.info("endpoint is up", endpoint=endpoint_text(self._me), tls=table.tls)
                    await self._place.note_start(table, listeners.bound)
                    with self._stores.carried(self, self._me):
                        task_status.started()
                        await self._stop_wanted.wait()
                    await self._leave()
                finally:
                    listeners.close()
                    self._outlet.close(SOURCE, self)
                nursery.cancel_scope.cancel()
        finally:
            self._running = None
            self._place.close()
            self._delivery.close()

    async def _leave(self) -> None:
        self._delivery.is_discarding = True
        self._close_doors()
        async with trio.open_nursery() as nursery:
            for peer in self._peers:
                nursery.start_soon(peer.leave)
        while self._peers:
            await self._gone.park()

    # ── connections ──

    async def _serve(self, stream: trio.SocketStream, address: str) -> None:
        """What becomes of an incoming connection."""
        assert self._running is not None
        table = self.peering.broker
        guest: Guest | None = None
        error = f"it did not finish its handshake within {table.handshake_timeout}"
        is_redundant = False
        with trio.move_on_after(table.handshake_timeout.seconds) as scope:
            self._half_open[scope] = None
            if len(self._half_open) > table.max_half_open:
                oldest = next(iter(self._half_open))
                del self._half_open[oldest]
                oldest.cancel()
            try:
                guest = await self._running.lobby.greet(stream, is_dialer=False)
            except Unwelcome as exc:
                error, is_redundant = str(exc), exc.is_redundant
            finally:
                self._half_open.pop(scope, None)
        if guest is not None:
            await self._live(guest, address, None)
            return
        self._refused += 1
        host = address.rpartition(":")[0]
        if (held := self._throttle.admit(f"in {host} {error}")) is not None:
            tell = log.info if is_redundant else log.warning  # two who dial each other need one connection only
            tell("a connection did not become a peer", address=address, error=error, more=held)

    async def _dial(self, dialer: Dialer) -> None:
        assert self._running is not None
        timeout = self.peering.broker.handshake_timeout
        guest: Guest | None = None
        with trio.move_on_after(timeout.seconds):
            try:
                stream = await dial(*dialer.address)
            except OSError as exc:
                raise Unwelcome(f"cannot connect: {exc}") from exc
            guest = await self._running.lobby.greet(stream, is_dialer=True)
        if guest is None:
            raise Unwelcome(f"no answer within {timeout}")
        dialer.succeed()
        await self._live(guest, host_port(*dialer.address), dialer.address)

    async def _report(self, dialer: Dialer, exc: Unwelcome) -> None:
        if (held := self._throttle.admit(f"out {dialer.text} {exc}")) is not None:
            log.warning("cannot peer, trying on", address=dialer.text, error=str(exc), more=held)
        if exc.is_incompatible:
            await self._delivery.tell(framework.incompatible(dialer.address, self._clock_ns()))

    async def _live(self, guest: Guest, address: str, dialed: tuple[str, int] | None) -> None:
        """Be a peer until the end."""
        peer = Peer(
            self._me,
            guest,
            self.peering.broker,
            address=address,
            dialed=dialed,
            account=self._copies,
            delivery=self._delivery,
            relay=self._peers.relay,
            filter_changed=self._hear_filter,
        )
        self._peers.add(peer)
        self._place.greet(peer)
        peer.tell_filter(self._topics.advertised)  # it may have changed during the handshake
        log.info("peer", peer=peer.name, address=address, direction="in" if dialed is None else "out")
        self._stores.peer_came()
        try:
            await self._delivery.tell(framework.established(peer.id, dialed, self._clock_ns()))
        finally:
            try:
                await peer.run()
            finally:
                self._peers.remove(peer)
                assert self._running is not None
                self._running.lobby.goodbye(peer.id, is_ours=peer.is_ours)
                self._gone.unpark_all()
                self._stores.peer_left(peer.id)
                tell = log.warning if peer.is_ours and not self._stop_wanted.is_set() else log.info
                tell("peer is gone", peer=peer.name, address=address, reason=peer.ending)
                await self._delivery.tell(framework.broken(peer.id, dialed, self._clock_ns()))
                await self._place.peer_gone(peer)

    async def _wait_gone(self, endpoint: EndpointId) -> bool:
        if endpoint not in self._peers:
            return False
        while endpoint in self._peers:
            await self._gone.park()
        return True

    # ── the way out ──

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        return self._peers.publish(topic, messages, unsolicited=unsolicited)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        return self._peers.announce(key, topic, message, unsolicited=unsolicited)

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        return self._place.pool_topic(pool, key, by_hash=by_hash)

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        asked = minimal(prefixes)
        if self._topics.ask(asked):
            self._peers.tell_filter()
        try:
            yield
        finally:
            if self._topics.forgo(asked):
                self._peers.tell_filter()

    def send_command(self, topic: str, receiver: EndpointId, payload: bytes) -> int:
        """See `Audience.send_command`."""
        return self._peers.send_command(topic, receiver, payload)

    def listeners(self, topic: str) -> tuple[EndpointId, ...]:
        """See `Audience.listeners`."""
        return self._peers.listeners(topic)

    def topics_changed(self) -> None:
        """The stores listen to other topics now."""
        before, self._store_topics = self._store_topics, self._stores.topics
        is_told = self._topics.ask(self._store_topics)
        if self._topics.forgo(before) or is_told:
            self._peers.tell_filter()

    def _hear_filter(self, peer: Peer) -> None:
        self._peers.announce_to(peer)
        self._place.greet(peer)
        self._stores.peer_came()


def _dial_all(dialers: Dialers, table: Broker) -> None:
    dialers.change(table.connect, retry_s=table.retry_interval.seconds, timeout_s=table.handshake_timeout.seconds)


class _Running(msgspec.Struct, frozen=True, kw_only=True):
    nursery: trio.Nursery
    lobby: Lobby
    listeners: Listeners
    dialers: Dialers
