"""Hooks in worker processes: whatever one does, only its own record suffers. Real processes."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from structlog.typing import EventDict

from appliance.config import Duration, Hook
from appliance.hooks import lanes
from appliance.hooks.callables import HookCallable
from appliance.hooks.filter import Everything, Filter
from appliance.hooks.runner import HookRunner
from appliance.hooks.where import Where
from appliance.model import Item, LogBatch
from appliance.runtime import bundle
from appliance.runtime.backoff import Backoff
from appliance.runtime.ledger import Account, AccountFigures
from appliance.runtime.outlet import Outlet, PoolKey, Published
from appliance.runtime.queue import ItemQueue

S = 10**9


@pytest.fixture(autouse=True)
def _hooks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(lanes, "Backoff", lambda first_s: Backoff(first_s=0.001))


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as found:
        yield found


def batch(*records: dict[str, Any]) -> LogBatch:
    data = b"".join(json.dumps({"n": n, **record}).encode() + b"\n" for n, record in enumerate(records))
    return LogBatch(path="conn", source="zmq.a", data=data, count=len(records))


class Bench:
    """A runner with worker processes, its queue and its account."""

    def __init__(
        self,
        name: str = "do",
        *,
        takes_context: bool = False,
        where: Filter | None = None,
        outlet: Outlet | None = None,
        timeout_s: float = 20.0,
        **more: Any,
    ) -> None:
        config = Hook(
            name="h", on=("log:*",), run=f"misbehaving:{name}", timeout=Duration(int(timeout_s * S)),
            options={"level": 3, "day": dt.date(2024, 2, 29)}, **more,
        )  # fmt: skip
        self.account = Account("hook.h")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=1_000_000, max_bytes=1 << 30)
        target = HookCallable(function=print, is_async=False, takes_context=takes_context)
        self.runner = HookRunner(
            config, target=target, where=where or Everything(), queue=self.queue, outlet=outlet or Outlet()
        )

    async def work_off(self, *items: Item) -> AccountFigures:
        """Put `items`, run until they are settled."""
        for item in items:
            assert self.queue.put_nowait(item) is None
        self.runner.stop()
        with trio.fail_after(60):
            await self.runner.run()
        return self.figures()

    def figures(self) -> AccountFigures:
        figures = self.account.statistics()
        assert figures.imbalance == 0
        return figures


def seen_in(path: Path) -> list[list[str]]:
    """Number, how many calls the process had made with it, and its ID."""
    return [line.split() for line in path.read_text().splitlines()]


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - nobody tells when another process has done something
            await trio.sleep(0.005)


# ── the common case ──


async def test_every_record_comes_once_in_order_and_the_module_keeps_its_state(tmp_path: Path) -> None:
    """Over items and leases, in one process."""
    seen = tmp_path / "seen"
    bench = Bench()
    figures = await bench.work_off(*(batch(*({"seen": str(seen)},) * 10) for _ in range(60)))
    assert [line[0] for line in seen_in(seen)] == [str(n) for n in range(10)] * 60
    assert [line[1] for line in seen_in(seen)] == [str(n) for n in range(1, 601)]
    assert figures.delivered == 600
    statistics = bench.runner.statistics()
    assert (statistics.calls, statistics.workers_started, statistics.workers) == (600, 1, 0)


async def test_hook_gets_what_where_lets_through(tmp_path: Path) -> None:
    """The records between are booked as such."""
    seen = tmp_path / "seen"
    bench = Bench(where=Where("x == 1"))
    records = [{"seen": str(seen), "x": n % 3} for n in range(8)]
    figures = await bench.work_off(batch(*records), batch(*records))
    assert [line[0] for line in seen_in(seen)] == ["1", "4", "7"] * 2
    assert figures.delivered == 6
    assert figures.dropped == {"where": 10}


async def test_row_that_python_cannot_represent_is_booked() -> None:
    """The others are delivered."""
    data = b'{"n":1}\n{"n":"\\ud800"}\n{"n":3}\n'
    figures = await Bench().work_off(LogBatch(path="conn", source="zmq.a", data=data, count=3))
    assert (figures.delivered, figures.dropped) == (2, {"undecodable": 1})


async def test_batch_gets_lists(tmp_path: Path) -> None:
    """Of at most so many records; one that fails, fails for all of its records."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench("do_many", batch=4)
    figures = await bench.work_off(
        batch(good, good, good), batch(good, good, {**good, "do": "raise_plain"}, good, good)
    )
    assert [line[0] for line in seen_in(seen)] == ["0+1+2", "0+1+2+3", "4"]
    assert figures.delivered == 8
    figures = await Bench("do_many", batch=4).work_off(batch(good, {**good, "do": "raise_plain"}, good))
    assert figures.delivered == 3
    figures = await (bench := Bench("do_many", batch=2)).work_off(batch(good, {**good, "do": "raise_plain"}, good))
    assert (figures.delivered, figures.dropped) == (1, {"hook_error": 2})
    assert bench.runner.statistics().errors == 1


