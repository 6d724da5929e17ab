"""The subscriber for the Bro/Zeek ZeroMQ log writer: one SUB socket that the writers connect to.

The writer publishes two frames for each record, log path and JSON object, and drops silently when nobody drains. So
this task owns the socket, drains it by the block in C, and does nothing else with it but hand the blocks over.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec
import structlog
import trio
import zmq

from appliance.config import Zmq
from appliance.model import LogBatch
from appliance.native import LogCounts, LogGroup, LogIntake, ZmqDrain
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle

from .endpoint import bind, is_public
from .monitor import PeerFigures, PeerMonitor

__all__ = ["LogSubscriber", "SubscriberFigures"]

log = structlog.get_logger("zmq")

BATCH = 2048
"""Messages for each drain: about 1.5 ms of work, so that no other task waits long."""
REFUSALS = ("bad_frames", "bad_path", "too_large", "bad_json")
MAX_PATHS = 4096
GAP_LOOK_S = 5.0


class SubscriberFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One subscriber at one moment."""

    endpoints: tuple[str, ...]
    """As bound."""
    writers: PeerFigures
    missing: int
    """Records that a writer numbered and that never arrived: lost before us."""
    unseen: int
    """Records numbered before the first one that arrived: sent before the writer was connected."""
    restarts: int
    """Counters that began again: a writer was restarted."""
    paths: dict[str, int]
    """Accepted records by log path as sent."""


