"""The ZeroMQ sink: log records as the Bro/Zeek ZeroMQ log writer publishes them, two frames each, path and JSON object.

As the writer does, it connects, and whoever subscribes binds. Other than the writer it knows whether somebody is there,
and when there is room: a slow subscriber fills the sink's queue, whose policy decides. What nobody takes is counted.

Source: bro-zeromq-writer, ``src/ZeroMQ.cc``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog
import trio
import zmq

from appliance.config import Sink
from appliance.errors import ApplianceError
from appliance.model import LogBatch
from appliance.runtime.logs import Throttle
from appliance.runtime.queue import ItemQueue, Parcel
from appliance.wire.zeromq_events import parse_subscription

from .links import LINK_EVENTS, Link, LinkState
from .monitor import open_monitor
from .subscriptions import Wanted

__all__ = ["LogWriter", "WriterFigures"]

log = structlog.get_logger("zmq")

HWM = 1000
"""Records that libzmq holds; the others wait in the queue, where they are seen. The writer's ``zmq_hwm``."""
PATIENCE_S = 1.0
"""How long the first records wait for a subscriber. The writer's ``zmq_connect_pause``, which is 0 there."""
LINGER_MS = 3000
"""How long an end may take to get rid of what libzmq holds. The writer's ``zmq_linger``."""
LEASE = 1000
RETRY_S = 0.01

Socket = zmq.Socket[bytes]


class WriterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One sink at one moment."""

    link: LinkState | None
    """None: it does not run."""
    subscriptions: int
    """Prefixes of log paths that are asked for; an empty one is for all."""
    records: int
    """Handed to libzmq since the start."""

    @property
    def overdue(self) -> tuple[str, ...]:
        """See `appliance.runtime.dialing.Dials`."""
        return tuple(each.told for each in (self.link,) if each is not None and each.is_overdue)


class LogWriter:
    """See the module. A service of the supervisor."""

    def __init__(self, config: Sink, *, queue: ItemQueue) -> None:
        self.config = config
        self._queue = queue
        self._throttle = Throttle()
        self._link: Link | None = None
        self._asked = Wanted()
        self._changed = trio.lowlevel.ParkingLot()
        self._records = 0

    def statistics(self) -> WriterFigures:
        link = self._link.state if self._link else None
        return WriterFigures(link=link, subscriptions=len(self._asked.topics), records=self._records)

    def stop(self) -> None:
        self._queue.close()
        self._changed.unpark_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._asked = Wanted()
        self._link = link = Link(self.config.endpoint)
        context: zmq.Context[Socket] = zmq.Context()
        try:
            with self._open(context) as (sock, pair):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow, sock)
                    nursery.start_soon(self._watch, pair, link)
                    task_status.started()
                    await self._wait_somebody()
                    await self._serve(sock)
                    sock.setsockopt(zmq.LINGER, LINGER_MS if link.state.is_connected else 0)
                    nursery.cancel_scope.cancel()
        finally:
            self._link = None
            with trio.CancelScope(shield=True):  # no longer than `LINGER_MS`, and at once if it is cancelled
                await trio.to_thread.run_sync(context.term)

    @contextmanager
    def _open(self, context: zmq.Context[Socket]) -> Iterator[tuple[Socket, Socket]]:
        sock = context.socket(zmq.XPUB)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, HWM)
        sock.setsockopt(zmq.XPUB_NODROP, 1)
        sock.setsockopt(zmq.IPV6, int("[" in self.config.endpoint))
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        pair = open_monitor(sock, context, events=LINK_EVENTS)
        try:
            try:
                sock.connect(self.config.endpoint)
            except zmq.ZMQError as exc:
                raise ApplianceError(f"cannot connect to {self.config.endpoint}: {exc}") from exc
            yield sock, pair
        finally:
            for each in (pair, sock):
                trio.lowlevel.notify_closing(each.fileno())
            sock.disable_monitor()
            pair.close(0)
            sock.close()

    # ── who listens ──

    def _look(self, sock: Socket) -> None:
        """Hear of subscriptions. libzmq tells of news once, to whoever touches the socket: so this is done often."""
        try:
            while True:
                subscription = parse_subscription(sock.recv(zmq.NOBLOCK))
                if subscription is not None:
                    (self._asked.ask if subscription.is_on else self._asked.forgo)([subscription.topic])
        except zmq.Again:
            self._changed.unpark_all()

    async def _follow(self, sock: Socket) -> None:
        while True:
            self._look(sock)
            await trio.lowlevel.wait_readable(sock.fileno())

    async def _watch(self, pair: Socket, link: Link) -> None:
        while True:
            try:
                has_changed = link.feed(pair.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                await trio.lowlevel.wait_readable(pair.fileno())
                continue
            self._changed.unpark_all()
            state = link.state
            if has_changed and (held := self._throttle.admit(state.last_error)) is not None:
                if state.is_connected:
                    log.info("connected to a subscriber", endpoint=state.endpoint)
                else:
                    log.warning("no subscriber, trying on", endpoint=state.endpoint, error=state.last_error, more=held)

    def _is_somebody_there(self) -> bool:
        return bool(self._asked.topics) and self._link is not None and self._link.state.is_connected

    async def _wait_somebody(self) -> None:
        with trio.move_on_after(PATIENCE_S):
            while not self._is_somebody_there() and not self._queue.is_closed:
                await self._changed.park()

    # ── the way out ──

    async def _serve(self, sock: Socket) -> None:
        try:
            while True:
                async with self._queue.lease(LEASE) as parcel:
                    await self._send(sock, parcel)
                self._look(sock)
        except trio.EndOfChannel:
            return

    async def _send(self, sock: Socket, parcel: Parcel) -> None:
        for item in parcel.items:
            if not isinstance(item, LogBatch):
                parcel.drop("unwanted", item.count)
            elif not self._is_somebody_there():
                parcel.drop("no_peer", item.count)
            elif not self._asked.matches(item.path):
                parcel.drop("no_subscriber", item.count)
            else:
                await self._send_rows(sock, item, parcel)

    async def _send_rows(self, sock: Socket, batch: LogBatch, parcel: Parcel) -> None:
        path, rows, done = batch.path.encode(), batch.rows(), 0
        while done < len(rows):
            count = _send_some(sock, path, rows[done:])
            parcel.deliver(count)
            self._records += count
            done += count
            if done < len(rows) and not await self._wait_room():
                parcel.drop("no_peer", len(rows) - done)
                return
        await trio.lowlevel.checkpoint()

    async def _wait_room(self) -> bool:
        """Wait until libzmq may have room; False if there is nobody to make it."""
        with trio.move_on_after(RETRY_S):
            await self._changed.park()
        return self._is_somebody_there()


def _send_some(sock: Socket, path: bytes, rows: list[bytes]) -> int:
    """Send records until there is no more room; returns how many."""
    for sent, row in enumerate(rows):
        try:
            sock.send_multipart([path, row], zmq.NOBLOCK)
        except zmq.Again:
            return sent
    return len(rows)