async def test_what_the_hook_sees(lines: list[EventDict], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its context, and a process with nothing of ours in it."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("_PYI_ARCHIVE_FILE", "x")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/tmp/_MEI1")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/opt/lib")
    await Bench("look", takes_context=True).work_off(batch({}))
    seen, bound, caught = [line for line in lines if line["log_level"] != "debug"]
    assert seen == {
        "event": "seen", "log_level": "info", "hook": "h", "attempt": 1, "on_time": True, "path": "conn", "count": 1,
        "level": 3, "day": "2024-02-29", "caps": "0" * 16, "nnp": "1", "comm": "hook:h", "variables": "LD_LIBRARY_PATH",
        "libraries": "/opt/lib", "fds": "[0, 1, 2, 3, 4, 6]", "oom": "500",
    }  # fmt: skip
    assert (bound["event"], bound["more"], bound["log_level"]) == ("bound 5", "yes", "warning")
    assert "KeyError: 'k'" in caught["traceback"]


class Peers:
    """Publishes nowhere."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        if topic == "refused":
            return Published(0, "not_allowed")
        self.messages += [(topic, message) for message in messages]
        return Published(2)

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        return f"{by_hash}/{pool}/{key!r}"


async def test_hook_publishes_from_all_its_threads(lines: list[EventDict]) -> None:
    """It is told for how many peers, or what is wrong."""
    outlet, peers = Outlet(), Peers()
    outlet.open("broker", peers)  # type: ignore[arg-type]
    figures = await Bench("publish", takes_context=True, outlet=outlet).work_off(batch({}))
    assert figures.delivered == 1
    assert [topic for topic, _ in peers.messages] == ["zeek/event/a/x", "zeek/event/a/y", "True/proxy/0"]
    (line,) = [line for line in lines if line["event"] == "published"]
    assert "[2, 2, " in line["found"]
    assert "PublishError: cannot publish on 'refused'" in line["found"]
    assert "TypeError: argument 1 of Site::z" in line["found"]


# ── what goes wrong ──

GOOD_AROUND = 3


@pytest.mark.parametrize(
    ("do", "reason", "error"),
    [
        ("quit_", "crash", "the worker process exited with 7"),
        ("segfault", "crash", "the worker process was killed by SIGSEGV"),
        ("leave", "hook_error", "SystemExit: enough"),
        ("raise_plain", "hook_error", "misbehaving.PlainError: ('boom', <unlocked"),
        ("raise_odd", "hook_error", "misbehaving.OddError: <exception str() failed>"),
        ("garble", "crash", "the worker process broke the protocol: not a message of a worker"),
        ("announce_much", "crash", "the worker process broke the protocol: a message of more than"),
        ("claim_much", "crash", "the worker process broke the protocol: 65535 of 4 calls cannot have been made"),
        ("retry", "retry", "later"),
        ("reject", "rejected", "never"),
    ],
)
async def test_only_the_record_in_flight_is_charged(do: str, reason: str, error: str, tmp_path: Path) -> None:
    """Those before it are not repeated, those after it come; the failure says what happened."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench()
    figures = await bench.work_off(batch(good, good, {**good, "do": do}, good, good))
    numbers = [line[0] for line in seen_in(seen)]
    assert numbers == ["0", "1", "2", "3", "4"]
    assert (figures.delivered, figures.dropped) == (4, {reason: 1})
    assert bench.runner.statistics().last_error.startswith(error)


@pytest.mark.parametrize("do", ["hang", "spin", "stop"])
async def test_call_that_does_not_end_is_killed(do: str, tmp_path: Path) -> None:
    """Also one that never lets go of the interpreter, or does not run at all."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench(timeout_s=0.3)
    figures = await bench.work_off(batch(good, {**good, "do": do}, good))
    assert [line[0] for line in seen_in(seen)] == ["0", "1", "2"]
    assert (figures.delivered, figures.dropped) == (2, {"timeout": 1})
    assert "not finished within 0.3 s" in bench.runner.statistics().last_error


async def test_memory_has_a_limit(tmp_path: Path) -> None:
    """A hook that takes all of it fails; the next record has a new process."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench(memory_limit=128 << 20)
    figures = await bench.work_off(batch(good, {**good, "do": "hoard_memory"}, good))
    assert (figures.delivered, figures.dropped) == (2, {"hook_error": 1})
    assert bench.runner.statistics().last_error == "MemoryError"
    (_, _, first), (_, _, second), (_, _, third) = seen_in(seen)
    assert first == second != third


