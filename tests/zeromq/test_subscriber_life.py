"""The log subscriber over time: bursts, order, gaps, slow consumers, stops, crashes, dead and hostile writers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import structlog.testing
import trio

from appliance.native import LogIntake, ZmqDrain
from appliance.runtime.backoff import Backoff
from appliance.runtime.supervisor import Supervisor
from appliance.units import Duration
from appliance.zeromq import listener
from appliance.zeromq import subscriber as module

from .harness import Door, Writer, go_deaf, open_door, open_writer, raw_peer, row, run_door, shake_hands, wait_until

MS = 1_000_000

# ── order and completeness ──


@pytest.mark.slow
async def test_a_burst_below_the_writers_limit_arrives_whole() -> None:
    """100,000 records at full speed, none lost, in order."""
    total = 100_000
    async with open_door() as door, open_writer(door.endpoint, hwm=total) as writer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                trio.to_thread.run_sync, lambda: writer.send("conn", *(row(i) for i in range(1, total + 1)))
            )
        books = await door.wait_received(total)
        assert (books.delivered, books.dropped) == (total, {})
        assert await door.rows("conn") == [row(i) for i in range(1, total + 1)]
        assert (door.figures.missing, door.figures.unseen) == (0, 0)


async def test_order_holds_for_each_path_and_node() -> None:
    """However paths, nodes and writers are mixed, the rows of one stay in order."""
    async with open_door() as door, open_writer(door.endpoint) as one, open_writer(door.endpoint) as two:
        for i in range(3000):
            one.send("conn", row(node="a", i=i))
            one.send("dns", row(node="a", i=i))
            two.send("conn", row(node="b", i=i))
        await door.wait_received(9000)
        assert await door.rows("conn", "a") == [row(node="a", i=i) for i in range(3000)]
        assert await door.rows("dns", "a") == [row(node="a", i=i) for i in range(3000)]
        assert await door.rows("conn", "b") == [row(node="b", i=i) for i in range(3000)]


async def test_the_last_message_of_each_wave_wakes_us() -> None:
    """The descriptor tells of news only; many small waves with pauses in between all arrive."""
    async with open_door() as door, open_writer(door.endpoint) as writer:
        sent = 0
        for wave in range(60):
            writer.send("conn", *[row(wave)] * (wave % 3 + 1))
            sent += wave % 3 + 1
            await door.wait_received(sent)


# ── gaps ──


async def test_gaps_are_counted_for_each_path_and_node() -> None:
    """Skipped numbers are missing, numbers before the first are unseen, a counter that begins again is a restart."""
    async with open_door() as door, open_writer(door.endpoint) as writer:
        writer.send("conn", row(1, "a"), row(2, "a"), row(5, "a"))  # 3 and 4 missing
        writer.send("conn", row(4, "b"), row(5, "b"))  # 1 to 3 unseen; another node
        writer.send("dns", row(1), row(2), row(4))  # 3 missing; no node
        writer.send("http", row(i=1), row(i=2))  # without numbers
        await door.wait_received(10)
        figures = door.figures
        assert (figures.missing, figures.unseen, figures.restarts) == (3, 3, 0)
        writer.send("conn", row(1, "a"), row(2, "a"), row(3, "b"))
        await door.wait_received(13)
        figures = door.figures
        assert (figures.missing, figures.unseen, figures.restarts) == (3, 5, 2)
        assert door.books.dropped == {}


async def test_a_gap_is_logged() -> None:
    """Not later than when the service ends, with how many and what to do."""
    with structlog.testing.capture_logs() as logs:
        async with open_door() as door, open_writer(door.endpoint) as writer:
            writer.send("conn", row(1))
            await door.wait_received(1)
            writer.send("conn", row(9))
            await door.wait_received(2)
    assert [(entry["door"], entry["missing"]) for entry in logs] == [("zmq.bro", 7)]
    assert "zmq_hwm" in logs[0]["hint"]


# ── slow consumers ──


async def test_a_consumer_that_hangs_holds_the_door_for_a_while_only() -> None:
    """With policy block and nothing taken, the door waits `max_wait` once; then the consumer's records are dropped."""
    limits = {"max_records": 10, "max_bytes": 1 << 20}
    async with open_door(policy="block", limits=limits, max_wait=Duration(200 * MS)) as door:

        def settled() -> int:
            return door.queue.account.dropped.get("stalled", 0) + door.queue.waiting

        async with open_writer(door.endpoint) as writer:
            began = trio.current_time()
            writer.send("conn", *(row(i) for i in range(100)))
            writer.send("dns", *(row(i) for i in range(100)))
            await wait_until(lambda: settled() == 200)
            assert 0.2 <= trio.current_time() - began < 2
            began = trio.current_time()
            writer.send("conn", *(row(i) for i in range(100, 200)))
            await wait_until(lambda: settled() == 300)
            assert trio.current_time() - began < 0.2
        assert door.books.delivered == 300
        assert door.queue.account.dropped["stalled"] >= 200


