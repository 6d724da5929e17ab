"""From records to alarms: which packets, from when to when. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.config import Evidence
from appliance.model import EventBatch, Item
from appliance.zeek.convert import to_text
from appliance.zeek.events import plain_args

from .jobs import Alarm, Asked, Shown
from .requests import REQUEST, Request, parse_asker, parse_request
from .selection import Ends, Wanted, choose, ends_of_event, ends_of_record, flows_of
from .times import parse_span, parse_time

__all__ = ["Refused", "alarm_of", "make_alarm"]

AHEAD_NS = 60 * 10**9
"""How far the clock of whoever wrote a record may be ahead; what is later counts as of now."""
MAX_RECORD = 64 << 10
"""Bytes of a record in a note."""


class Refused(msgspec.Struct, frozen=True):
    """A record that is no alarm."""

    reason: str
    ts_ns: int
    asked: Asked | None = None


def make_alarm(config: Evidence, item: Item, record: Mapping[str, Any] | None, now_ns: int) -> Alarm | Refused:
    """What one record of an item asks for.

    Args:
        config: how much before and after it, and which packets.
        item: that the record is in.
        record: decoded, that of an event typed; None: it cannot be.
        now_ns: wall clock.
    """
    if record is None:
        return Refused("undecodable", now_ns)
    if not isinstance(item, EventBatch):
        ts_ns = _not_ahead(parse_time(record.get("ts")), now_ns)
        last_ns = ts_ns + parse_span(record.get("duration"))
        shown = _show(item, ts_ns, record)
        return alarm_of(config, shown, last_ns, ends_of_record(record), config.select)
    plain = plain_args({**record, "name": to_text(item.name), "topic": to_text(item.topic)})
    ts_ns = _not_ahead(parse_time(record["ts"]), now_ns)
    if item.name == REQUEST:
        request, asker = parse_request(record["args"]), parse_asker(record["args"])
        return _alarm_of_request(config, item, request, asker, plain, now_ns)
    shown = _show(item, ts_ns, plain)
    return alarm_of(config, shown, ts_ns, ends_of_event(record["args"]), config.select)


def _alarm_of_request(
    config: Evidence,
    item: EventBatch,
    request: Request | None,
    asker: Asked | None,
    plain: Mapping[str, Any],
    now_ns: int,
) -> Alarm | Refused:
    if request is None:
        return Refused("bad_request", now_ns, asker)
    ts_ns = _not_ahead(request.ts_ns, now_ns)
    if request.recorder not in ("", config.recorder):
        return Refused("other_recorder", ts_ns)
    return alarm_of(
        config,
        _show(item, ts_ns, plain),
        ts_ns,
        request.ends,
        request.select,
        before_ns=request.before_ns,
        after_ns=request.after_ns,
        asked=asker,
    )


def alarm_of(
    config: Evidence,
    shown: Shown,
    last_ns: int,
    ends: Ends,
    wanted: Wanted,
    *,
    before_ns: int | None = None,
    after_ns: int | None = None,
    asked: Asked | None = None,
) -> Alarm | Refused:
    """What asks for some packets around a time; refused if it names none.

    Args:
        config: the table.
        shown: the alarm, with its time.
        last_ns: the end of what it tells of.
        ends: who is named.
        wanted: which packets.
        before_ns: instead of what the table says, as `after_ns`.
        asked: who gets an answer.
    """
    ts_ns, limit_ns = shown.ts_ns, int(config.max_span)
    selection = choose(ends, wanted)
    if selection is None:
        return Refused("no_selection", ts_ns, asked)
    before_ns = min(int(config.before) if before_ns is None else before_ns, limit_ns)
    after_ns = int(config.after) if after_ns is None else after_ns
    return Alarm(
        selection=selection,
        ts_ns=ts_ns,
        from_ns=max(0, ts_ns - before_ns),
        to_ns=min(last_ns + after_ns, ts_ns + limit_ns) + 1,
        shown=shown,
        asked=asked,
        flows=flows_of(ends),
    )


def _not_ahead(ts_ns: int | None, now_ns: int) -> int:
    return now_ns if ts_ns is None or ts_ns > now_ns + AHEAD_NS else ts_ns


def _show(item: Item, ts_ns: int, record: Mapping[str, Any]) -> Shown:
    try:
        text = msgspec.json.encode(record)
    except (ValueError, OverflowError, RecursionError):  # numbers or depths that are read and not written
        text = b"null"
    if len(text) > MAX_RECORD:
        text = b'{"too_large":%d}' % len(text)
    return Shown(f"{item.kind}:{to_text(item.name)}", item.source, ts_ns, text.decode())
