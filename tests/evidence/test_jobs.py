"""What is pending: joined, limited, covered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.evidence.jobs import (
    MAX_SHOWN,
    Alarm,
    Asked,
    Desk,
    Limits,
    Missing,
    Shown,
    Span,
    cover,
    merge_missing,
    uncovered,
)
from appliance.evidence.selection import Selection

S = 10**9
MINUTE = 60 * S


def alarm(host: int = 1, *, ts: int = 100 * S, before: int = 10 * S, after: int = 5 * S, ask: str = "") -> Alarm:
    """One about a host."""
    return Alarm(
        selection=Selection(select="host", hosts=(f"10.0.{host // 256}.{host % 256}",)), ts_ns=ts, from_ns=ts - before,
        to_ns=ts + after, shown=Shown("log:notice", "zmq.a", ts, "{}"), asked=Asked(ask, "t") if ask else None,
    )  # fmt: skip


def desk(*, pending: int = 100, rate: int = 100, span: int = 100 * S) -> Desk:
    return Desk(Limits(pending, rate, span))


def test_alarms_about_the_same_packets_are_joined() -> None:
    """The file grows with each of them, to both sides."""
    d = desk()
    job, outcome = d.admit(alarm(), 100 * S, 1)
    assert (outcome, job and (job.from_ns, job.to_ns)) == ("begun", (90 * S, 105 * S))
    assert d.admit(alarm(ts=104 * S), 104 * S, 2) == (job, "joined")
    assert d.admit(alarm(ts=99 * S), 104 * S, 2) == (job, "joined")
    assert job is not None
    assert (job.from_ns, job.to_ns, job.alarms, len(d.jobs)) == (89 * S, 109 * S, 3, 1)
    assert d.admit(alarm(2), 104 * S, 2)[1] == "begun"


def test_what_does_not_meet_is_not_joined() -> None:
    """An alarm of yesterday about the same host is a file of its own, and so is one beyond the longest span."""
    d = desk()
    d.admit(alarm(), 100 * S, 1)
    assert d.admit(alarm(ts=20 * S), 100 * S, 2)[1] == "begun"
    assert len(d.jobs) == 2
    d = desk(span=20 * S)
    outcomes = [d.admit(alarm(ts=100 * S + i * S), 100 * S, i)[1] for i in range(10)]
    assert outcomes == ["begun", *["joined"] * 5, "begun", *["joined"] * 3]


def test_what_is_being_finished_takes_no_more() -> None:
    """The next alarm begins another file."""
    d = desk()
    job, _ = d.admit(alarm(), 100 * S, 1)
    assert job is not None
    d.close(job)
    assert d.admit(alarm(), 100 * S, 2)[1] == "begun"
    d.remove(job)
    assert list(d.jobs) == [2]


def test_a_scan_is_limited_by_rate_and_number() -> None:
    """Ten thousand alarms begin no more files than allowed; those that join cost nothing."""
    d = desk(pending=1000, rate=60)
    outcomes = [d.admit(alarm(i), 100 * S, i)[1] for i in range(1, 10_001)]
    assert (outcomes.count("begun"), outcomes.count("rate_limit")) == (60, 9940)
    assert d.admit(alarm(1), 100 * S, 0)[1] == "joined"
    assert d.admit(alarm(20_000), 100 * S + MINUTE // 60, 0)[1] == "begun"
    assert d.admit(alarm(20_001), 100 * S + MINUTE // 60, 0)[1] == "rate_limit"
    d = desk(pending=10, rate=60)
    outcomes = [d.admit(alarm(i), 100 * S, i)[1] for i in range(1, 101)]
    assert (outcomes.count("begun"), outcomes.count("too_many_pending")) == (10, 90)


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    """Of what may be begun."""
    d = desk(rate=2)
    assert [d.admit(alarm(i), now, i)[1] for i, now in ((1, 100 * S), (2, 50 * S), (3, 60 * S))][2] == "rate_limit"


def test_notes_are_bounded() -> None:
    """All alarms are counted, the first ones shown, all requests answered."""
    d = desk()
    for i in range(MAX_SHOWN + 50):
        job, _ = d.admit(alarm(ask=f"r{i}"), 100 * S, 1)
    assert job is not None
    assert (job.alarms, len(job.shown), len(job.asked)) == (MAX_SHOWN + 50, MAX_SHOWN, MAX_SHOWN + 50)


spans = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair) + 1))


@given(st.lists(spans, max_size=8), spans)
def test_spans_are_as_sets_of_moments(parts: list[Span], wanted: Span) -> None:
    """Covered and uncovered ones, against the plain definition."""
    covered: list[Span] = []
    for part in parts:
        covered = cover(covered, part)
    moments = {moment for begin, end in parts for moment in range(begin, end)}
    assert {moment for begin, end in covered for moment in range(begin, end)} == moments
    assert all(left[1] < right[0] for left, right in zip(covered, covered[1:], strict=False))
    left = uncovered(*wanted, covered)
    assert {moment for begin, end in left for moment in range(begin, end)} == set(range(*wanted)) - moments


def test_one_gap_seen_by_several_stages_is_told_once() -> None:
    """Its packets are not counted twice; two gaps that do not meet stay two."""
    seen = [
        Missing("kernel", 5, 9, 3),
        Missing("kernel", 9, 12, 3),
        Missing("kernel", 20, 22, 3),
        Missing("down", 1, 5),
    ]
    assert merge_missing(seen) == [Missing("down", 1, 5), Missing("kernel", 5, 12, 3), Missing("kernel", 20, 22, 3)]
