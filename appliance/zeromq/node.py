"""Our node on a ZeroMQ cluster: a service that takes part in presence, takes events in, and publishes them.

A thread drains the sockets (`carrier`); here is what becomes of it. Presence never waits for consumers: it has a task
and a queue of its own.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import getpid

import structlog
import trio
from msgspec.structs import replace

from appliance.config import NodePlan
from appliance.errors import RemoteProtocolError
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.outlet import Outlet, PoolKey, Published
from appliance.runtime.quarantine import Quarantine
from appliance.wire.presence import HELLO, NodeTable, Note
from appliance.wire.presence_zeromq import ZEROMQ_HELLO
from appliance.wire.zeromq_events import (
    Serializer,
    Subscription,
    encode_subscription,
    parse_event,
    parse_subscription,
)
from appliance.zeek.schema import as_bytes

from .carrier import Carrier, Sockets, open_carrier
from .event_reader import SOURCE
from .intake import Intake
from .keys import client_keys
from .links import NOT_YET
from .member import ClusterMember
from .node_figures import NodeFigures
from .publishing import WayOut
from .subscriptions import Heard, Wanted

__all__ = ["ClusterNode", "make_node_id"]

log = structlog.get_logger("cluster")

ROUND = 256
_INTERNAL = "zeek.zeromq.internal."
_LIVE_KEYS = ("subscribe", "max_wait", "member")


def make_node_id(name: str) -> str:
    """An ID as Zeek's nodes have them, another one at each call.

    Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ.cc``, constructor.
    """
    host = "".join(each if each.isalnum() or each == "-" else "-" for each in socket.gethostname().split(".")[0])
    return f"zeromq_{name}_{host or 'host'}_{getpid()}_N{secrets.token_hex(6)}"


class ClusterNode:
    """See the module. A service of the supervisor, and a `Publisher`.

    Args:
        plan: what it is made from.
        records: the account of events that are handed on.
        messages: the account of messages that arrive.
        copies: the account of messages that are published.
        quarantine: keeps messages that do not decode.
        outlet: this node is a door of it as long as it runs.
        make_id: gives each start an ID, from our name.
        clock_ns: wall time.
    """

    def __init__(
        self,
        plan: NodePlan,
        *,
        records: Account,
        messages: Account,
        copies: Account,
        dispatcher: Dispatcher,
        quarantine: Quarantine,
        outlet: Outlet,
        make_id: Callable[[str], str] = make_node_id,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.plan = plan
        self._outlet = outlet
        self._way_out = WayOut(copies)
        self._intake = Intake(records=records, messages=messages, dispatcher=dispatcher, quarantine=quarantine)
        self._make_id, self._clock_ns = make_id, clock_ns
        self._throttle = Throttle()
        self._stop_wanted = trio.Event()
        self._carrier: Carrier | None = None
        self._begin()

    def _begin(self) -> None:
        """A new ID, and nothing known."""
        plan = self.plan
        self.node_id = self._make_id(plan.member.name)
        self._member = ClusterMember(
            plan.member,
            announces=plan.announces,
            node_id=self.node_id,
            subscribe=self._hear_wish,
            publish=self._way_out.send_event,
            tell=self._intake.tell,
            clock_ns=self._clock_ns,
        )
        serializer = Serializer(plan.event_serializer.encode())
        self._way_out.begin(self.node_id, serializer, int(plan.max_message))
        self._wanted = Wanted()
        self._heard = Heard(self._wanted)
        self._connects = 0
        self._told: dict[str, tuple[bool, str]] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._knock = f"{_INTERNAL}{self.node_id}.0."
        self._is_open = False

    # ── what others may ask ──

    @property
    def is_ready(self) -> bool:
        """Whether what is published reaches whoever has subscribed to it."""
        return self._member.is_ready

    @property
    def table(self) -> NodeTable:
        """Who is up."""
        return self._member.roster.table

    def statistics(self) -> NodeFigures:
        carrier = self._carrier
        read, write = carrier.links if carrier else (None, None)
        return NodeFigures(
            node_id=self.node_id,
            is_ready=self.is_ready and carrier is not None,
            read=read,
            write=write,
            subscriptions=self._wanted.topics,
            heard=len(self._heard),
            cluster=self._member.roster.statistics(),
            waiting_in=carrier.events.waiting if carrier else 0,
            waiting_out=self._way_out.waiting,
            quarantined=self._intake.specimens.kept,
        )

    def hears(self, topic: str) -> bool:
        """Whether somebody else takes what is published on a topic, as far as we know."""
        return self.is_ready and self._heard.matches(topic)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; looked at after whatever presence has heard."""
        while not condition():
            await self._changed.park()

    # ── the service ──

    def stop(self) -> None:
        self._stop_wanted.set()

    async def stop_intake(self) -> None:
        """Take in nothing more, but go on sending until `stop`. Returns when everything that was read is handed on."""
        if self._carrier is not None:
            keep = set(self._member.own_topics)
            self._unsubscribe([topic for topic in self._wanted.topics if topic not in keep])
            await self._intake.finish(self._carrier.events)

    def apply(self, plan: NodePlan) -> bool:
        """Take over a new plan with these sockets, if only topics, patience and the other nodes differ."""
        can_become = self._member.roster.can_become(plan.member) and plan.announces == self.plan.announces
        if not can_become or replace(self.plan, **{key: getattr(plan, key) for key in _LIVE_KEYS}) != plan:
            return False
        old, self.plan = self.plan, plan
        self._intake.patience_s = plan.max_wait.seconds
        if plan.member != old.member:
            self._member.change(plan.member)
        if self._carrier is not None:
            self._subscribe(plan.topics)
            self._unsubscribe(old.topics)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._begin()
        plan = self.plan
        sockets = Sockets(
            read=plan.read,
            write=plan.write,
            urgent=as_bytes(plan.member.topics.nodeid_topic(self.node_id)) if plan.announces else b"",
            max_message=int(plan.max_message),
            queue=plan.queue,
            queue_bytes=int(plan.queue_bytes),
            keys=client_keys(plan),
        )
        self._way_out.open()
        try:
            async with open_carrier(sockets) as self._carrier:
                self._way_out.attach(self._carrier)
                await self._live(self._carrier, task_status)
        finally:
            self._way_out.close()
            self._carrier = None

    async def _live(self, carrier: Carrier, task_status: trio.TaskStatus[None]) -> None:
        plan = self.plan
        self._intake.patience_s = plan.max_wait.seconds
        self._intake.open(self.node_id, self._wanted.matches, int(plan.max_message), self._clock_ns)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, carrier)
            nursery.start_soon(self._intake.run, carrier.events)
            nursery.start_soon(self._intake.run_news)
            nursery.start_soon(self._expire)
            try:
                carrier.subscribe(encode_subscription(Subscription(self._knock, is_on=True)))
                self._subscribe(plan.topics)
                self._outlet.open(SOURCE, self)
                log.info("node is up", node=self.table.name, id=self.node_id, read=plan.read, write=plan.write)
                task_status.started()
                await self._stop_wanted.wait()
            finally:
                self._outlet.close(SOURCE, self)
                self._unsubscribe_all()
                self._intake.close(carrier.events)
            nursery.cancel_scope.cancel()

    # ── subscriptions ──

    def _begin_to_subscribe(self) -> None:
        """Both connections are there: what we subscribe to comes back to us from now on, and can be told from what the
        others do.
        """
        self._is_open = True
        self._send_subscription(self._knock, is_on=False)
        for topic in self._wanted.topics:
            self._send_subscription(topic, is_on=True)
        self._member.start()

    def _subscribe(self, topics: Iterable[str]) -> None:
        for topic in self._wanted.ask(topics):
            self._send_subscription(topic, is_on=True)

    def _unsubscribe(self, topics: Iterable[str]) -> None:
        for topic in self._wanted.forgo(topics):
            self._send_subscription(topic, is_on=False)

    def _unsubscribe_all(self) -> None:
        """Say goodbye: without our subscriptions we are down for the others."""
        for topic in self._wanted.topics:
            self._send_subscription(topic, is_on=False)

    def _send_subscription(self, topic: str, *, is_on: bool) -> None:
        assert self._carrier is not None
        if self._is_open:
            self._carrier.subscribe(encode_subscription(Subscription(topic, is_on)))

    # ── presence ──

    async def _follow(self, carrier: Carrier) -> None:
        """Hear of subscriptions, and of what is said to us."""
        while True:
            taken, dropped = carrier.controls.take(ROUND)
            self._way_out.settle()
            if dropped:
                self._member.note(Note("subscriptions came faster than they could be heard", "overflow"))
            for message in taken:
                self._hear(carrier, message)
            self._changed.unpark_all()
            if taken:
                await trio.lowlevel.checkpoint()
            else:
                await carrier.controls.wait()

    def _hear(self, carrier: Carrier, message: list[bytes]) -> None:
        if not message:
            self._look_at_links(carrier)
        elif len(message) == 1:
            subscription = parse_subscription(message[0])
            if subscription is not None:
                self._hear_subscription(subscription)
        elif not self._hear_hello(message):
            carrier.events.put(message)

    def _hear_subscription(self, subscription: Subscription) -> None:
        topic = subscription.topic
        if subscription.is_on:
            if not topic.startswith(_INTERNAL):
                self._heard.begin(topic)
            elif topic == self._knock and not self._is_open:
                self._begin_to_subscribe()
        else:
            self._heard.end(topic)
        self._member.hear_subscription(subscription)

    def _hear_hello(self, message: list[bytes]) -> bool:
        """Take what presence is about; returns whether it was that."""
        try:
            frames = parse_event(message)
            event = frames.decode()
        except RemoteProtocolError:
            return False
        if event.name not in (HELLO, ZEROMQ_HELLO):
            return False
        self._intake.book_hello()
        self._member.hear_hello(event, frames.sender)
        return True

    async def _expire(self) -> None:
        """Give up halves of greetings in time."""
        while True:
            deadline_ns = self._member.deadline_ns
            if deadline_ns is None:
                await self._changed.park()
                continue
            with trio.move_on_after(max((deadline_ns - self._clock_ns()) / 1e9, 0)):
                await self._changed.park()
            self._member.expire()

    def _hear_wish(self, topic: str, is_on: bool) -> None:
        (self._subscribe if is_on else self._unsubscribe)((topic,))

    def _look_at_links(self, carrier: Carrier) -> None:
        read, write = carrier.links
        if write.connects != self._connects:
            self._connects = write.connects
            if write.connects > 1:
                self._heard.reconnect()
        for link in (read, write):
            told = (link.is_connected, link.last_error)
            if self._told.get(link.endpoint, (False, NOT_YET)) == told:
                continue
            self._told[link.endpoint] = told
            if (held := self._throttle.admit(f"{link.endpoint} {link.last_error}")) is not None:
                if link.is_connected:
                    log.info("connected to the proxy", endpoint=link.endpoint)
                else:
                    log.warning(
                        "no connection to the proxy, trying on",
                        endpoint=link.endpoint,
                        error=link.last_error,
                        more=held,
                    )

    # ── the way out ──

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:  # noqa: ARG002
        """As `Publisher`. There is one way to all who asked, the proxy: so there is at most one peer, and nobody gets
        anything without having asked.
        """
        if refused := self._way_out.objection_to(topic, messages):
            return Published(0, refused)
        if not self.is_ready or self._carrier is None:
            return Published(0, "no_peer")
        if not self._heard.matches(topic):
            return Published(0, "no_subscriber")
        return self._way_out.publish(topic, messages)

    def announce(  # noqa: D417, RUF100
        self,
        key: str,  # noqa: ARG002
        topic: str,  # noqa: ARG002
        message: bytes,  # noqa: ARG002
        *,
        unsolicited: bool = False,  # noqa: ARG002
    ) -> Published:
        """As `Publisher`: what is announced are logs, and they have no way out here."""
        return Published(0, "events_only")

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """See `appliance.runtime.outlet.Chooser`."""
        return self._member.roster.pool_topic(pool, key, by_hash=by_hash)

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        wanted = self._wanted
        self._subscribe(prefixes)
        try:
            yield
        finally:
            if wanted is self._wanted and self._carrier is not None:
                self._unsubscribe(prefixes)
