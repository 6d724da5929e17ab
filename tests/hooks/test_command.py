"""Command hooks: what a program gets, and what becomes of the record when it has ended, with real programs."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config import Duration, Hook
from appliance.hooks.callables import HookCallable
from appliance.hooks.command import Command, encode_lines, find_program
from appliance.hooks.effects import Effects
from appliance.hooks.extracts import Extracts
from appliance.hooks.filter import Everything
from appliance.hooks.runner import HookRunner
from appliance.hooks.written import KEPT_BYTES
from appliance.model import EventBatch, Item, LogBatch, Segment
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count
from tests.runtime.journal.harness import bench

S = 10**9


def batch(count: int) -> LogBatch:
    data = b"".join(b'{"n":%d}\n' % n for n in range(count))
    return LogBatch(path="conn", source="zmq.a", data=data, count=count)


def segment(path: str) -> Segment:
    return Segment(
        handler="raw", source="c", path=path, packets=3, disk_size=9, first_ns=5 * S + 7, last_ns=2**62, linktype=1
    )


class Bench:
    """A runner of one command, its queue and its account."""

    def __init__(self, *words: str, concurrency: int = 1, timeout_s: float = 30.0, batch: int = 1) -> None:
        config = Hook(
            name="h",
            on=("log:*",),
            command=words,
            concurrency=concurrency,
            timeout=Duration(int(timeout_s * S)),
            batch=batch,
        )
        self.account = Account("hook.h")
        self.queue = ItemQueue(self.account, policy="drop_newest", max_records=100_000, max_bytes=1 << 30)
        target = HookCallable(function=Command(config), is_async=True, takes_context=True)
        self.runner = HookRunner(config, target=target, where=Everything(), queue=self.queue, outlet=Outlet())

    async def work_off(self, *items: Item) -> dict[str, int]:
        """Returns what was dropped, by reason."""
        for item in items:
            assert self.queue.put_nowait(item) is None
        self.runner.stop()
        with trio.fail_after(60):
            await self.runner.run()
        assert not self.account.queued
        return dict(self.account.dropped)

    @property
    def last_error(self) -> str:
        return self.runner.statistics().last_error


def sh(script: str, *words: str, **more: Any) -> Bench:
    return Bench("/bin/sh", "-c", script.replace("{", "{{").replace("}", "}}"), "sh", *words, **more)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def wait_dead(pid: int) -> None:
    """A signal is on its way for a moment."""
    with trio.fail_after(10):
        while is_alive(pid):  # noqa: ASYNC110 - nobody tells about processes that are not ours
            await trio.sleep(0.01)


async def test_program_gets_each_record_as_json(tmp_path: Path) -> None:
    """On standard input, and its place in the words."""
    out = tmp_path / "out"
    hook = sh('cat >> "$1"; echo "$2 $HOOK_NAME $HOOK_ATTEMPT" >> "$1"', str(out), "{name}")
    assert await hook.work_off(batch(3)) == {}
    assert out.read_text() == "".join(f'{{"n":{n}}}\nconn h 1\n' for n in range(3))
    assert hook.account.delivered == 3


async def test_placeholders_of_a_segment(tmp_path: Path) -> None:
    """Whole words, whatever is in a name; times in seconds, exactly."""
    out = tmp_path / "out"
    path = f"{tmp_path}/a b;$(x)'.pcap"
    assert (
        await sh('printf "%s\\n" "$@" > ' + str(out), "{path}", "{name}", "{dir}", "{start}", "{end}").work_off(
            segment(path)
        )
        == {}
    )
    assert out.read_text().splitlines() == [
        path, "a b;$(x)'.pcap", str(tmp_path), "5.000000007", "4611686018.427387904",
    ]  # fmt: skip


async def test_batch_is_a_stream_of_json_lines(tmp_path: Path) -> None:
    """One line for each record, and one end for all of them."""
    out = tmp_path / "out"
    hook = sh(f"cat >> {out}; echo end >> {out}", batch=2)
    assert await hook.work_off(batch(3)) == {}
    assert out.read_text() == '{"n":0}\n{"n":1}\nend\n{"n":2}\nend\n'
    assert await sh("exit 1", batch=2).work_off(batch(3)) == {"hook_error": 3}


async def test_arguments_of_events_are_plain(tmp_path: Path) -> None:
    """As in files; names that are not UTF-8 are escaped."""
    out = tmp_path / "out"
    message = encode_message(Event.make("Site::x", Count(5), b"t\xff"))
    data = len(message).to_bytes(4) + message
    item = EventBatch(name="Site::x", topic="a\udcff", source="broker", data=data, count=1, received_ns=S)
    assert await sh(f"cat > {out}").work_off(item) == {}
    record = json.loads(out.read_bytes())
    assert (record["name"], record["args"], record["topic"]) == ("Site::x", [5, "t\\xff"], "a\\xff")


def test_lines_are_encoded_once() -> None:
    """Values of records are what they were."""
    assert encode_lines([{"a": [1, 2.5, None, "é"]}]) == '{"a":[1,2.5,null,"é"]}\n'.encode()


@pytest.mark.parametrize(
    ("script", "reason", "error"),
    [
        ("echo 'no room' >&2; exit 3", "hook_error", "exited with 3: no room"),
        ("echo 'only this'; exit 1", "hook_error", "exited with 1: only this"),
        ("exit 2", "hook_error", "exited with 2"),
        ("echo later >&2; exit 75", "retry", "exited with 75: later"),
        ("kill -SEGV $$", "hook_error", "killed by SIGSEGV"),
        ("kill -KILL $$", "hook_error", "killed by SIGKILL"),
    ],
)
async def test_way_of_ending_decides(script: str, reason: str, error: str) -> None:
    """0 is done, 75 asks for another attempt, everything else is a failed one."""
    hook = sh(script)
    assert await hook.work_off(batch(1)) == {reason: 1}
    assert hook.last_error == error


async def test_failure_keeps_what_the_program_wrote(tmp_path: Path) -> None:
    """In the place of a traceback, with both streams; 75 is tried again until there are no attempts left."""
    script = 'echo said; echo "attempt $HOOK_ATTEMPT" >&2; exit $((73 + HOOK_ATTEMPT))'
    config = Hook(name="h", on=("log:*",), command=("/bin/sh", "-c", script.replace("{", "{{").replace("}", "}}")))
    async with bench(tmp_path) as b:
        queue = await b.queue(backoff_s=0.01, attempts=3)
        queue.put_nowait(batch(1))
        target = HookCallable(function=Command(config), is_async=True, takes_context=True)
        runner = HookRunner(config, target=target, where=Everything(), queue=queue, outlet=Outlet())
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                await nursery.start(runner.run)
                while queue.account.queued:  # noqa: ASYNC110 - accounts tell nobody when they move
                    await trio.sleep(0.005)
                nursery.cancel_scope.cancel()
        (letter,) = await b.desk.dead()
        assert [attempt.error for attempt in letter.history] == [
            "exited with 74: attempt 1", "exited with 75: attempt 2", "exited with 76: attempt 3",
        ]  # fmt: skip
        assert letter.trace == "stdout:\nsaid\n\nstderr:\nattempt 3\n"


async def test_program_that_is_not_there_costs_its_records() -> None:
    """It may have been taken away since the start."""
    hook = Bench("/nonexistent/program")
    assert await hook.work_off(batch(2)) == {"hook_error": 2}
    assert "was not started: " in hook.last_error


async def test_value_that_would_be_an_option_is_rejected(tmp_path: Path) -> None:
    """The record is a dead letter at once; the program does not run."""
    hook = sh(f"touch {tmp_path}/ran", "{name}")
    assert await hook.work_off(segment("/x/-rf")) == {"rejected": 1}
    assert not (tmp_path / "ran").exists()


async def test_whole_group_is_killed_when_the_time_is_over(tmp_path: Path) -> None:
    """Also a grandchild that ignores signals and holds the pipes."""
    pids = tmp_path / "pids"
    hook = sh(f"trap '' TERM; (trap '' TERM HUP; echo $$ > {pids}; sleep 600) & sleep 600", timeout_s=0.3)
    assert await hook.work_off(batch(1)) == {"timeout": 1}
    assert hook.runner.statistics().timeouts == 1
    await wait_dead(int(pids.read_text()))


async def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """A process in the background does not keep the record waiting."""
    pid = tmp_path / "pid"
    hook = sh(f"sleep 600 & echo $! > {pid}")
    with trio.fail_after(20):
        assert await hook.work_off(batch(1)) == {}
    await wait_dead(int(pid.read_text()))


async def test_daemon_that_keeps_the_pipes_is_not_waited_for(tmp_path: Path) -> None:
    """One that has left the group is nobody's, but its output is not waited for either."""
    pid = tmp_path / "pid"
    with trio.fail_after(20):
        assert (
            await sh(f"setsid sh -c 'echo $$ > {pid}; exec sleep 60' & while [ ! -s {pid} ]; do :; done").work_off(
                batch(1)
            )
            == {}
        )
    os.kill(int(pid.read_text()), signal.SIGKILL)