@pytest.mark.slow
async def test_a_writer_that_is_held_back_keeps_its_connection_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a consumer is slow for longer than a dead writer is tolerated, the writer waits and nothing is lost."""
    total = 60_000
    limits = {"max_records": 50, "max_bytes": 1 << 20}
    monkeypatch.setattr(module, "BATCH", 50)
    async with (
        trio.open_nursery() as nursery,
        open_door(policy="block", limits=limits, hwm=100, heartbeat=Duration(100 * MS)) as door,
        open_writer(door.endpoint) as writer,
    ):
        writer.send("conn", *(row(i, x="x" * 1000) for i in range(1, total + 1)))
        await wait_until(lambda: door.queue.waiting == 50)
        for _ in range(4):  # it is read, but less often than a writer has to show a sign of life
            await trio.sleep(0.5)
            await door.take()
        nursery.start_soon(door.run_consumer)
        await door.wait_received(total, timeout_s=30)
        figures = door.figures
        assert (figures.missing, figures.restarts, figures.writers.accepted) == (0, 0, 1)
        await wait_until(lambda: door.queue.account.delivered == total)
        nursery.cancel_scope.cancel()


# ── stop and cancellation ──


async def test_a_stop_takes_in_what_has_arrived() -> None:
    """What a writer had sent before it left is handed on, also if the stop comes first."""
    async with open_door() as door:
        async with open_writer(door.endpoint) as writer:
            writer.send("conn", *(row(i) for i in range(1, 20_001)))
        await wait_until(lambda: door.figures.writers.disconnected == 1)
        await door.stop()
        assert (door.books.received, door.books.delivered) == (20_000, 20_000)


async def test_a_stop_before_the_start_ends_it_at_once() -> None:
    """The service comes up, finds nothing, and ends."""
    door = Door()
    door.subscriber.stop()
    with trio.fail_after(5):
        await door.subscriber.run()


@pytest.mark.slow
async def test_a_stop_does_not_follow_an_endless_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the writers are cut; all that had arrived is handed on, and the end comes."""
    monkeypatch.setattr(listener, "STOP_PATIENCE_S", 0.2)
    monkeypatch.setattr(module, "BATCH", 100)
    door = Door(hwm=5000)
    dispatch = door.dispatcher.dispatch

    async def slow_dispatch(*args: object, **kwargs: object) -> None:
        await dispatch(*args, **kwargs)  # type: ignore[arg-type]
        await trio.sleep(0.005)  # 20,000 records a second, less than any writer sends

    monkeypatch.setattr(door.dispatcher, "dispatch", slow_dispatch)
    async with run_door(door):
        with publisher(door.endpoint, "while True: k.send_multipart([b'conn', b'{}'])"):
            await wait_until(lambda: door.books.received > 2000)
            began = trio.current_time()
            await door.stop()
            assert 0.2 <= trio.current_time() - began < 3
    assert door.books.received == door.books.delivered


