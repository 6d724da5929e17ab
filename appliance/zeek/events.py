"""Events and prints as records: mappings with names, like those of logs.

An event's record has ``ts``, ``name``, ``topic``, ``peer`` and ``args``, a print's ``ts``, ``topic``, ``peer`` and
``text``, that of a node of the cluster ``ts``, ``node``, ``status``, ``type`` and ``id``. One of a data store has
``ts``, ``store``, ``change``, ``key``, ``value``, ``old``, ``expiry`` and ``publisher``. ``ts`` is seconds since the
epoch as in a log: the network time of an event's sender if it tells and knows it, else when the item arrived.

There are two kinds of them. A *typed* record keeps what programs need to tell values apart and to answer: ``args`` is
a tuple of Broker's values, ``key``, ``value`` and ``old`` are such values, and names have surrogates for bytes that are
not UTF-8. A *plain* record is what JSON can hold, see `convert.to_plain`. The text of a print has escapes in both, so
that it can be printed; the item has its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, NodeStatus, Print, StoreEvent
from appliance.zeek.binary import decode
from appliance.zeek.convert import to_plain, to_text
from appliance.zeek.messages import Event, decode_message

__all__ = [
    "StoreRecord",
    "json_lines",
    "node_record",
    "plain_args",
    "plain_records",
    "plain_store_record",
    "print_record",
    "store_record",
    "typed_records",
]

Record = dict[str, Any]


class StoreRecord(Record):
    """The typed record of an event of a data store; the class tells it from a log's record with the same fields."""


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


def node_record(item: NodeStatus) -> Record:
    """The typed record of a node that has come or gone."""
    return {
        "ts": item.received_ns / 1e9,
        "node": item.node,
        "status": item.status,
        "type": item.type,
        "id": item.id,
    }


def store_record(item: StoreEvent) -> StoreRecord | None:
    """The typed record of an event of a data store; None if it does not decode."""
    try:
        key, value, old = (None if raw is None else decode(raw) for raw in (item.key or None, item.value, item.old))
    except RemoteProtocolError:
        return None
    return StoreRecord(
        ts=item.received_ns / 1e9,
        store=item.store,
        change=item.change,
        key=key,
        value=value,
        old=old,
        expiry=None if item.expiry_ns is None else item.expiry_ns / 1e9,
        publisher=item.publisher,
    )


def plain_store_record(record: StoreRecord) -> Record:
    """A typed record of a data store's event with a plain key and plain values."""
    return {**record, **{name: to_plain(record[name]) for name in ("key", "value", "old")}}


def plain_records(item: EventBatch | Print | NodeStatus) -> Iterator[Record | None]:
    """The plain record of each event, of the print or the node, in order; None for an event that does not decode."""
    if isinstance(item, NodeStatus):
        yield {**node_record(item), "node": to_text(item.node), "id": to_text(item.id)}
        return
    topic = to_text(item.topic)
    if isinstance(item, Print):
        yield {**print_record(item), "topic": topic}
        return
    name = to_text(item.name)
    for record in typed_records(item):
        yield None if record is None else {**plain_args(record), "name": name, "topic": topic}


def json_lines(item: EventBatch | Print | NodeStatus) -> tuple[bytes, list[int]]:
    """Plain records as JSON, one a line.

    Returns:
        The lines, and the positions of events that do not decode and have none.
    """
    found = list(plain_records(item))
    encode = msgspec.json.Encoder().encode_lines
    return encode([each for each in found if each is not None]), [i for i, each in enumerate(found) if each is None]
