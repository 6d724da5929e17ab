"""From what peers sent to items: events, prints and log records, each counted, or the reason why something is none."""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec
import structlog

from appliance.config import Peering
from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Item, LogBatch, Print
from appliance.native.broker import Run
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.quarantine import Quarantine, Specimens
from appliance.wire.presence import HELLO
from appliance.wire.session import Command, Data
from appliance.zeek import binary
from appliance.zeek.log_create import LogCreate
from appliance.zeek.messages import (
    Batch,
    Event,
    IdentifierUpdate,
    LogWrite,
    Message,
    Unknown,
    encode_message,
    parse_message,
)
from appliance.zeek.values import Value, Vector

from .framework import SOURCE
from .log_writes import LogBook, LogReading, make_transcoder, put_together
from .stores.hub import StoreHub
from .topics import Topics

__all__ = ["Delivery", "Sender"]

log = structlog.get_logger("broker")

_MESSAGE_BYTES = struct.Struct(">I")

Relay = Callable[[str, Sequence[bytes], int], None]
"""Passes messages on to other peers: topic, payloads, time to live."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent something."""

    peer: str
    """Endpoint ID as text."""
    logs: LogBook
    relay: Relay


class Delivery:
    """Hands on what arrives. One for the endpoint.

    Args:
        records: the account of items: events, prints, log records.
        messages: the account of messages as they arrive; their holder is this object.
        quarantine: keeps messages that do not decode.
        stores: take their commands.
    """

    def __init__(
        self,
        peering: Peering,
        *,
        records: Account,
        messages: Account,
        dispatcher: Dispatcher,
        topics: Topics,
        quarantine: Quarantine,
        stores: StoreHub,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._stores = stores
        self._records, self._messages, self._dispatcher, self._topics = records, messages, dispatcher, topics
        self.specimens = Specimens(quarantine, what="message", log=log)
        self._clock_ns = clock_ns
        self._held_messages = self._held_records = 0
        self._throttle = Throttle()
        self.is_discarding = False
        """Nobody takes anything any more: what arrives is dropped for ``shutdown``."""
        self.hear: Callable[[EventBatch], Awaitable[None]] | None = None
        """Takes what may be hellos of nodes, before anybody else."""
        self.configure(peering)

    def configure(self, peering: Peering) -> None:
        """Take over another table."""
        table = peering.broker
        self._transcoder = make_transcoder(zeek_version=peering.zeek_version, max_message=int(table.max_message))
        self._patience_s = table.max_wait.seconds
        self._is_forwarding = table.forward

    def open(self) -> None:
        """Begin to hold what arrives."""
        self._messages.add_holder(self._count_messages)
        self._records.add_holder(self._count_records)

    def close(self) -> None:
        """The end of `open`."""
        self._messages.remove_holder(self._count_messages)
        self._records.remove_holder(self._count_records)

    def _count_messages(self) -> int:
        return self._held_messages

    def _count_records(self) -> int:
        return self._held_records

    # ── the books of messages ──

    def expect(self, count: int) -> None:
        """So many messages have arrived; each one is to be taken, refused or abandoned."""
        self._messages.received += count
        self._held_messages += count

    def refuse(self, reason: str, count: int, sender: Sender) -> None:
        """Messages that are of no use."""
        self.abandon(reason, count)
        if count and (held := self._throttle.admit(reason)) is not None:
            log.warning("messages are not taken", reason=reason, messages=count, peer=sender.peer, more=held)

    def abandon(self, reason: str, count: int) -> None:
        """Messages that nobody will take."""
        self._held_messages -= count
        self._messages.drop(reason, count)

    def _settle(self, count: int) -> None:
        self._held_messages -= count
        self._messages.delivered += count

    # ── what arrives ──

    async def take_command(self, command: Command, sender: Sender) -> None:
        """Pass a command on to the store that it is for."""
        try:
            store = await self._stores.take(command.topic, command.payload)
            if store is None:
                self.abandon("store_command", 1)
            else:
                self._settle(1)
                if store.is_busy:
                    await store.wait_room()
        except RemoteProtocolError:
            self.refuse("bad_message", 1, sender)
            await self._keep(command.payload)

    async def tell(self, item: Item) -> None:
        """Hand on an item of our own."""
        await self._hand_on([item])

    async def take_events(self, run: Run, sender: Sender) -> None:
        """Take events.

        Cancellation: the items have been offered, or are booked.
        """
        if self.is_discarding:
            self.abandon("shutdown", run.count)
        elif not self._topics.wanted.matches(run.topic):
            self.abandon("unsubscribed", run.count)
        else:
            batch = EventBatch(
                name=run.name,
                topic=run.topic,
                source=SOURCE,
                data=run.data,
                count=run.count,
                peer=sender.peer,
                received_ns=self._clock_ns(),
            )
            if self._is_forwarding and not run.is_unicast:
                sender.relay(run.topic, batch.payloads(), run.ttl)
            self._settle(run.count)
            await self._hand_on([batch])

    async def take_logs(self, runs: Sequence[Run], sender: Sender) -> None:
        """Take messages of nothing but log writes, which came one after the other.

        Cancellation: as `take_events`.
        """
        if self.is_discarding:
            self.abandon("shutdown", len(runs))
            return
        wanted = [run for run in runs if self._topics.wanted.matches(run.topic)]
        self.abandon("unsubscribed", len(runs) - len(wanted))
        if self._is_forwarding:
            for run in wanted:
                if not run.is_unicast:
                    sender.relay(run.topic, (run.data,), run.ttl)
        if wanted:
            await self._take_log_writes([run.data for run in wanted], sender)

    async def take_data(self, data: Data, sender: Sender) -> None:
        """Take any other message.

        Cancellation: as `take_events`.
        """
        is_wanted = self._topics.wanted.matches(data.topic)
        if self.is_discarding:
            self.abandon("shutdown", 1)
            return
        if not is_wanted and not data.is_unicast:
            self.abandon("unsubscribed", 1)
            return
        if self._is_forwarding and not data.is_unicast:
            sender.relay(data.topic, (data.payload,), data.ttl)
        try:
            value = binary.decode(data.payload)
            text = _text_of(value)
            messages = [] if text is not None else list(_flat(parse_message(value)))
            # Announcements first: Zeek sends them to whoever connects, without having been asked.
            for message in messages:
                if isinstance(message, LogCreate):
                    sender.logs.announce(message)
        except RemoteProtocolError:
            self.refuse("bad_message", 1, sender)
            await self._keep(data.payload)
            return
        if text is not None and is_wanted:
            self._settle(1)
            await self._hand_on([self._print(data.topic, text, sender)])
        elif is_wanted and any(isinstance(message, LogWrite) for message in messages):
            await self._take_log_writes([data.payload], sender)
            await self._hand_on(self._events(data.topic, messages, sender))
        elif is_wanted or any(isinstance(message, LogCreate) for message in messages):
            self._close_books(messages)
            await self._hand_on(self._events(data.topic, messages, sender) if is_wanted else ())
        else:
            self.abandon("unsubscribed", 1)

    def _close_books(self, messages: Sequence[Message]) -> None:
        """Book a message by the parts of it that are neither log writes nor text."""
        if messages and all(isinstance(message, IdentifierUpdate | Unknown) for message in messages):
            is_update = isinstance(messages[0], IdentifierUpdate)
            self.abandon("identifier_update" if is_update else "unknown_message", 1)
        else:
            self._settle(1)

    async def _take_log_writes(self, payloads: Sequence[bytes], sender: Sender) -> None:
        """Take messages with log writes. Those that came together become lines together: a peer sends many small ones,
        and what a message costs by itself is more than what its records cost.
        """
        bad: list[bytes] = []
        readings = self._read_together(payloads, sender)
        if not readings:  # something is wrong with one of them; the others are not to blame
            readings = [reading for each in payloads if (reading := self._read_alone(each, sender, bad)) is not None]
        await self._hand_on(
            [
                LogBatch(
                    path=rows.path,
                    source=SOURCE,
                    data=rows.data,
                    count=rows.count,
                    stream=rows.stream,
                    columns=rows.columns,
                )
                for reading in readings
                for rows in reading.rows
            ]
        )
        for payload in bad:
            await self._keep(payload)

    def _read_together(self, payloads: Sequence[bytes], sender: Sender) -> list[LogReading]:
        """Read and settle all messages at once; nothing if they have to be looked at one by one."""
        if len(payloads) == 1:
            return []
        try:
            reading = sender.logs.read(put_together(payloads), self._transcoder)
        except (RemoteProtocolError, MemoryError):
            return []
        if reading.refused:
            return []
        self._settle(len(payloads))
        return [reading]

    def _read_alone(self, payload: bytes, sender: Sender, bad: list[bytes]) -> LogReading | None:
        """Read and book one message; one that does not decode is added to `bad`."""
        try:
            reading = sender.logs.read(payload, self._transcoder)
        except RemoteProtocolError:
            self.refuse("bad_message", 1, sender)
            bad.append(payload)
            return None
        except MemoryError:
            self.refuse("no_memory", 1, sender)
            return None
        for reason, count in reading.refused.items():
            self._records.received += count
            self._records.drop(reason, count)
            if (held := self._throttle.admit(f"records:{reason}")) is not None:
                path = {"path": reading.unknown} if reason == "no_schema" else {}
                log.warning(
                    "log records are refused", reason=reason, records=count, peer=sender.peer, more=held, **path
                )
        if reading.rows or not reading.refused:
            self._settle(1)
        else:
            self.abandon(next(iter(reading.refused)), 1)
        return reading

    async def _hand_on(self, items: Sequence[Item]) -> None:
        left = sum(item.count for item in items)
        self._records.received += left
        self._held_records += left
        try:
            for item in items:
                if self.hear is not None and isinstance(item, EventBatch) and item.name == HELLO and item.peer:
                    await self.hear(item)
                left -= item.count
                self._held_records -= item.count
                await self._dispatcher.dispatch(item, self._records, patience_s=self._patience_s)
        finally:
            self._held_records -= left
            self._records.drop("shutdown", left)

    async def _keep(self, payload: bytes) -> None:
        """Keep a message that does not decode, unless one was kept just now."""
        if self.specimens.take_turn():
            await self.specimens.keep(payload)

    def _print(self, topic: str, text: bytes, sender: Sender) -> Print:
        return Print(topic=topic, source=SOURCE, text=text, peer=sender.peer, received_ns=self._clock_ns())

    def _events(self, topic: str, messages: Iterable[Message], sender: Sender) -> list[EventBatch]:
        """The events among the messages, those of one name that follow each other together."""
        now_ns = self._clock_ns()
        runs: list[tuple[str, list[bytes]]] = []
        for message in messages:
            if isinstance(message, Event):
                if not runs or runs[-1][0] != message.name:
                    runs.append((message.name, []))
                payload = encode_message(message)
                runs[-1][1].append(_MESSAGE_BYTES.pack(len(payload)) + payload)
        return [
            EventBatch(
                name=name,
                topic=topic,
                source=SOURCE,
                data=b"".join(payloads),
                count=len(payloads),
                peer=sender.peer,
                received_ns=now_ns,
            )
            for name, payloads in runs
        ]


def _text_of(value: Value) -> bytes | None:
    """What was printed, if it is a remote print: a string, alone or as the only one of a vector."""
    if isinstance(value, Vector) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, bytes) else None


def _flat(message: Message) -> Iterable[Message]:
    if isinstance(message, Batch):
        for each in message.messages:
            yield from _flat(each)
    else:
        yield message
