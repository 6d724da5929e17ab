"""The logger of a ZeroMQ cluster: one PULL socket that Zeek's nodes push their log batches to.

A message is four frames: ``log-write``, the sender's node id, the format's name, a batch. A batch carries its schema
and is turned into JSON lines in C as a whole; one that does not decode is refused as a whole and kept for inspection.
Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ.cc`` and
``src/cluster/serializer/binary-serialization-format/Serializer.cc``.
"""

from __future__ import annotations

import functools
import re

import msgspec
import structlog
import trio
import zmq

from appliance.config import Cluster
from appliance.model import LogBatch
from appliance.native import BatchCounts, BatchGroup, BatchIntake, EscapePolicy, LogColumns, Transcoder, ZmqDrain
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.quarantine import Quarantine, Specimens

from .admission import Admission, read_key
from .listener import Listener, open_listener
from .monitor import PeerFigures, PeerMonitor

__all__ = ["LogReceiver", "ReceiverFigures", "node_of"]

log = structlog.get_logger("cluster")

MESSAGES = 256
"""Batches for each turn, unless their lines are more than 4 MiB before: some milliseconds of work."""
REFUSALS = ("bad_frames", "bad_format", "bad_path", "bad_batch", "no_memory")
MAX_NODES = 4096
_SOCKET_KEYS = ("log_bind", "hwm", "max_message", "curve_secret_key_file", "curve_client_public_key_file")
_TYPES = {
    **dict(enumerate(("bool", "int", "count", "double", "time", "interval", "string", "pattern", "enum"), start=1)),
    10: "port",
    11: "addr",
    12: "subnet",
    14: "set",
    17: "func",
    18: "file",
    19: "vector",
}
"""Zeek's names of its types by their numbers in log batches."""
_NODE_ID = re.compile(r"zeromq_(?P<name>.+)_[^_]+_\d+_[^_]+")


def node_of(sender: bytes) -> str:
    """The node's name in a node id such as ``zeromq_worker-1_host_28379_Nhf30jYdCz2f``; any other id as it is."""
    text = sender.decode("utf-8", "replace")
    match = _NODE_ID.fullmatch(text)
    return match["name"] if match else text


@functools.lru_cache(maxsize=1024)
def columns_of(schema: LogColumns) -> tuple[tuple[str, str], ...]:
    """Names and types of a log's columns, as items carry them."""
    columns = []
    for column in schema.columns:
        kind = _TYPES.get(column.type, "string")
        inner = _TYPES.get(column.subtype, "string")
        columns.append((column.name, f"{kind}[{inner}]" if kind in ("set", "vector") else kind))
    return tuple(columns)


class ReceiverFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The logger at one moment."""

    endpoints: tuple[str, ...]
    """As bound."""
    senders: PeerFigures
    paths: dict[str, int]
    """Accepted records by log path; ``*`` for further paths if there are very many."""
    nodes: dict[str, int]
    """The same by node."""
    quarantined: int
    """Batches kept for inspection since the start."""


def _count(table: dict[str, int], name: str, count: int) -> None:
    name = name if name in table or len(table) < MAX_NODES else "*"
    table[name] = table.get(name, 0) + count


class LogReceiver:
    """See the module. A service of the supervisor.

    Args:
        account: counts records.
        batches: counts batches; what is refused is booked here, since nobody knows how many records it would have been.
        quarantine: keeps batches that do not decode.
    """

    def __init__(
        self,
        config: Cluster,
        *,
        account: Account,
        batches: Account,
        dispatcher: Dispatcher,
        quarantine: Quarantine,
    ) -> None:
        self.config = config
        self.source = "cluster"
        self._account, self._batches, self._dispatcher = account, batches, dispatcher
        self._specimens = Specimens(quarantine, what="log batch", log=log)
        escape = EscapePolicy.CONTROLS if config.zeek_version == "8.1" else EscapePolicy.HEX
        transcoder = Transcoder(escape=escape, max_output=max(1 << 20, 8 * int(config.zeromq.max_message)))
        self._intake = BatchIntake(transcoder, filters=config.zeromq.log_filters)
        self._counts = self._intake.counts()
        self._drain = ZmqDrain()
        self._in_hand = 0
        self._monitor = PeerMonitor(self._report_cut)
        self._throttle = Throttle()
        self._listener: Listener | None = None
        self._paths: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._stopping = False

    def statistics(self) -> ReceiverFigures:
        return ReceiverFigures(
            endpoints=tuple(self._listener.bound) if self._listener else (),
            senders=self._monitor.statistics(),
            paths=dict(self._paths),
            nodes=dict(self._nodes),
            quarantined=self._specimens.kept,
        )

    def stop(self) -> None:
        self._stopping = True
        if self._listener is not None:
            self._listener.stop()

    def apply(self, config: Cluster) -> bool:
        """Take over a new table under the open socket, unless what the socket or the text of lines depends on differs:
        most of the table is not about the logger.
        """
        old, new = self.config, config
        if old.zeek_version != new.zeek_version or any(
            getattr(old.zeromq, key) != getattr(new.zeromq, key) for key in _SOCKET_KEYS
        ):
            return False
        self._intake.accept(config.zeromq.log_filters)
        self.config = config
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        client_key = self.config.zeromq.curve_client_public_key_file
        self._account.add_holder(self._held)
        try:
            async with open_listener(
                zmq.PULL,
                [self.config.zeromq.log_bind],
                monitor=self._monitor,
                configure=self._configure,
                admission=Admission(read_key(client_key)) if client_key else None,
            ) as self._listener:
                if self._stopping:
                    self._listener.stop()
                task_status.started()
                await self._listener.drain(self._take_some)
        finally:
            self._listener = None
            self._account.drop("shutdown", self._in_hand)
            self._in_hand = 0
            self._account.remove_holder(self._held)

    def _held(self) -> int:
        return self._in_hand

    def _configure(self, sock: zmq.Socket[bytes]) -> None:
        config = self.config.zeromq
        sock.setsockopt(zmq.RCVHWM, config.hwm)
        sock.setsockopt(zmq.MAXMSGSIZE, int(config.max_message))
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        if config.curve_secret_key_file:
            sock.setsockopt(zmq.CURVE_SERVER, 1)
            sock.setsockopt(zmq.CURVE_SECRETKEY, read_key(config.curve_secret_key_file))

    async def _take_some(self) -> bool:
        """Take and hand on what one round holds; returns whether the socket was empty."""
        assert self._listener is not None
        is_empty = False
        try:
            _, is_empty = self._drain.drain(self._listener.sock.underlying, self._intake, MESSAGES)
        except MemoryError:
            pass  # it has cost one batch, which the intake has counted; a restart would cost what libzmq holds
        finally:
            groups, refused = self._intake.take()
            self._book(self._intake.counts())
        for group in groups:
            await self._hand_on(group)
        if refused and self._specimens.take_turn():
            await self._specimens.keep(refused)
        return is_empty

    def _book(self, counts: BatchCounts) -> None:
        before, self._counts = self._counts, counts
        self._batches.received += counts.messages - before.messages
        self._batches.delivered += counts.accepted - before.accepted
        self._account.received += counts.records - before.records
        self._in_hand += counts.records - before.records
        self._batches.drop("other_filter", counts.other_filter - before.other_filter)
        for reason in REFUSALS:
            count = getattr(counts, reason) - getattr(before, reason)
            self._batches.drop(reason, count)
            if count and (held := self._throttle.admit(reason)) is not None:
                log.warning("refused log batches", reason=reason, batches=count, more=held)

    async def _hand_on(self, group: BatchGroup) -> None:
        node = node_of(group.sender)
        item = LogBatch(
            path=group.path,
            source=self.source,
            data=group.data,
            count=group.count,
            node=node,
            stream=group.schema.stream,
            columns=columns_of(group.schema),
        )
        _count(self._paths, group.path, group.count)
        _count(self._nodes, node, group.count)
        self._in_hand -= group.count
        await self._dispatcher.dispatch(item, self._account, patience_s=self.config.zeromq.max_wait.seconds)

    def _report_cut(self) -> None:
        if (held := self._throttle.admit("cut")) is not None:
            log.warning(
                "a node was disconnected: it sent an oversized batch, or broke the protocol",
                largest=int(self.config.zeromq.max_message), more=held,
            )  # fmt: skip
