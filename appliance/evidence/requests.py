"""Events that ask for packets, and the event that answers. Pure.

A request is ``BroAppliance::evidence_request(id, reason, what, before, after, recorder, answer_topic)``, the answer
``BroAppliance::evidence_ready(id, recorder, path, packets, bytes, is_complete, missing)``; see
``conf/zeek/broappliance-evidence.zeek`` and docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appliance.zeek.convert import to_text
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import PROTOCOLS, Address, Count, EnumValue, Port, Timespan, Timestamp, Value, Vector

from .jobs import Asked
from .selection import Ends, Wanted, address_text, community, proto_of
from .uids import MAX_UID

__all__ = ["ANSWER", "ANSWER_TOPIC", "REQUEST", "REQUEST_TOPIC", "Answer", "Request", "parse_asker", "parse_request"]

REQUEST = "BroAppliance::evidence_request"
ANSWER = "BroAppliance::evidence_ready"
REQUEST_TOPIC = "zeek/cluster/time_machine"
"""``Cluster::time_machine_topic`` of Zeek up to 7.0; a text like any other since."""
ANSWER_TOPIC = "zeek/event/broappliance/evidence"
MAX_TEXT = 1024
"""Bytes of each text in a request; what is longer is cut."""
_KINDS: dict[str, Wanted] = {"conn": "conn", "pair": "pair", "host": "host", "all": "all"}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for."""

    id: str
    """His own name for it, which comes back with the answer."""
    reason: str
    select: Wanted
    ends: Ends
    ts_ns: int | None
    """When it happened; None: when the request came."""
    before_ns: int | None
    """None: as the table says."""
    after_ns: int | None
    recorder: str
    """Empty: any."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request."""

    id: str
    recorder: str
    path: str
    """Of the PCAP; empty if there is none."""
    packets: int
    size: int
    """Bytes of it."""
    is_complete: bool
    missing: tuple[str, ...]
    """What is missing and why, one text each."""

    @classmethod
    def refusal(cls, request: str, recorder: str, reason: str) -> Answer:
        """There are no packets for it, because it was refused."""
        return cls(id=request, recorder=recorder, path="", packets=0, size=0, is_complete=False, missing=(reason,))

    def encode(self) -> bytes:
        """As a message for peers."""
        texts = Vector(text.encode() for text in self.missing)
        args: list[Value] = [self.id.encode(), self.recorder.encode(), self.path.encode("utf-8", "surrogateescape")]
        args += [Count(self.packets), Count(self.size), self.is_complete, texts]
        return encode_message(Event.make(ANSWER, *args))


def parse_request(args: Sequence[Any]) -> Request | None:
    """A request of an event's arguments; None: it is none. Arguments that are missing at the end are not given."""
    given: list[Any] = [*args[:6], *[None] * (6 - len(args))]
    id_, reason, what, before, after, recorder = given
    if not isinstance(id_, bytes) or not isinstance(what, Vector) or not what:
        return None
    fields: list[Any] = [*what[:8], *[None] * (8 - len(what))]
    select, ts, orig_h, orig_p, resp_h, resp_p, uid, community_id = fields
    kind = _KINDS.get(_text(select.name if isinstance(select, EnumValue) else select).rpartition("::")[2].lower())
    if kind is None:
        return None
    ends = _ends(orig_h, orig_p, resp_h, resp_p)
    return Request(
        id=_text(id_),
        reason=_text(reason),
        select=kind,
        ends=ends._replace(uid=_text(uid)[:MAX_UID], community_id=community(_text(community_id))),
        ts_ns=ts.ns if isinstance(ts, Timestamp) and ts.ns > 0 else None,
        before_ns=_span(before),
        after_ns=_span(after),
        recorder=_text(recorder),
    )  # fmt: skip


def parse_asker(args: Sequence[Any]) -> Asked | None:
    """Who is to be answered, whatever else is wrong with his request; None: he does not say."""
    if not args or not isinstance(args[0], bytes):
        return None
    return Asked(_text(args[0]), (_text(args[6]) if len(args) > 6 else "") or ANSWER_TOPIC)


def _ends(orig_h: Any, orig_p: Any, resp_h: Any, resp_p: Any) -> Ends:
    """Of one or two ends, whichever are given."""
    source = address_text(orig_h) if isinstance(orig_h, Address) else None
    target = address_text(resp_h) if isinstance(resp_h, Address) else None
    if source is None or target is None or (":" in source) != (":" in target):
        return Ends(src=source or target)
    if isinstance(orig_p, Port) and isinstance(resp_p, Port):
        return Ends(source, orig_p.number, target, resp_p.number, proto_of(PROTOCOLS[orig_p.protocol], source))
    return Ends(src=source, dst=target)


def _text(value: object) -> str:
    """Printable, whatever bytes were sent."""
    return to_text(value)[:MAX_TEXT] if isinstance(value, bytes | str) else ""


def _span(value: object) -> int | None:
    return value.ns if isinstance(value, Timespan) and value.ns >= 0 else None