async def test_cancellation_within_a_dispatch_books_everything() -> None:
    """What was received and not handed on is dropped for shutdown, in the door's books or the consumer's."""
    door = Door(policy="block", limits={"max_records": 5, "max_bytes": 1 << 20})
    consumer = door.queue.account
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: door.subscriber.run(task_status=task_status))
        async with open_writer(door.endpoint) as writer:
            for i in range(300):
                writer.send(f"path_{i % 30}", row(i))
            await wait_until(lambda: door.books.queued > 0 and consumer.queued > door.queue.waiting)
            nursery.cancel_scope.cancel()
    books, theirs = door.books, consumer.statistics()
    assert books.dropped["shutdown"] > 0
    assert books.received == books.delivered + books.dropped["shutdown"]
    assert theirs.received == books.delivered == theirs.queued + theirs.dropped["shutdown"]
    assert (books.queued, theirs.queued) == (0, door.queue.waiting)
    assert not door.account._holders


# ── restarts ──


async def test_a_restarted_writer_is_a_new_writer() -> None:
    """It connects again and its records go on."""
    async with open_door() as door:
        for run in range(3):
            async with open_writer(door.endpoint) as writer:
                writer.send("conn", row(1, run=run), row(2, run=run))
                await door.wait_received(2 * run + 2)
        assert [door.figures.restarts, door.figures.missing, door.figures.unseen] == [2, 0, 0]
        await wait_until(lambda: door.figures.writers.disconnected == 3)


async def test_a_restarted_appliance_is_found_by_the_writer(tmp_path: Path) -> None:
    """The writer goes on; what it numbered meanwhile and could not send shows as unseen."""
    bind = (f"ipc://{tmp_path}/logs.sock",)
    async with open_door(bind=bind) as door:
        writer = Writer(door.endpoint, hwm=1)
        await writer.wait_subscribed()
        writer.send("conn", row(1))
        await door.wait_received(1)
    numbers = count(2)
    writer.send("conn", *(row(next(numbers)) for _ in range(50)))
    async with open_door(bind=bind) as door:

        def is_back() -> bool:
            writer.send("conn", row(next(numbers)))
            return door.books.received >= 10

        await wait_until(is_back)
        writer.close()
        await wait_until(lambda: door.figures.writers.disconnected == 1)
    [counter] = door.subscriber._intake.sequences()
    assert counter.unseen + counter.missing + door.books.received == counter.last == next(numbers) - 1
    assert counter.unseen + counter.missing >= 40


class Faulty:
    """A drain that fails once, in the middle of a stream."""

    def __init__(self, fail_after: int) -> None:
        self._drain, self._left, self.failed = ZmqDrain(), fail_after, False

    def drain(self, pointer: int, intake: LogIntake, limit: int) -> tuple[int, bool]:
        if not self.failed and self._left <= 0:
            self.failed = True
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        received, is_empty = self._drain.drain(pointer, intake, limit)
        self._left -= received
        return received, is_empty


async def test_the_same_object_runs_again_after_a_crash(tmp_path: Path) -> None:
    """The supervisor starts it again, writers come back, no descriptor stays behind, the books balance."""
    door = Door(bind=(f"ipc://{tmp_path}/logs.sock",))
    door.subscriber._drain = Faulty(10)  # type: ignore[assignment]
    before = len(list(_descriptors()))
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(nursery, make_backoff=lambda: Backoff(first_s=0.01))
        handle = await supervisor.start("zmq.bro", door.subscriber)
        async with open_writer(door.endpoint) as writer:
            writer.send("conn", *(row(i) for i in range(1, 11)))
            await door.wait_received(10)
            writer.send("conn", row(11))
            await wait_until(lambda: handle.restarts == 1)
            await wait_until(lambda: door.figures.writers.connected == 1)
            await wait_until(lambda: _sent_and_received(door, writer))
        assert await handle.stop(5)
    assert door.books.lost == 0
    assert door.figures.writers.connected == 0
    assert len(list(_descriptors())) == before


def _sent_and_received(door: Door, writer: Writer) -> bool:
    writer.send("conn", row(12))
    return "conn" in door.figures.paths and door.books.received > 11


