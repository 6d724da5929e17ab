"""Events and prints as records: mappings with names, like those of logs.

An event's record has ``ts``, ``name``, ``topic``, ``peer`` and ``args``, a print's ``ts``, ``topic``, ``peer`` and
``text``. ``ts`` is seconds since the epoch as in a log: the network time of an event's sender if it tells and knows it,
else when the item arrived.

There are two kinds of them. A *typed* record keeps what programs need to tell values apart and to answer: ``args`` is
a tuple of Broker's values, and names have surrogates for bytes that are not UTF-8. A *plain* record is what JSON can
hold, see `convert.to_plain`. The text of a print has escapes in both, so that it can be printed; the item has its
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Print
from appliance.zeek.convert import to_plain, to_text
from appliance.zeek.messages import Event, decode_message

__all__ = ["json_lines", "plain_args", "plain_records", "print_record", "typed_records"]

Record = dict[str, Any]


def typed_records(batch: EventBatch) -> Iterator[Record | None]:
    """The typed record of each event, in order; None for one that does not decode."""
    name, topic, peer, arrived_s = batch.name, batch.topic, batch.peer, batch.received_ns / 1e9
    for payload in batch.payloads():
        try:
            event = decode_message(payload)
        except RemoteProtocolError:
            event = None
        if not isinstance(event, Event):
            yield None
            continue
        stamp = event.timestamp
        ts = arrived_s if stamp is None or stamp.ns < 0 else stamp.ns / 1e9
        yield {"ts": ts, "name": name, "topic": topic, "peer": peer, "args": event.args[:]}


def plain_args(record: Record) -> Record:
    """A typed record with plain ``args``."""
    return {**record, "args": [to_plain(value) for value in record["args"]]}


def print_record(item: Print) -> Record:
    """The typed record of a print."""
    return {"ts": item.received_ns / 1e9, "topic": item.topic, "peer": item.peer, "text": to_text(item.text)}


def plain_records(item: EventBatch | Print) -> Iterator[Record | None]:
    """The plain record of each event or of the print, in order; None for an event that does not decode."""
    topic = to_text(item.topic)
    if isinstance(item, Print):
        yield {**print_record(item), "topic": topic}
        return
    name = to_text(item.name)
    for record in typed_records(item):
        yield None if record is None else {**plain_args(record), "name": name, "topic": topic}


def json_lines(item: EventBatch | Print) -> tuple[bytes, list[int]]:
    """Plain records as JSON, one a line.

    Returns:
        The lines, and the positions of events that do not decode and have none.
    """
    found = list(plain_records(item))
    encode = msgspec.json.Encoder().encode_lines
    return encode([each for each in found if each is not None]), [i for i, each in enumerate(found) if each is None]