class LogSubscriber:
    """See the module. A service of the supervisor."""

    def __init__(self, config: Zmq, *, account: Account, dispatcher: Dispatcher) -> None:
        self.config = config
        self.source = f"zmq.{config.name}"
        self._account = account
        self._dispatcher = dispatcher
        self._intake = LogIntake(max_row=int(config.max_record))
        self._counts = self._intake.counts()
        self._drain = ZmqDrain()
        self._monitor = PeerMonitor()
        self._throttle = Throttle()
        self._bound: dict[str, str] = {}
        self._paths: dict[str, int] = {}
        self._routes: dict[str, str | None] = {}
        self._in_hand = 0
        self._missing = 0
        self._next_look_s = 0.0
        self._stopping = False
        self._changed = False
        self._waiting: trio.CancelScope | None = None
        account.add_holder(lambda: self._in_hand)

    # ── what others may call ──

    def statistics(self) -> SubscriberFigures:
        sequences = self._intake.sequences()
        return SubscriberFigures(
            endpoints=tuple(self._bound.values()),
            writers=self._monitor.statistics(),
            missing=sum(s.missing for s in sequences),
            unseen=sum(s.unseen for s in sequences),
            restarts=sum(s.restarts for s in sequences),
            paths=dict(self._paths),
        )

    async def wait_writers(self, count: int) -> None:
        """Wait until at least `count` writers are connected."""
        while self._monitor.statistics().connected < count:
            await self._monitor.changed.park()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def apply(self, config: Zmq) -> bool:
        """Take over a new table under the open socket, if only paths and `max_wait` differ."""
        live = msgspec.structs.replace(
            self.config, logs=config.logs, exclude=config.exclude, rename=config.rename, max_wait=config.max_wait
        )
        if live != config:
            return False
        self.config = config
        self._routes.clear()
        return True

    # ── the service ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            sock = self._open(context)
            pair = sock.get_monitor_socket()
            try:
                for endpoint in self.config.bind:
                    self._bound[endpoint] = bind(sock, endpoint)
                    if is_public(endpoint):
                        log.warning("anybody who reaches this address can send records", bind=endpoint)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._monitor.run, pair)
                    task_status.started()
                    await self._drain_until_stopped(sock)
                    nursery.cancel_scope.cancel()
            finally:
                # Waiters first: closing a descriptor under them would leave them asleep for ever.
                for fd in (pair.fd, sock.fd):
                    trio.lowlevel.notify_closing(fd)
                sock.disable_monitor()
                pair.close(0)
                sock.close(0)
                self._bound.clear()
                self._monitor.forget()
        finally:
            context.destroy(linger=0)
            self._account.drop("shutdown", self._in_hand)
            self._in_hand = 0

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        config = self.config
        beat_ms = max(1, int(config.heartbeat) // 1_000_000)
        sock = context.socket(zmq.SUB)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVHWM, config.hwm)
        # A longer message costs its sender the connection before a byte of it is stored; up to here it is counted.
        sock.setsockopt(zmq.MAXMSGSIZE, max(16 << 20, 2 * int(config.max_record)))
        sock.setsockopt(zmq.HEARTBEAT_IVL, beat_ms)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * beat_ms)
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        sock.setsockopt(zmq.IPV6, int(any("[" in endpoint for endpoint in config.bind)))
        # Exact matching is ours: the socket's own filter matches byte prefixes.
        sock.setsockopt(zmq.SUBSCRIBE, b"")
        return sock

    async def _drain_until_stopped(self, sock: zmq.Socket[bytes]) -> None:
        """Drain until `stop`, and then until the socket is empty once.

        ZMQ_FD is edge-triggered: the descriptor tells of news, not of a state. So it may be waited for only right after
        the socket was found empty, and no other call may touch the socket in between.
        """
        pointer, fd = sock.underlying, sock.fd
        while True:
            received, empty = self._drain.drain(pointer, self._intake, BATCH)
            if received:
                await self._hand_over()
            if not empty:
                await trio.lowlevel.checkpoint()
            elif self._stopping:
                return
            else:
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_readable(fd)
                self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def _hand_over(self) -> None:
        groups = self._intake.take()
        self._book(self._intake.counts())
        patience_s = self.config.max_wait.seconds
        for group in groups:
            self._paths[group.path] = self._paths.get(group.path, 0) + group.count
            path = self._route(group)
            self._in_hand -= group.count
            if path is None:
                self._account.drop("excluded", group.count)
                continue
            batch = LogBatch(path=path, source=self.source, data=group.data, count=group.count, node=group.node)
            await self._dispatcher.dispatch(batch, self._account, patience_s=patience_s)

    def _route(self, group: LogGroup) -> str | None:
        """The path to hand on, or None if this log is not wanted. Remembered, because globs are slow."""
        if group.path not in self._routes:
            if len(self._routes) >= MAX_PATHS or len(self._paths) > MAX_PATHS:
                self._routes.clear()
                self._paths.clear()
            path = self.config.rename.get(group.path, group.path)
            wanted = any(fnmatchcase(path, glob) for glob in self.config.logs)
            unwanted = any(fnmatchcase(path, glob) for glob in self.config.exclude)
            self._routes[group.path] = path if wanted and not unwanted else None
        return self._routes[group.path]

    # ── bookkeeping ──

    def _book(self, counts: LogCounts) -> None:
        before, self._counts = self._counts, counts
        self._account.received += counts.messages - before.messages
        self._in_hand += counts.accepted - before.accepted
        if counts.messages - before.messages != counts.accepted - before.accepted:
            for reason in REFUSALS:
                self._refuse(reason, getattr(counts, reason) - getattr(before, reason))
        if trio.current_time() >= self._next_look_s:
            self._look_for_gaps()

    def _look_for_gaps(self) -> None:
        """Tell of records that writers numbered and that never came; there may be thousands of counters, so not often."""
        self._next_look_s = trio.current_time() + GAP_LOOK_S
        missing = sum(sequence.missing for sequence in self._intake.sequences())
        if missing > self._missing:
            self._report_gap(missing - self._missing)
            self._missing = missing

    def _refuse(self, reason: str, count: int) -> None:
        self._account.drop(reason, count)
        if count and (held := self._throttle.admit(reason)) is not None:
            sample = self._intake.last_refused()[:120]
            log.warning("refused what a writer sent", door=self.source, reason=reason, beginning=sample, more=held)

    def _report_gap(self, count: int) -> None:
        if (held := self._throttle.admit("gap")) is not None:
            log.warning(
                "a writer's counter skips: records were lost before they reached us",
                door=self.source, missing=count, more_gaps=held,
                hint="raise LogZeroMQ::zmq_hwm in Zeek",
            )  # fmt: skip
