"""The Broker sink: what arrives is published again, for the peers of our endpoint.

Events go out as they came, prints as their bare text, and log records as Zeek's nodes send theirs to a logger. Nothing
waits for the network: what does not fit into a peer's queue is dropped and booked by the endpoint. Here, a record is
delivered when it was queued for one peer at least.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
import trio

from appliance.config import Sink
from appliance.model import EventBatch, Item, LogBatch, Print
from appliance.runtime.outlet import Outlet, Published, Publisher
from appliance.runtime.queue import ItemQueue, Parcel
from appliance.zeek.binary import encode

from .pooled import split_by_key
from .remote_logs import MAX_WRITES, RemoteLog

__all__ = ["LOG_TOPIC", "BrokerSink", "BrokerSinkFigures"]

LOG_TOPIC = "zeek/logs/"
"""``Broker::default_log_topic_prefix`` of Zeek, where loggers listen."""
LOCAL_TOPIC = "<$>/local/"
"""Where our own endpoint tells of its peerings. That is nobody else's business, whatever ``on`` says."""
LEASE = MAX_WRITES
"""Records for one turn of the loop: a batch of log records, about ten milliseconds."""
MAX_LOGS = 1000
"""Logs that are remembered as announced; their names come from the network. One that was forgotten is announced again,
which a logger ignores.
"""

_LATER = ("", "no_peer", "no_subscriber")
"""Outcomes of an announcement after which a peer that connects or subscribes later will get it."""


class BrokerSinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One sink at one moment."""

    topic: str
    """Empty: each message goes to one node of the pool."""
    pool: str
    """``logger``, ``proxy`` or ``worker``; empty: everything goes to the topic."""
    messages: int
    """Queued for one peer at least since the start."""
    logs: int
    """Announced to loggers."""


class BrokerSink:
    """See the module. A service of the supervisor; `clock_ns` is wall time."""

    def __init__(
        self, config: Sink, *, queue: ItemQueue, outlet: Outlet, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.config = config
        self._queue = queue
        self._outlet = outlet
        self._out = outlet.via(config.via)
        self._clock_ns = clock_ns
        self._topic = config.topic or LOG_TOPIC
        self._announced: OrderedDict[tuple[str, ...], RemoteLog] = OrderedDict()
        self._announced_to = outlet.generation
        self._messages = 0

    def statistics(self) -> BrokerSinkFigures:
        pool = self.config.pool
        return BrokerSinkFigures(
            topic="" if pool else self._topic, pool=pool, messages=self._messages, logs=len(self._announced)
        )

    def stop(self) -> None:
        self._queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                async with self._queue.lease(LEASE) as parcel:
                    self._send(parcel)
        except trio.EndOfChannel:
            return

    def _send(self, parcel: Parcel) -> None:
        """Publish and settle the parcel in its order, what can go out together at once."""
        if self.config.pool:
            for item in parcel.items:
                self._send_to_pool(item, parcel)
            return
        together: list[bytes] = []
        for item in parcel.items:
            messages = self._messages_of(item)
            if messages is not None:
                together += messages
                continue
            self._publish(together, parcel)
            together = []
            if isinstance(item, LogBatch):
                self._write_log(item, parcel)
            else:
                parcel.drop("unwanted", item.count)
        self._publish(together, parcel)

    def _messages_of(self, item: Item) -> list[bytes] | None:
        """One message for each record; None if it is not as simple as that, or if it stays here."""
        if isinstance(item, EventBatch) and not item.topic.startswith(LOCAL_TOPIC):
            return item.payloads()
        return [encode(item.text)] if isinstance(item, Print) else None

    def _publish(self, messages: list[bytes], parcel: Parcel) -> None:
        """Publish messages of one record each, and settle the records."""
        if not messages:
            return
        outcome = self._queue_for_peers(self._topic, messages, self._out)
        if outcome.refused == "too_large" and len(messages) > 1:  # one of them is; the others are not to blame
            for message in messages:
                self._publish([message], parcel)
            return
        _settle(parcel, outcome, len(messages))

    def _queue_for_peers(self, topic: str, messages: Sequence[bytes], out: Publisher) -> Published:
        outcome = out.publish(topic, messages, unsolicited=self.config.unsolicited)
        if not outcome.refused:
            self._messages += len(messages)
        return outcome

    # ── one member of a pool ──

    def _send_to_pool(self, item: Item, parcel: Parcel) -> None:
        for part in split_by_key(item, self.config.key):
            if part.refused:
                parcel.drop(part.refused, part.count)
                continue
            door, topic = self._outlet.choose(
                self.config.via, self.config.pool, part.key, by_hash=bool(self.config.key)
            )
            if not topic:
                parcel.drop("no_subscriber" if door else "no_broker", part.count)
            elif isinstance(part.content, LogBatch):
                self._write_log(part.content, parcel, topic, self._outlet.via([door]))
            else:
                outcome = self._outlet.publish_via([door], topic, part.content)
                self._messages += 0 if outcome.refused else part.count
                _settle(parcel, outcome, part.count)

    def _write_log(self, batch: LogBatch, parcel: Parcel, topic: str = "", out: Publisher | None = None) -> None:
        out = out or self._out
        topic = topic or (self._topic + batch.stream if self._topic.endswith("/") else self._topic)
        log, refused = self._announce(topic, batch, out)
        if log is None:
            parcel.drop(refused, batch.count)
            return
        for writes in log.write(batch.rows()):
            parcel.drop("bad_format", writes.refused)
            if writes.count:
                _settle(parcel, self._queue_for_peers(topic, [writes.message], out), writes.count)

    def _announce(self, topic: str, batch: LogBatch, out: Publisher) -> tuple[RemoteLog | None, str]:
        """The log of these records, announced if it is new or has other columns than before; or why there is none."""
        if self._announced_to != self._outlet.generation:  # another door, through which nothing was told yet
            self._announced.clear()
            self._announced_to = self._outlet.generation
        names = (batch.stream, batch.path, *([topic] if self.config.pool else []))
        log = self._announced.get(names)
        if log is None or log.columns != batch.columns:
            self._announced.pop(names, None)
            if not (batch.stream and batch.columns):
                return None, "no_columns"
            try:
                log = RemoteLog(batch.stream, batch.path, batch.columns)
            except ValueError:
                return None, "no_columns"
            key = "/".join(("sink", self.config.name, *names))
            outcome = out.announce(
                key, topic, log.announce(self._clock_ns() / 1e9), unsolicited=self.config.unsolicited
            )
            if outcome.refused not in _LATER:
                return None, outcome.refused
            if len(self._announced) >= MAX_LOGS:
                self._announced.popitem(last=False)
            self._announced[names] = log
        self._announced.move_to_end(names)
        return log, ""


def _settle(parcel: Parcel, outcome: Published, count: int) -> None:
    if outcome.refused:
        parcel.drop(outcome.refused, count)
    else:
        parcel.deliver(count)