async def test_cancellation_kills_and_keeps_the_record(tmp_path: Path) -> None:
    """At shutdown."""
    pid = tmp_path / "pid"
    hook = sh(f"echo $$ > {pid}; exec sleep 600")
    hook.queue.put_nowait(batch(1))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hook.runner.run)
            while not (pid.exists() and pid.read_text().strip()):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    await wait_dead(int(pid.read_text()))
    assert hook.account.queued == 1


async def test_output_is_read_to_its_end_and_its_end_is_kept() -> None:
    """A program that writes without end is not held up, and costs no memory."""
    hook = sh("head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last >&2; exit 1")
    assert await hook.work_off(batch(1)) == {"hook_error": 1}
    assert hook.last_error == "exited with 1: last"


async def test_end_of_the_output_is_what_is_kept(tmp_path: Path) -> None:
    """With a note of how much is missing."""
    hook = sh("seq 1 100000; exit 1")
    context = hook.runner._make_context(Extracts(None, None), [batch(1)], [{}], 1, Effects())
    with pytest.raises(Exception, match="exited with 1: 100000") as caught:
        await hook.runner._target.function({}, context)
    trace = caught.value.trace  # type: ignore[attr-defined]
    assert trace.startswith("stdout:\n[")
    assert " bytes are left out]\n" in trace[:60]
    assert trace.endswith("\n99999\n100000\n")
    assert len(trace) < KEPT_BYTES + 100