async def test_processor_time_has_a_limit_for_each_call(tmp_path: Path) -> None:
    """It is the call's, not the process's."""
    bench = Bench(cpu_limit=Duration(S))
    figures = await bench.work_off(batch({}, {"do": "spin"}, {}))
    assert (figures.delivered, figures.dropped) == (2, {"crash": 1})
    assert bench.runner.statistics().last_error == "the worker process was killed by SIGXCPU"


async def test_hook_that_returns_twice_counts_once(tmp_path: Path) -> None:
    """A child that a hook forks and lets return ends there."""
    figures = await Bench().work_off(batch({"do": "fork_and_return"}, {"do": "fork_and_return"}, {}))
    assert (figures.delivered, figures.dropped) == (3, {})


async def test_processes_of_the_hook_end_with_their_worker(tmp_path: Path) -> None:
    """When a call is killed, what it has started is killed, too."""
    path = tmp_path / "pid"
    await Bench(timeout_s=1.0).work_off(batch({"do": "run_child", "with": [str(path)]}))
    child = int(path.read_text())
    await wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


async def test_hook_that_prints_without_end_is_cut_short(lines: list[EventDict]) -> None:
    """It is not held up for long, and the log gets a little of it."""
    figures = await Bench().work_off(batch({"do": "shout"}, {}))
    assert figures.delivered == 2
    printed = [line["text"] for line in lines if line["event"] == "hook printed"]
    assert 10 < len(printed) < 200


async def test_worker_is_replaced_after_its_share(tmp_path: Path) -> None:
    """Then its module is fresh."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench(max_items=5)
    await bench.work_off(*(batch(good, good, good, good, good) for _ in range(3)))
    processes = [line[2] for line in seen_in(seen)]
    assert [processes.count(each) for each in dict.fromkeys(processes)] == [5, 5, 5]


async def test_many_workers_work_at_the_same_time(tmp_path: Path) -> None:
    """One that hangs does not hold the others up."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench(concurrency=2, timeout_s=1.0)
    figures = await bench.work_off(batch({"do": "hang"}), *(batch(good) for _ in range(40)))
    assert (figures.delivered, figures.dropped) == (40, {"timeout": 1})


async def test_cancelled_runner_leaves_no_process(tmp_path: Path) -> None:
    """And what it had done is settled."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench()
    bench.queue.put_nowait(batch(good, {**good, "do": "hang"}, good))
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.runner.run)
        await wait_until(lambda: seen.exists() and len(seen_in(seen)) == 2)
        nursery.cancel_scope.cancel()
    figures = bench.figures()
    assert (figures.delivered, figures.queued) == (1, 2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_hook_that_closes_what_is_not_its_own_ends_its_worker(lines: list[EventDict]) -> None:
    """The calls that it made are settled all the same."""
    figures = await Bench().work_off(batch({}, {"do": "close_all"}, {}))
    assert (figures.delivered, figures.dropped) == (3, {})
    (line,) = [line for line in lines if "between two calls" in line["event"]]
    assert line["why"] == "exited with 70"


async def test_worker_that_dies_while_it_is_idle_is_replaced(tmp_path: Path) -> None:
    """Nobody is charged."""
    seen = tmp_path / "seen"
    good = {"seen": str(seen)}
    bench = Bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.runner.run)
        bench.queue.put_nowait(batch(good))
        await wait_until(lambda: bench.account.delivered == 1)
        os.kill(int(seen_in(seen)[0][2]), signal.SIGKILL)
        bench.queue.put_nowait(batch(good))
        await wait_until(lambda: bench.account.delivered == 2)
        nursery.cancel_scope.cancel()
    assert bench.figures().dropped == {}


async def test_hook_that_cannot_be_imported_is_tried_again_and_ends_when_told(lines: list[EventDict]) -> None:
    """Its records wait; nothing is charged."""
    bench = Bench("not_there")
    bench.queue.put_nowait(batch({}))
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.runner.run)
        await wait_until(lambda: any("cannot start" in line["event"] for line in lines))
        bench.runner.stop()
        await wait_until(lambda: not nursery.child_tasks)
    (line,) = [line for line in lines if "cannot start" in line["event"]]
    assert "has no 'not_there'" in line["error"]
    assert bench.figures().queued == 1


async def test_bundled_program_is_its_own_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started with an argument that makes it a worker, and with the bundler's variables."""
    program = tmp_path / "broappliance"
    note = f"{tmp_path}/$$"
    program.write_text(
        f'#!/bin/sh\nenv > {note}.tmp\nmv {note}.tmp {note}.env\nexec {sys.executable} -m appliance "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("_PYI_ARCHIVE_FILE", "x")
    monkeypatch.setattr(bundle, "_take_variables", functools.cache(bundle._take_variables.__wrapped__))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    figures = await Bench().work_off(batch({}, {}))
    assert figures.delivered == 2
    environments = [path.read_text() for path in tmp_path.glob("*.env")]
    assert environments
    assert all("_PYI_ARCHIVE_FILE=x" in each for each in environments)
