"""From the messages of a cluster's nodes to items: events in Broker's binary format, checked and put together in C.

What does not decode at once is looked at in Python, where it is told why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.model import EventBatch
from appliance.native.broker import BrokerIntake, Run, RunKind
from appliance.wire.node_messages import ENVELOPE_BYTES, data_frame, parse_node_message
from appliance.wire.zeromq_events import EventMessage, Serializer, parse_event
from appliance.zeek.messages import Event, decode_message, encode_message
from appliance.zeek.schema import as_text

__all__ = ["SOURCE", "EventReader", "Reading"]

SOURCE = "cluster"
"""The door."""
_ME, _PEER = b"\1" * 16, b"\2" * 16  # the frames for C need endpoint IDs, and nobody looks at them
_LONGEST_TOPIC = 0xFFFF


class Reading(msgspec.Struct):
    """What some messages hold."""

    items: list[EventBatch]
    refused: Counter[str]
    """Messages that are no items, by reason."""
    bad: bytes = b""
    """The first payload that does not decode."""


class EventReader:
    """Reads messages; pure but for the time.

    Args:
        own_id: messages of this sender are ours, which come back to us.
        wants: whether a topic is still subscribed to.
        max_message: longest payload.
        clock_ns: wall time.
    """

    def __init__(
        self, *, own_id: str, wants: Callable[[str], bool], max_message: int, clock_ns: Callable[[], int]
    ) -> None:
        self._own_id = own_id
        self._wants = wants
        self._max_message = max_message
        self._clock_ns = clock_ns
        self._intake = BrokerIntake(me=_ME, peer=_PEER, max_message=max_message + ENVELOPE_BYTES + _LONGEST_TOPIC)

    def read(self, messages: Iterable[list[bytes]]) -> Reading:
        """The events of messages, in their order; those of one sender, topic and name that follow each other
        together. Every message becomes a record of an item, or is refused.
        """
        reading = Reading([], Counter())
        sender = ""
        frames: list[bytes] = []
        for parts in messages:
            frame, whose = self._frame(parts, reading)
            if not frame:
                continue
            if whose != sender:
                self._collect(frames, sender, reading)
                sender, frames = whose, []
            frames.append(frame)
        self._collect(frames, sender, reading)
        return reading

    def _frame(self, parts: list[bytes], reading: Reading) -> tuple[bytes, str]:
        """A message as C takes it, and its sender; empty if it is refused."""
        try:
            message = parse_event(parts)
        except RemoteProtocolError:
            reading.refused["bad_frames" if len(parts) != 4 else "bad_format"] += 1
            return b"", ""
        if message.sender == self._own_id:
            reading.refused["own_message"] += 1
        elif not self._wants(message.topic):
            reading.refused["unsubscribed"] += 1
        elif len(message.payload) > self._max_message:
            reading.refused["too_large"] += 1
        else:
            try:
                return data_frame(_PEER, message.topic, self._binary(message)), message.sender
            except (RemoteProtocolError, LocalProtocolError):
                self._refuse_bad(message.payload, reading)
        return b"", ""

    def _binary(self, message: EventMessage) -> bytes:
        if message.serializer is Serializer.BINARY:
            return message.payload
        payload = encode_message(message.decode())
        if len(payload) > self._max_message:
            raise RemoteProtocolError("an event that is larger in binary than it may be")
        return payload

    def _refuse_bad(self, payload: bytes, reading: Reading) -> None:
        reading.refused["bad_message"] += 1
        reading.bad = reading.bad or payload

    def _collect(self, frames: list[bytes], sender: str, reading: Reading) -> None:
        if not frames:
            return
        now_ns = self._clock_ns()
        for run in self._intake.feed(b"".join(frames)):
            if run.kind is not RunKind.EVENTS:
                checked = self._look_at(run, reading)
                if checked is None:
                    continue
                run = checked
            reading.items.append(
                EventBatch(
                    name=run.name,
                    topic=run.topic,
                    source=SOURCE,
                    data=run.data,
                    count=run.count,
                    peer=sender,
                    received_ns=now_ns,
                )
            )

    def _look_at(self, run: Run, reading: Reading) -> Run | None:
        """What C was not sure about, or took for something else; None if it is refused."""
        if run.kind is RunKind.LOGS:
            reading.refused["unknown_message"] += 1  # on this backend logs have a way of their own
            return None
        message = parse_node_message(run.data)
        try:
            event = decode_message(message.payload)
        except RemoteProtocolError:
            self._refuse_bad(message.payload, reading)
            return None
        if not isinstance(event, Event):
            reading.refused["unknown_message"] += 1
            return None
        data = len(message.payload).to_bytes(4) + message.payload
        return run._replace(
            kind=RunKind.EVENTS,
            topic=as_text(message.topic.encode("utf-8", "surrogateescape")),
            name=event.name,
            count=1,
            data=data,
        )