async def test_program_need_not_read() -> None:
    """A large record is no reason to wait for it."""
    item = LogBatch(path="x", source="s", data=b'{"a":"' + b"x" * 3_000_000 + b'"}\n', count=1)
    assert await Bench("/bin/true").work_off(item) == {}


async def test_program_has_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor but its own three, none of the service manager's variables."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/x")
    out = tmp_path / "out"
    held, other = os.pipe()
    os.set_inheritable(held, True)
    try:
        hook = sh(f"ls /proc/$$/fd > {out}; env | grep -c NOTIFY >> {out}; echo >> {out}")
        assert await hook.work_off(batch(1)) == {}
    finally:
        os.close(held)
        os.close(other)
    *descriptors, count = out.read_text().split()
    assert count == "0"
    assert {"0", "1", "2"} <= set(descriptors)
    assert str(held) not in descriptors


@pytest.mark.slow
async def test_thousands_of_programs_leave_nothing() -> None:
    """No descriptor, no zombie."""
    await Bench("/bin/true").work_off(batch(1))
    before = len(list(Path("/proc/self/fd").iterdir()))
    hook = Bench("/bin/true", concurrency=4)
    assert await hook.work_off(batch(2000)) == {}
    assert hook.account.delivered == 2000
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not [pid for pid in children.read_text().split() if Path(f"/proc/{pid}/comm").read_text() == "true\n"]


def test_program_is_looked_for_before_anything_starts(tmp_path: Path) -> None:
    """On the PATH or where it is said to be."""
    find_program(["sh"])
    find_program(["/bin/sh", "-c", "x"])
    with pytest.raises(ValueError, match="no program 'nonexistent-x' on the PATH"):
        find_program(["nonexistent-x"])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be executed"):
        find_program([f"{tmp_path}/file"])
