"""What of an item goes to the same member of a pool."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Item, LogBatch, Print
from appliance.runtime.outlet import PoolKey
from appliance.zeek.binary import encode
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.values import Count

__all__ = ["Part", "split_by_key"]

_LOCAL_TOPIC = "<$>/local/"


class Part(msgspec.Struct, frozen=True):
    """Records with one key, in their order."""

    count: int
    content: LogBatch | list[bytes] = []
    """Log records, or one message for each event or print."""
    key: PoolKey = ""
    refused: str = ""
    """Why they cannot be sent; empty if they can."""


def split_by_key(item: Item, field: str) -> Iterator[Part]:
    """The parts of an item, the records of a log together as far as their keys allow.

    Args:
        item: what is to be published.
        field: of a log's record, or the number of an event's argument, from 0; empty: without keys. What has no key of
            a type that Zeek's hash is known for is refused for ``no_key``.
    """
    if isinstance(item, LogBatch):
        yield from _parts_of_log(item, field) if field else [Part(item.count, item)]
    elif isinstance(item, EventBatch) and not item.topic.startswith(_LOCAL_TOPIC):
        for payload in item.payloads():
            key = _key_of_event(payload, field) if field else ""
            yield Part(1, refused="no_key") if key is None else Part(1, [payload], key)
    elif isinstance(item, Print):
        yield Part(1, refused="no_key") if field else Part(1, [encode(item.text)])
    else:
        yield Part(item.count, refused="unwanted")


def _parts_of_log(batch: LogBatch, field: str) -> Iterator[Part]:
    rows: dict[PoolKey | None, list[bytes]] = {}
    for row in batch.rows():
        try:
            value = msgspec.json.decode(row, type=dict[str, msgspec.Raw]).get(field)
            key = None if value is None else _usable(msgspec.json.decode(value))
        except ValueError:
            key = None
        rows.setdefault(key, []).append(row)
    for key, some in rows.items():
        if key is None:
            yield Part(len(some), refused="no_key")
        else:
            data = b"".join(row + b"\n" for row in some)
            yield Part(len(some), replace(batch, data=data, count=len(some)), key)


def _key_of_event(payload: bytes, field: str) -> PoolKey | None:
    try:
        event = decode_message(payload)
    except RemoteProtocolError:
        return None
    if not isinstance(event, Event) or not field.isdecimal() or int(field) >= len(event.args):
        return None
    value = event.args[int(field)]
    return value.value if isinstance(value, Count) else value if isinstance(value, bytes) else None


def _usable(value: object) -> PoolKey | None:
    if isinstance(value, str):
        return value
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
    return value if is_count else None  # type: ignore[return-value]
