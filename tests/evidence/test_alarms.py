"""From records to alarms, whatever the records hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Evidence
from appliance.evidence.alarms import MAX_RECORD, Refused, make_alarm
from appliance.evidence.jobs import Alarm, Job
from appliance.evidence.note import job_note
from appliance.evidence.state import pack
from appliance.evidence.times import parse_span, parse_time
from appliance.model import LogBatch

from .harness import A, B, S, T

CONFIG = Evidence(name="n", on=("log:*",), recorder="edge")
BATCH = LogBatch(path="notice", source="zmq.a", data=b"{}\n", count=1)


def keep(alarm: Alarm) -> bytes:
    """As it is written down, and told."""
    job = Job(id=1, selection=alarm.selection, ts_ns=alarm.ts_ns, from_ns=alarm.from_ns, to_ns=alarm.to_ns, began_ns=T,
              shown=[alarm.shown])  # fmt: skip
    note = job_note(job, evidence="n", recorder="edge", pcap=None, size=0, is_complete=True, now_ns=T)
    assert pack(job)
    return msgspec.json.encode(note)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ["ts", "duration", "id.orig_h", "id.resp_h", "id.orig_p", "id.resp_p", "uid", "src", "note", "proto"]


@given(st.dictionaries(st.sampled_from(FIELDS), plain))
def test_any_record_can_be_kept(record: dict[str, Any]) -> None:
    """Numbers of any size, and fields of any type."""
    alarm = make_alarm(CONFIG, BATCH, record | {"dst": A}, T)
    assert isinstance(alarm, Alarm)
    assert 0 <= alarm.from_ns < alarm.to_ns <= alarm.ts_ns + int(CONFIG.max_span) + 1
    keep(alarm)


@pytest.mark.parametrize("number", [10**30, -(10**30), 10**400, float("inf")])
def test_numbers_that_nobody_else_can_read(number: float) -> None:
    """The note shows them or, if it cannot be, no record."""
    alarm = make_alarm(CONFIG, BATCH, {"dst": A, "x": number, "ts": number, "duration": number}, T)
    assert isinstance(alarm, Alarm)
    assert alarm.ts_ns == T
    msgspec.json.decode(keep(alarm))


def test_large_record_is_not_shown() -> None:
    """Its size is."""
    alarm = make_alarm(CONFIG, BATCH, {"dst": A, "x": "x" * MAX_RECORD}, T)
    assert isinstance(alarm, Alarm)
    assert msgspec.json.decode(alarm.shown.record)["too_large"] > MAX_RECORD


def test_record_with_a_duration_ends_with_it() -> None:
    """As that of a connection, whose `ts` is its beginning; no file is longer than allowed."""
    conn = {"id.orig_h": A, "id.resp_h": B, "ts": T / S}
    alarm = make_alarm(CONFIG, BATCH, conn | {"duration": 100.0}, T)
    assert isinstance(alarm, Alarm)
    assert (alarm.from_ns, alarm.to_ns) == (T - 60 * S, T + 130 * S + 1)
    alarm = make_alarm(CONFIG, BATCH, conn | {"duration": 1e6}, T)
    assert isinstance(alarm, Alarm)
    assert alarm.to_ns == T + 3600 * S + 1


def test_what_cannot_be_decoded_is_refused() -> None:
    """And booked so."""
    assert make_alarm(CONFIG, BATCH, None, T) == Refused("undecodable", T)


@given(plain)
def test_any_value_is_a_time_or_none(value: Any) -> None:
    """In 64 bits."""
    assert 0 <= (parse_time(value) or 0) < 1 << 63
    assert 0 <= parse_span(value) < 1 << 63
