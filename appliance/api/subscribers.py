"""``GET /v1/events?topic=PREFIX``: events and prints as they arrive, as server-sent events; likewise what happens to a
data store.

While a subscriber is there, the peers are asked for its topics. It has a bounded queue from which the oldest go first,
and is told how many went; one that does not read at all is cut. What passes by is booked in one account for all of
them.

Source: the HTML standard, "Server-sent events".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import trio

from appliance.errors import LocalProtocolError
from appliance.model import EventBatch, Item, Print, StoreEvent
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue, Parcel
from appliance.zeek.convert import to_plain, to_text
from appliance.zeek.events import print_record, store_record, typed_records
from appliance.zeek.json_values import encode_json
from appliance.zeek.schema import as_bytes
from appliance.zeek.values import Value

from .exchange import Answer, Exchange, problem

__all__ = [
    "ACCOUNT",
    "EVENT_STREAM",
    "HEARTBEAT_S",
    "MAX_SUBSCRIBERS",
    "SEND_TIMEOUT_S",
    "Subscribers",
    "Topics",
    "both_forms",
    "parse_topics",
]

ACCOUNT = "api.subscribers"
EVENT_STREAM = "text/event-stream"
MAX_SUBSCRIBERS = 8
"""Half of the connections that the endpoint serves: the other half is for short questions."""
QUEUE_RECORDS = 1000
QUEUE_BYTES = 4 << 20
HEARTBEAT_S = 15.0
"""Longest silence: the client can tell a quiet network from a broken connection."""
SEND_TIMEOUT_S = 10.0
"""As long as any other client may take."""
LEASE = 100
"""Records for each write."""

_VALUES = ("key", "value", "old")
_BEAT = b":\n\n"
_STRAY = re.compile("[\udc80-\udcff]")


def parse_topics(query: str) -> tuple[str, ...]:
    """The prefixes in the query of a request.

    Raises:
        ValueError: there is none, or something else.
    """
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    if not pairs or any(name != "topic" for name, _ in pairs):
        raise ValueError("expected topic=PREFIX, once or several times")
    return tuple(dict.fromkeys(prefix for _, prefix in pairs))


class Topics(msgspec.Struct, frozen=True):
    """The query of a subscription."""

    topic: list[str]
    """Prefixes."""


class _ChosenQueue(ItemQueue):
    """Takes what somebody wants; everything else is unwanted."""

    def __init__(self, account: Account, wants: Callable[[Item], bool]) -> None:
        super().__init__(account, policy="drop_oldest", max_records=QUEUE_RECORDS, max_bytes=QUEUE_BYTES)
        self._wants = wants
        self._taken = 0
        self.settled = 0
        """Records that were given to the subscriber, or could not be."""

    def put_nowait(self, item: Item) -> Item | None:
        if self._wants(item):
            self._taken += item.count
            return super().put_nowait(item)
        self.account.received += item.count
        self.account.drop("unwanted", item.count)
        return None

    @property
    def dropped(self) -> int:
        """Records for which there was no room."""
        return self._taken - self.settled - self.statistics().records


class Subscribers:
    """See the module."""

    def __init__(self, *, outlet: Outlet, dispatcher: Dispatcher, ledger: Ledger) -> None:
        self._outlet = outlet
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._queues: dict[str, _ChosenQueue] = {}
        self._served = 0
        self._is_closed = False
        self._leaving = trio.lowlevel.ParkingLot()

    @property
    def count(self) -> int:
        return len(self._queues)

    def refuse(self) -> Answer | None:
        """Why there can be no further subscriber now."""
        if not self._outlet.doors:
            detail = "there is no door into a cluster to ask with"
            return problem(409, "not subscribed", reason="no_broker", detail=detail)
        return self.refuse_watcher()

    def refuse_watcher(self) -> Answer | None:
        """Why nobody can watch a data store now."""
        if self._is_closed:
            return problem(503, "not subscribed", reason="shutdown", detail="the appliance ends")
        if len(self._queues) >= MAX_SUBSCRIBERS:
            detail = f"{MAX_SUBSCRIBERS} subscribers are served already"
            return problem(503, "not subscribed", reason="too_many", detail=detail)
        return None

    async def serve(self, exchange: Exchange, prefixes: Sequence[str]) -> None:
        """Send one subscriber what arrives, until it goes, does not read, or `close` is called.

        Cancellation: what waits is dropped; the response has no end.
        """
        begins = tuple(map(as_bytes, prefixes))

        def wants(item: Item) -> bool:
            return isinstance(item, EventBatch | Print) and as_bytes(item.topic).startswith(begins)

        await self._serve(exchange, ("event:*", "print:"), wants, prefixes)

    async def serve_store(self, exchange: Exchange, name: str) -> None:
        """Send one subscriber what happens to a data store; likewise."""

        def wants(item: Item) -> bool:
            return isinstance(item, StoreEvent) and item.store == name

        await self._serve(exchange, ("store:*",), wants, ())

    async def _serve(
        self, exchange: Exchange, on: Sequence[str], wants: Callable[[Item], bool], prefixes: Sequence[str]
    ) -> None:
        with self._queue_for(on, wants) as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_gone, exchange, nursery.cancel_scope)
                with suppress(trio.BrokenResourceError, trio.TooSlowError):
                    await _Feed(exchange, queue).run(self._outlet, prefixes)
                nursery.cancel_scope.cancel()

    @contextmanager
    def _queue_for(self, on: Sequence[str], wants: Callable[[Item], bool]) -> Iterator[_ChosenQueue]:
        """A queue into which the dispatcher puts what is wanted."""
        self._served += 1
        name = f"api.subscriber-{self._served}"
        queue = self._queues[name] = _ChosenQueue(self._ledger.account(ACCOUNT), wants)
        self._dispatcher.subscribe(name, queue, on=on, sources=())
        try:
            yield queue
        finally:
            self._dispatcher.unsubscribe(name)
            queue.retire("unsubscribed")
            del self._queues[name]
            self._leaving.unpark_all()

    def close(self) -> None:
        """Nobody new; those who are there get what waits for them, and the end."""
        self._is_closed = True
        for queue in self._queues.values():
            queue.close()

    async def wait_left(self) -> None:
        """Wait until nobody is there."""
        while self._queues:
            await self._leaving.park()


async def _cancel_when_gone(exchange: Exchange, scope: trio.CancelScope) -> None:
    await exchange.wait_gone()
    scope.cancel()


class _Feed:
    """Carries a queue to its subscriber."""

    def __init__(self, exchange: Exchange, queue: _ChosenQueue) -> None:
        self._exchange = exchange
        self._queue = queue
        self._told = 0

    async def run(self, outlet: Outlet, prefixes: Sequence[str]) -> None:
        """Go on until the queue is closed and empty. A reload may put another endpoint behind `outlet`.

        Raises:
            trio.TooSlowError: the subscriber does not read.
            trio.BrokenResourceError: it went.
        """
        with trio.fail_after(SEND_TIMEOUT_S):
            await self._exchange.begin_stream(EVENT_STREAM)
        await self._send(_BEAT)
        try:
            with outlet.subscribed(prefixes):
                while True:
                    await self._step()
        except trio.EndOfChannel:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self._exchange.end_stream()

    async def _step(self) -> None:
        """Send what waits, or after a while of nothing a sign of life."""
        with trio.move_on_after(HEARTBEAT_S):
            await self._queue.wait_any()
        if not self._queue.waiting and not self._queue.is_closed:
            await self._send(self._tell_dropped() or _BEAT)
            return
        async with self._queue.lease(LEASE) as parcel:
            refused = await self._send_items(parcel)
            parcel.drop("undecodable", refused)
            parcel.deliver(parcel.left)

    async def _send_items(self, parcel: Parcel) -> int:
        """Send the parcel, and before it how many were dropped; returns the number of records that do not decode."""
        texts = [self._tell_dropped()]
        refused = 0
        for item in parcel.items:
            for text in _render(item):
                texts.append(text)
                refused += not text
        await self._send(b"".join(texts))
        self._queue.settled += parcel.count
        return refused

    def _tell_dropped(self) -> bytes:
        """How many records were dropped since this was told, if there were any."""
        before, self._told = self._told, self._queue.dropped
        return _frame("dropped", {"dropped": self._told - before}) if self._told > before else b""

    async def _send(self, data: bytes) -> None:
        with trio.fail_after(SEND_TIMEOUT_S):
            await self._exchange.send_part(data)


def _render(item: Item) -> Iterator[bytes]:
    """A server-sent event for each record; an empty one if it does not decode."""
    if isinstance(item, Print):
        yield _frame("print", {"kind": "print", **print_record(item), "topic": to_text(item.topic)})
    elif isinstance(item, StoreEvent):
        found = store_record(item)
        yield b"" if found is None else _frame("change", {**found, **{k: both_forms(found[k]) for k in _VALUES}})
    elif isinstance(item, EventBatch):
        names = {"name": to_text(item.name), "topic": to_text(item.topic)}
        for record in typed_records(item):
            if record is None:
                yield b""
                continue
            plain = [to_plain(value) for value in record["args"]]
            yield _frame("event", {"kind": "event", **record, **names, "args": _typed(record["args"]), "plain": plain})


def _typed(args: Iterable[Value]) -> msgspec.Raw:
    """Values with their types, as in Zeek's JSON; null if one of them is a number that JSON does not have."""
    try:
        values = [encode_json(value) for value in args]
    except LocalProtocolError:
        return msgspec.Raw(b"null")
    # Bytes that are not UTF-8 are written as in the plain values, with a backslash that JSON escapes.
    text = b",".join(values).decode("utf-8", "surrogateescape")
    return msgspec.Raw(b"[" + _STRAY.sub(lambda stray: rf"\\x{ord(stray[0]) - 0xDC00:02x}", text).encode() + b"]")


def both_forms(value: Value) -> dict[str, Any]:
    """A value with its type, null if it is a number that JSON does not have, and plain."""
    typed = bytes(_typed([value]))
    return {"typed": msgspec.Raw(typed if typed == b"null" else typed[1:-1]), "plain": to_plain(value)}


def _frame(kind: str, data: dict[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data))
