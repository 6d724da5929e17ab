"""From what a server sent to events for consumers, each counted, or the reason why something is none."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

import structlog

from appliance.errors import LocalProtocolError
from appliance.model import EventBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.wire.websocket_messages import Data
from appliance.zeek.messages import encode_message

__all__ = ["Intake"]

log = structlog.get_logger("websocket")

_MESSAGE_BYTES = struct.Struct(">I")


class Intake:
    """Hands on what arrives. One for each client.

    Args:
        source: the door, ``websocket.NAME``.
        records: the account of events.
        messages: the account of messages as they arrive.
        patience_s: longest wait for a consumer that takes nothing.
        clock_ns: wall time.
    """

    def __init__(
        self,
        source: str,
        *,
        records: Account,
        messages: Account,
        dispatcher: Dispatcher,
        patience_s: float,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._source = source
        self._records, self._messages, self._dispatcher = records, messages, dispatcher
        self.patience_s = patience_s
        self._clock_ns = clock_ns
        self._held = 0
        self._throttle = Throttle()
        self.is_discarding = False
        """Nobody takes anything any more: what arrives is dropped for ``shutdown``."""
        self.mended = 0
        """Events that were not JSON, or not UTF-8."""

    def open(self) -> None:
        """Begin to hold what arrives."""
        self._records.add_holder(self._count)

    def close(self) -> None:
        """The end of `open`."""
        self._records.remove_holder(self._count)

    def _count(self) -> int:
        return self._held

    def refuse(self, reason: str, detail: str = "") -> None:
        """Book a message that is of no use."""
        self._messages.received += 1
        self._messages.drop(reason, 1)
        if (held := self._throttle.admit(reason)) is not None:
            log.warning("a message is not taken", door=self._source, reason=reason, detail=detail, more=held)

    async def take(self, found: Sequence[Data], peer: str, why_not: Callable[[str], str]) -> None:
        """Hand on events in their order, those of one name and topic that follow each other together.

        Args:
            found: what arrived.
            peer: what the server calls us.
            why_not: the reason for which events of a topic are not taken; empty if they are.

        Cancellation: the events have been offered, or are booked.
        """
        now_ns = self._clock_ns()
        runs: list[tuple[str, str, list[bytes]]] = []
        for data in found:
            reason = "shutdown" if self.is_discarding else why_not(data.topic)
            self.mended += data.is_mended
            if reason:
                self._messages.received += 1
                self._messages.drop(reason, 1)
                continue
            try:
                payload = encode_message(data.event)
            except LocalProtocolError as exc:
                self.refuse("bad_message", str(exc))
                continue
            self._messages.received += 1
            self._messages.delivered += 1
            if not runs or runs[-1][:2] != (data.event.name, data.topic):
                runs.append((data.event.name, data.topic, []))
            runs[-1][2].append(_MESSAGE_BYTES.pack(len(payload)) + payload)
        await self._hand_on(
            [
                EventBatch(
                    name=name,
                    topic=topic,
                    source=self._source,
                    data=b"".join(payloads),
                    count=len(payloads),
                    peer=peer,
                    received_ns=now_ns,
                )
                for name, topic, payloads in runs
            ]
        )

    async def _hand_on(self, batches: Sequence[EventBatch]) -> None:
        left = sum(batch.count for batch in batches)
        self._records.received += left
        self._held += left
        try:
            for batch in batches:
                left -= batch.count
                self._held -= batch.count
                await self._dispatcher.dispatch(batch, self._records, patience_s=self.patience_s)
        finally:
            self._held -= left
            self._records.drop("shutdown", left)
