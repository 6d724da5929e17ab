"""What hooks ask for with `ctx.extract`, checked where they ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any, Literal

import msgspec

from appliance.runtime.asking import PacketRequest
from appliance.units import Duration, Size
from appliance.zeek.messages import Event, encode_message

__all__ = ["checked_path", "make_request"]

MAX_BYTES = 100 << 20
_FIELDS = (
    "ts", "duration", "uid", "id", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "src", "dst",
    "community_id",
)  # fmt: skip
Host = str | IPv4Address | IPv6Address
Time = float | datetime
Span = float | timedelta | str


def make_request(
    records: Sequence[Any],
    record: Any = None,
    *,
    select: Literal["conn", "pair", "host", "all"] = "conn",
    uid: str = "",
    conn: str = "",
    host: Host | Sequence[Host] = (),
    port: int | Sequence[int] = (),
    proto: str = "",
    community_id: str = "",
    bpf: str = "",
    start: Time | None = None,
    end: Time | None = None,
    before: Span = 60,
    after: Span = 30,
    wait: bool = False,
    recorder: str = "",
    path: str = "",
    max_size: int | str = MAX_BYTES,
) -> PacketRequest:
    """Check and write down what a hook asks for; see `Context.extract`.

    Args:
        records: of the call.

    Raises:
        TypeError, ValueError: an argument is wrong; says which.
    """
    if select not in ("conn", "pair", "host", "all"):
        raise ValueError(f"select is conn, pair, host or all, not {select!r}")
    hosts = (host,) if isinstance(host, Host) else tuple(host)
    ports = (port,) if isinstance(port, int) else tuple(port)
    given: dict[str, Sequence[object]] = {
        "conn": [conn] if conn else [],
        "host": hosts,
        "port": ports,
        "proto": [proto] if proto else [],
        "community-id": [community_id] if community_id else [],
        "bpf": [bpf] if bpf else [],
    }
    conditions = {key: [str(value) for value in values] for key, values in given.items() if values}
    is_told = bool(uid or conditions.keys() - {"bpf"} or select == "all")
    if record is None and len(records) == 1:
        record = records[0]
    if record is None and not is_told:
        raise ValueError("say which of the records of the call is meant, as record")
    fields, event, ts_ns = _about(record)
    return PacketRequest(
        fields=fields,
        event=event,
        select=select,
        uid=uid,
        conditions=conditions,
        from_ns=_time("start", start),
        to_ns=_time("end", end),
        ts_ns=ts_ns,
        before_ns=_span("before", before),
        after_ns=_span("after", after),
        is_waiting=wait,
        recorder=recorder,
        path=checked_path(path),
        max_bytes=int(Size.parse(max_size) if isinstance(max_size, str) else Size.count(max_size)),
    )


def _about(record: Any) -> tuple[bytes, bytes, int | None]:
    """What of a record is needed to know its packets: of a log's the fields, of an event's the arguments and time."""
    if record is None:
        return b"", b"", None
    if not isinstance(record, Mapping):
        raise TypeError(f"a record is a mapping, not a {type(record).__name__}")
    args = record.get("args")
    if "name" in record and isinstance(args, Sequence) and not isinstance(args, str):
        return b"", encode_message(Event.make("e", *args)), round(record.get("ts", 0) * 1e9)
    return msgspec.json.encode({key: record[key] for key in _FIELDS if key in record}), b"", None


def _time(name: str, value: Time | None) -> int | None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} has no time zone")
        value = value.timestamp()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is seconds since the epoch or a datetime, not a {type(value).__name__}")
    if not 0 <= value < 1 << 33:
        raise ValueError(f"{name} is no time: {value}")
    return round(value * 1e6) * 1000


def _span(name: str, value: Span) -> int:
    if isinstance(value, str):
        return int(Duration.parse(value))
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is seconds, a timedelta or a text, not a {type(value).__name__}")
    if not 0 <= value < 1 << 33:
        raise ValueError(f"{name} is no length of time: {value}")
    return round(value * 1e9)


def checked_path(path: str) -> str:
    """A path below the hook's folder, and none of our own.

    Raises:
        ValueError: it is none.
    """
    pure = PurePath(path)
    if pure.is_absolute() or ".." in pure.parts or any(part.startswith(".") for part in pure.parts) or "\0" in path:
        raise ValueError(f"{path!r} is not below the hook's folder")
    return path
