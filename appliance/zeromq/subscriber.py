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

from .listener import Listener, open_listener
from .monitor import PeerFigures, PeerMonitor

__all__ = ["LogSubscriber", "SubscriberFigures"]

log = structlog.get_logger("zmq")

BATCH = 2048
"""Messages for each drain: about 1.5 ms of work, so that no other task waits long."""
BUSY = 16
COALESCE_S = 0.001
"""When a round found at least that many messages, the next one comes this much later, and finds more."""
REFUSALS = ("bad_frames", "bad_path", "too_large", "bad_json")
MAX_PATHS = 4096
"""Log paths that are counted and routed by name; names come from the network."""
OTHERS = "*"
"""What counts the paths beyond these; no path has this name."""
LARGEST_MESSAGE = 16 << 20
"""Bytes of a frame that are received in any case; a longer one costs its sender the connection."""
MAX_BEAT_MS = 32_767_000
"""The kernel's limit of a keep-alive interval, tcp(7)."""
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
    untracked: int
    """Numbered records that no counter follows, because there are too many paths and nodes: a gap would not be seen."""
    paths: dict[str, int]
    """Accepted records by log path as sent; ``*`` for those of further paths, if there are very many."""


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
        self._monitor = PeerMonitor(self._report_cut)
        self._throttle = Throttle()
        self._listener: Listener | None = None
        self._paths: dict[str, int] = {}
        self._routes: dict[str, str | None] = {}
        self._in_hand = 0
        self._missing = 0
        self._next_look_s = 0.0
        self._stopping = False
        self._waiting: trio.CancelScope | None = None

    # ── what others may call ──

    def statistics(self) -> SubscriberFigures:
        sequences = self._intake.sequences()
        return SubscriberFigures(
            endpoints=tuple(self._listener.bound) if self._listener else (),
            writers=self._monitor.statistics(),
            missing=sum(s.missing for s in sequences),
            unseen=sum(s.unseen for s in sequences),
            restarts=sum(s.restarts for s in sequences),
            untracked=self._intake.untracked,
            paths=dict(self._paths),
        )

    async def wait_writers(self, count: int) -> None:
        """Wait until at least `count` writers are connected."""
        while self._monitor.statistics().connected < count:
            await self._monitor.changed.park()

    def stop(self) -> None:
        self._stopping = True
        if self._listener is not None:
            self._listener.stop()

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
        self._account.add_holder(self._held)
        try:
            async with open_listener(
                zmq.SUB, self.config.bind, monitor=self._monitor, configure=self._configure
            ) as self._listener:
                if self._stopping:
                    self._listener.stop()
                task_status.started()
                await self._listener.drain(self._drain_some)
                self._look_for_gaps()
        finally:
            self._listener = None
            self._account.drop("shutdown", self._in_hand)
            self._in_hand = 0
            self._account.remove_holder(self._held)

    def _held(self) -> int:
        return self._in_hand

    def _configure(self, sock: zmq.Socket[bytes]) -> None:
        config = self.config
        beat_ms = min(max(1, int(config.heartbeat) // 1_000_000), MAX_BEAT_MS)
        beat_s = -(-beat_ms // 1000)
        sock.setsockopt(zmq.RCVHWM, config.hwm)
        # A longer message costs its sender the connection before a byte of it is stored; up to here it is counted.
        sock.setsockopt(zmq.MAXMSGSIZE, max(LARGEST_MESSAGE, 2 * int(config.max_record)))
        # Dead machines are found by the kernel, not by ZMQ_HEARTBEAT: while we hold a writer back, because a consumer
        # is slow, libzmq does not read its answers either. It would cut the writer, take it in again beside the full
        # queue of its former connection, and so on: order lost, records lost, memory without bound.
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, beat_s)
        sock.setsockopt(zmq.TCP_KEEPALIVE_INTVL, beat_s)
        sock.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
        sock.setsockopt(zmq.TCP_MAXRT, 3 * beat_ms)
        # Exact matching is ours: the socket's own filter matches byte prefixes.
        sock.setsockopt(zmq.SUBSCRIBE, b"")

    async def _drain_some(self) -> bool:
        """Take what one round holds; returns whether the socket was empty then."""
        assert self._listener is not None
        received, is_empty = self._drain.drain(self._listener.sock.underlying, self._intake, BATCH)
        if received:
            await self._hand_over()
        if is_empty and received >= BUSY and not self._stopping:
            # At high rates a wake-up for every few records would cost more than the records; libzmq holds them.
            await trio.sleep(COALESCE_S)
            return False
        return is_empty

    async def _hand_over(self) -> None:
        groups = self._intake.take()
        self._book(self._intake.counts())
        patience_s = self.config.max_wait.seconds
        for group in groups:
            counted = group.path if group.path in self._paths or len(self._paths) < MAX_PATHS else OTHERS
            self._paths[counted] = self._paths.get(counted, 0) + group.count
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
            if len(self._routes) >= MAX_PATHS:
                self._routes.clear()
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
        """Tell of numbered records that never came. Not for each batch: there may be thousands of counters."""
        self._next_look_s = trio.current_time() + GAP_LOOK_S
        missing = sum(sequence.missing for sequence in self._intake.sequences())
        if missing > self._missing:
            self._report_gap(missing - self._missing)
            self._missing = missing

    def _refuse(self, reason: str, count: int) -> None:
        self._account.drop(reason, count)
        if count and (held := self._throttle.admit(reason)) is not None:
            sample = repr(self._intake.last_refused()[:120])  # nobody's bytes reach a terminal as they are
            log.warning("refused what a writer sent", door=self.source, reason=reason, beginning=sample, more=held)

    def _report_cut(self) -> None:
        if (held := self._throttle.admit("cut")) is not None:
            log.warning(
                "a writer was disconnected: it sent an oversized message, or broke the protocol",
                door=self.source, largest=max(LARGEST_MESSAGE, 2 * int(self.config.max_record)), more=held,
            )  # fmt: skip

    def _report_gap(self, count: int) -> None:
        if (held := self._throttle.admit("gap")) is not None:
            log.warning(
                "a writer's counter skips: records were lost before they reached us",
                door=self.source, missing=count, more_gaps=held,
                hint="raise LogZeroMQ::zmq_hwm in Zeek",
            )  # fmt: skip