def _descriptors() -> Iterator[Path]:
    return Path("/proc/self/fd").iterdir()


# ── dead and hostile writers ──


@contextmanager
def publisher(endpoint: str, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A writer as a process of its own: `code` runs when the socket `k` is connected and subscribed to."""
    start = (
        f"import time, zmq; c = zmq.Context(); k = c.socket(zmq.XPUB); k.sndhwm = 0; k.connect({endpoint!r}); k.recv()"
    )
    process = subprocess.Popen([sys.executable, "-c", f"{start}\n{code}\nc.destroy(linger=5000)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_a_frame_of_100_megabytes_costs_its_sender_only() -> None:
    """It is neither stored nor received, the cut is counted and logged, another writer does not notice."""
    with structlog.testing.capture_logs() as logs:
        async with open_door() as door, open_writer(door.endpoint) as other:
            other.send("conn", row(1))
            await door.wait_received(1)
            peak = _peak_memory()
            with publisher(door.endpoint, "k.send_multipart([b'conn', bytes(100 << 20)]); k.recv()"):
                await wait_until(lambda: door.figures.writers.cut == 1)
            other.send("conn", row(2))
            await door.wait_received(2)
            writers = door.figures.writers
            assert (writers.connected, writers.failed) == (1, 0)
            assert _peak_memory() - peak < 20 << 20
            assert await door.rows("conn") == [row(1), row(2)]
    assert [(entry["door"], entry["largest"]) for entry in logs] == [("zmq.bro", 16 << 20)]


def _peak_memory() -> int:
    """The largest resident size of this process so far. Source: proc_pid_status(5), VmHWM."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.slow
async def test_a_writer_whose_machine_is_gone_is_no_longer_counted() -> None:
    """Its connection would stay open for ever otherwise."""
    async with open_door(heartbeat=Duration(200 * MS)) as door:
        with raw_peer(door.endpoint) as peer:
            shake_hands(peer)
            await wait_until(lambda: door.figures.writers.connected == 1)
            go_deaf(peer)
            await wait_until(lambda: door.figures.writers.disconnected == 1)


@pytest.mark.slow
async def test_a_writer_that_is_stopped_and_continued_loses_nothing() -> None:
    """As long as its machine answers, it is left in peace."""
    code = "\n".join(
        [
            "for i in range(1, 401):",
            "    k.send_multipart([b'conn', b'{\"_seq\":%d}' % i])",
            "    time.sleep(0.002)",
        ]
    )
    async with open_door(heartbeat=Duration(100 * MS)) as door:
        with publisher(door.endpoint, code) as process:
            await wait_until(lambda: door.books.received > 20)
            process.send_signal(signal.SIGSTOP)
            await trio.sleep(1.5)
            process.send_signal(signal.SIGCONT)
            await door.wait_received(400)
        assert (door.figures.missing, door.figures.unseen, door.figures.restarts) == (0, 0, 0)


HOSTILE: list[Callable[[Writer], object]] = [
    lambda w: w.sock.send(b""),
    lambda w: w.sock.send_multipart([b""] * 3000),
    lambda w: w.send("conn", b"{" * 5000),
    lambda w: w.sock.send_multipart([os.urandom(64), os.urandom(2000)]),
    lambda w: w.sock.send_multipart([b"conn", bytes(3 << 20)]),
]


async def test_garbage_from_one_writer_does_not_hurt_another() -> None:
    """Bad messages of every kind are counted; the other's records all arrive, in order."""
    async with open_door() as door, open_writer(door.endpoint) as bad, open_writer(door.endpoint) as good:
        for i in range(20):
            for send in HOSTILE:
                send(bad)
            good.send("conn", row(i + 1))
        books = await door.wait_received(20 * (len(HOSTILE) + 1))
        assert (books.delivered, books.refused, books.lost) == (20, 20 * len(HOSTILE), 0)
        assert await door.rows("conn") == [row(i + 1) for i in range(20)]
        assert door.figures.missing == 0
