"""From messages to consumers: takes what the thread has read, reads the events, hands them on, keeps the books."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from appliance.model import EventBatch, Item
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.quarantine import Quarantine, Specimens
from appliance.runtime.reasons import DELIBERATE

from .event_reader import EventReader
from .inbox import Inbox

__all__ = ["Intake"]

log = structlog.get_logger("cluster")

ROUND = 256
"""Messages for one turn of the loop, a millisecond or two."""
MAX_NEWS = 4096
"""Nodes that come and go, and lines about it, that may wait for consumers."""


class Intake:
    """See the module.

    Args:
        records: the account of events.
        messages: the account of messages.
        quarantine: keeps messages that do not decode.
    """

    def __init__(self, *, records: Account, messages: Account, dispatcher: Dispatcher, quarantine: Quarantine) -> None:
        self._records, self._messages, self._dispatcher = records, messages, dispatcher
        self.specimens = Specimens(quarantine, what="message", log=log)
        self._throttle = Throttle()
        self._reader: EventReader | None = None
        self._held = 0
        self._bad = b""
        self._news_in, self._news_out = trio.open_memory_channel[Item](MAX_NEWS)
        self._is_ending = False
        self._idle = trio.Event()
        self.patience_s = 0.0

    def open(self, own_id: str, wants: Callable[[str], bool], max_message: int, clock_ns: Callable[[], int]) -> None:
        """Begin with a new node; arguments as of `EventReader`."""
        self._reader = EventReader(own_id=own_id, wants=wants, max_message=max_message, clock_ns=clock_ns)
        self._is_ending, self._idle = False, trio.Event()
        self._records.add_holder(self._count)

    def close(self, inbox: Inbox) -> None:
        """Nobody takes what waits: it is dropped."""
        taken, dropped = inbox.take(inbox.waiting)
        self._messages.received += len(taken) + dropped
        self._messages.drop("overflow", dropped)
        self._messages.drop("shutdown", len(taken))

    def book_hello(self) -> None:
        """A message was for presence."""
        self._messages.received += 1
        self._messages.delivered += 1

    async def finish(self, inbox: Inbox) -> None:
        """Wait until everything that is in `inbox` by now is handed on."""
        self._is_ending = True
        inbox.wake()
        await self._idle.wait()

    def tell(self, item: Item) -> None:
        """Hand on news of our own, as soon as it is their turn; nobody waits."""
        try:
            self._news_in.send_nowait(item)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self._records.received += item.count
            self._records.drop("overflow", item.count)

    async def run_news(self) -> None:
        """Hand on what was told until cancelled. Not with the events: news shall not wait for them."""
        async for item in self._news_out.clone():
            await self._hand_on([item])

    async def run(self, inbox: Inbox) -> None:
        """Take and hand on until cancelled.

        Cancellation: what was taken has been offered, or is booked.
        """
        try:
            while True:
                taken, dropped = inbox.take(ROUND)
                self._messages.received += dropped
                self._refuse("overflow", dropped)
                if taken:
                    await self._hand_on(self._read(taken))
                elif self._is_ending:
                    self._idle.set()
                    await trio.sleep_forever()
                else:
                    await inbox.wait()
        finally:
            self._idle.set()
            self._records.remove_holder(self._count)

    def _count(self) -> int:
        return self._held

    def _read(self, messages: list[list[bytes]]) -> list[EventBatch]:
        assert self._reader is not None
        reading = self._reader.read(messages)
        self._messages.received += len(messages)
        self._messages.delivered += len(messages) - reading.refused.total()
        for reason, count in reading.refused.items():
            self._refuse(reason, count)
        if reading.bad and self.specimens.take_turn():
            self._bad = reading.bad
        return reading.items

    def _refuse(self, reason: str, count: int) -> None:
        self._messages.drop(reason, count)
        if count and reason not in DELIBERATE and (held := self._throttle.admit(reason)) is not None:
            log.warning("messages are not taken", reason=reason, messages=count, more=held)

    async def _hand_on(self, items: Sequence[Item]) -> None:
        left = sum(item.count for item in items)
        self._records.received += left
        self._held += left
        try:
            for item in items:
                left -= item.count
                self._held -= item.count
                await self._dispatcher.dispatch(item, self._records, patience_s=self.patience_s)
            await trio.lowlevel.checkpoint()
        finally:
            self._held -= left
            self._records.drop("shutdown", left)
        if self._bad:
            payload, self._bad = self._bad, b""
            await self.specimens.keep(payload)
