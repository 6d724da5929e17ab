"""What a worker process says, and what is made of it; no process takes part."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
import structlog
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict

from appliance.errors import RemoteProtocolError
from appliance.hooks import printed
from appliance.hooks.failure import OverdueError
from appliance.hooks.frames import MAX_FRAME, FrameDecoder, frame
from appliance.hooks.messages import Broken, Done, Failed, Ready, Told, Undecodable, decode_from_worker, encode
from appliance.hooks.printed import BURST_BYTES, BYTES_PER_S, LINE_BYTES, Allowance, OutputLog
from appliance.hooks.progress import Progress
from appliance.hooks.round import Round
from appliance.runtime.journal.entries import Failure

BOOM = Failure(reason="hook_error", error="boom")
CRASH = Failure(reason="crash", error="gone")

# ── frames ──


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30), min_size=1))
def test_frames_come_out_as_they_went_in(bodies: list[bytes], cuts: list[int]) -> None:
    """However the stream is cut."""
    stream = b"".join(map(frame, bodies))
    decoder, found = FrameDecoder(), []
    for n in range(len(stream)):
        size = cuts[n % len(cuts)]
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == bodies


def test_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    """What came before it comes out; then nothing does any more."""
    decoder = FrameDecoder(max_frame=3)
    assert decoder.feed(frame(b"abc") + frame(b"abcd")) == [b"abc"]
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="more than 3 bytes"):
            decoder.feed(frame(b"a"))
    with pytest.raises(RemoteProtocolError):
        FrameDecoder().feed((MAX_FRAME + 1).to_bytes(4))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    """With the one error that there is for it."""
    try:
        decode_from_worker(body)
    except RemoteProtocolError:
        return
    assert body[:1] >= b"\x90"


@pytest.mark.parametrize(
    "message",
    [Ready(), Broken("no"), Failed(3, BOOM), Undecodable(1, 2), Done(2, [5, 6], True), Told("x", [1])],
)
def test_messages_survive_the_way(message: object) -> None:
    """What is decoded is what was encoded."""
    assert decode_from_worker(encode(message)) == message


# ── rounds ──


def make_round(*sizes: int) -> tuple[Round, set[int]]:
    """Calls of so many records; every second position is left out."""
    undecodable = set[int]()
    at, calls = 0, []
    for size in sizes:
        calls.append(range(at, at + 2 * size, 2))
        at += 2 * size
    return Round(calls, undecodable), undecodable


def test_worker_that_is_done_tells_all() -> None:
    """Calls that it does not speak of ended well; those that it has not made have no outcome."""
    current, undecodable = make_round(1, 1, 2, 1)
    current.hear(Failed(1, BOOM))
    current.hear(Undecodable(2, 1))
    assert not current.is_done
    current.hear(Done(3, [1, 2, 3]))
    assert current.is_done
    assert current.over.is_set()
    assert current.outcomes() == [None, BOOM, None]
    assert undecodable == {6}
    assert current.durations_ns == [1, 2, 3]


@pytest.mark.parametrize(
    "messages",
    [
        [Failed(4, BOOM)],
        [Failed(-1, BOOM)],
        [Failed(1, BOOM), Failed(1, BOOM)],
        [Failed(1, BOOM), Undecodable(1, 0)],
        [Undecodable(0, 1)],
        [Undecodable(0, -1)],
        [Undecodable(9, 0)],
        [Done(0, [])],
        [Done(5, [1] * 5)],
        [Done(2, [1])],
        [Done(2, [1, -1])],
        [Failed(1, BOOM), Done(1, [1])],
        [Done(1, [1]), Done(1, [1])],
        [Done(1, [1]), Failed(2, BOOM)],
    ],
)
def test_what_cannot_be_is_refused(messages: Sequence[Failed | Undecodable | Done]) -> None:
    """Numbers beyond the work, going back, more after the end."""
    current, _ = make_round(1, 1, 2, 1)
    for message in messages[:-1]:
        current.hear(message)
    with pytest.raises(RemoteProtocolError):
        current.hear(messages[-1])


@pytest.mark.parametrize(
    ("begun", "ended", "failed", "expected"),
    [
        (0, 0, None, []),
        (1, 0, None, [CRASH]),
        (2, 1, None, [None, CRASH]),
        (2, 2, None, [None, None]),
        (2, 2, 1, [None, BOOM]),
        (2, 1, 1, [None, BOOM]),
        (3, 2, 1, [None, BOOM, CRASH]),
        (4, 4, None, [None] * 4),
        (4, 3, 3, [None, None, None, BOOM]),
    ],
)
def test_worker_that_is_gone_costs_the_call_that_it_was_in(
    begun: int, ended: int, failed: int | None, expected: list[Failure | None]
) -> None:
    """One whose failure was told is not charged again; between two calls nobody is."""
    current, _ = make_round(1, 1, 2, 1)
    if failed is not None:
        current.hear(Failed(failed, BOOM))
    assert current.outcomes_without_end(begun, ended, CRASH) == expected


def test_call_that_we_end_ourselves_is_made_again() -> None:
    """Without a cause there is no outcome for it; with another cause that is it."""
    overdue = OverdueError("late")
    assert make_round(1, 1)[0].outcomes_without_end(2, 1, None) == [None]
    assert make_round(1, 1)[0].outcomes_without_end(2, 1, overdue) == [None, overdue]


# ── progress ──


def test_progress_is_seen_from_the_other_side() -> None:
    """Whatever is written there, it makes sense."""
    memory = Progress.make_memory()
    here, there = Progress(memory), Progress(memory)
    os.close(memory)
    assert here.read(5) == (0, 0, 0)
    there.begin(2, 1234)
    assert here.read(5) == (3, 0, 1234)
    there.end(2)
    assert here.read(5) == (3, 3, 1234)
    assert here.read(2) == (2, 2, 1234)
    there.end(1 << 40)
    assert here.read(5) == (3, 3, 1234)
    here.reset()
    assert there.read(5) == (0, 0, 0)


# ── what is printed ──


async def printed_by(data: bytes, *, allowance: Allowance | None = None) -> tuple[list[EventDict], OutputLog]:
    """The lines of the log for what was written to the pipe and closed."""
    there, here = os.pipe()
    with capture_logs() as lines:
        output = OutputLog(there, log=structlog.get_logger(), allowance=allowance or Allowance())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run)
            async with trio.lowlevel.FdStream(here) as stream:
                await stream.send_all(data)
        output.drain()
    os.close(there)
    return lines, output


async def test_lines_come_whole(autojump_clock: trio.testing.MockClock) -> None:
    """Also the last one, without its end; bytes that are no text are escaped."""
    lines, output = await printed_by(b"one\n\ntwo \xff\nthree")
    assert [line["text"] for line in lines] == ["one", "two \\xff", "three"]
    assert output.tail == "one\n\ntwo \\xff\nthree"


async def test_line_without_an_end_is_cut(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, nothing is lost."""
    monkeypatch.setattr(printed, "READ_BYTES", 1000)
    lines, _ = await printed_by(b"x" * 3500 + b"\n" + b"y" * 2000)
    assert [len(line["text"]) for line in lines] == [1000, 1000, 1000, 500, 1000, 1000]


async def test_log_gets_no_more_than_it_bears(autojump_clock: trio.testing.MockClock) -> None:
    """What is left out is counted, and told with the next line."""
    allowance = Allowance()
    began = trio.current_time()
    lines, _ = await printed_by(b"12345678\n" * 1_000_000, allowance=allowance)
    took_s = trio.current_time() - began
    assert 0 < len(lines) * (LINE_BYTES + 8) <= 1.1 * (BURST_BYTES + BYTES_PER_S * took_s)
    told = sum(line.get("left_out_bytes", 0) for line in lines)
    # The end of a line that is written is not counted among what is left out.
    assert told + allowance.refused + 9 * len(lines) == pytest.approx(9_000_000, abs=10 * len(lines))
    assert told + allowance.refused > 8_000_000


def test_nothing_of_the_worker_is_heavy() -> None:
    """Its module needs no loop, no log library, no network: a worker starts in a moment."""
    program = "import sys, appliance.hooks.worker; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"trio", "structlog", "zmq", "logging", "asyncio", "rule_engine", "appliance._native"} & set(found)
