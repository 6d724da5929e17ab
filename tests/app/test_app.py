"""The whole appliance with fakes for doors and consumers: signals, reload, drain, and what it says about itself."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.app import Appliance, run
from appliance.errors import ConfigError
from appliance.parts import Unit
from tests.fakes import FakeParts, Life, batch

pytestmark = pytest.mark.usefixtures("told")

HEAD = '[appliance]\nname = "{}"\nstate_dir = "{}"\ndrain_timeout = "{}"\n[api]\nlisten = ["unix:api.sock"]\n'
SINK = '[[sink]]\nname = "a"\non = ["log:*"]\npath = "a/{path}.log"\n'
ZMQ = '[[zmq]]\nname = "a"\nbind = ["tcp://127.0.0.1:5001"]\n'
MORE = '[[sink]]\nname = "b"\non = ["log:*"]\npath = "b/{path}.log"\n'


class Site:
    """An appliance of fakes, its file, and the messages that its manager got."""

    def __init__(self, files: Any, manager: socket.socket) -> None:
        self.files = files
        self.manager = manager
        self.parts: list[FakeParts] = []
        self.spoil: Callable[[Unit], None] = lambda _: None
        self.environ = {"NOTIFY_SOCKET": str(Path("notify").absolute())}

    def _spoil(self, unit: Unit) -> None:
        self.spoil(unit)

    def make_parts(self, **more: Any) -> FakeParts:
        self.parts.append(FakeParts(spoil=self._spoil, **more))
        return self.parts[-1]

    def make(self, text: str) -> Appliance:
        return Appliance(self.files.read(text), self.files.path, self.environ, make_parts=self.make_parts)

    @asynccontextmanager
    async def running(self, text: str) -> AsyncIterator[Appliance]:
        """An appliance that is ready, and drained at the end."""
        async with trio.open_nursery() as nursery:
            appliance = self.make(text)
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            yield appliance
            appliance.stop()

    def slow_start(self, key: str, start_s: float) -> None:
        """From now on, a consumer takes its time to start."""

        def spoil(unit: Unit) -> None:
            if unit.key == key:
                unit.service.start_s = start_s

        self.spoil = spoil

    def break_start(self, key: str, error: Exception) -> None:
        def spoil(unit: Unit) -> None:
            if unit.key == key:
                unit.service.start_error = error

        self.spoil = spoil

    def unit(self, key: str) -> Any:
        """The service that was made last for that key."""
        return [unit.service for unit in self.parts[-1].made if unit.key == key][-1]

    def messages(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while True:
            try:
                text = self.manager.recv(4096).decode()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in text.split("\n")))

    def is_quiet(self) -> bool:
        """Nothing runs any more."""
        services = [unit.service for unit in self.parts[-1].made]
        return not any(getattr(s, "is_running", False) or getattr(s, "is_open", False) for s in services)


@pytest.fixture
def site(files: Any) -> Iterator[Site]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("notify")
        manager.setblocking(False)
        yield Site(files, manager)


async def test_a_life(site: Site, autojump_clock: MockClock) -> None:
    """Start, serve, drain; the manager is told of each."""
    async with site.running(SINK + ZMQ) as appliance:
        assert site.environ == {}
        assert appliance.status().state == "running"
        site.unit("zmq.a").fed.send_nowait(batch(0, 30))
        await trio.sleep(2.5)
        status = appliance.status()
        assert status.uptime_s == 2.5
        assert [line.service.state for line in status.services] == ["running"] * 3
        assert [line.account.received for line in status.ledger] == [30, 30]
        assert status.ledger[0].rates.last_10s == 15.0
        assert status.services[0].queue is not None
        assert status.services[1].queue is None
        assert site.parts[-1]._status is not None
        assert site.parts[-1]._status().name == "test"
    assert site.is_quiet()
    assert appliance.status().state == "draining"
    first, *messages = site.messages()
    assert first["STATUS"].startswith("starting")
    assert "EXTEND_TIMEOUT_USEC" in first
    assert messages[0]["READY"] == "1"
    assert messages[0]["STATUS"] == "running, generation 1, 0 received, 0 lost"
    assert messages[-1] == {"STOPPING": "1", "STATUS": "draining"}


async def test_trouble_is_told_in_the_status_line(site: Site, autojump_clock: MockClock) -> None:
    """A service that waits for its next attempt is named."""

    def spoil(unit: Unit) -> None:
        if unit.key == "api":
            unit.service.lives = [Life(live_s=5.0, error=OSError("lost")), Life()]

    site.spoil = spoil
    async with site.running(SINK) as appliance:
        await trio.sleep(5.1)
        assert appliance._summary() == "running, generation 1, 0 received, 0 lost, in trouble: api"
        await trio.sleep(5)
        assert appliance._summary() == "running, generation 1, 0 received, 0 lost"


# ── reload ──


async def test_reload_applies_the_difference(site: Site) -> None:
    """One generation more, and the manager learns when it began and that it ended."""
    async with site.running(SINK + ZMQ) as appliance:
        door = site.unit("zmq.a")
        await wait_all_tasks_blocked()
        site.messages()
        site.files.write(SINK + ZMQ + MORE)
        appliance.reload()
        outcome = await appliance.wait_reloaded()
        assert outcome.ok
        status = appliance.status()
        assert (status.generation, status.state, status.last_reload) == (2, "running", outcome)
        assert (outcome.number, outcome.generation) == (1, 2)
        assert {change.name: change.how for change in outcome.changes} == {
            "sink.a": "unchanged", "sink.b": "added", "zmq.a": "unchanged", "api": "unchanged",
        }  # fmt: skip
        assert site.unit("zmq.a") is door
        door.fed.send_nowait(batch(0, 3))
        await wait_all_tasks_blocked()
        assert site.unit("sink.b").numbers == [0, 1, 2]
        messages = site.messages()
        assert "MONOTONIC_USEC" in messages[0]
        assert messages[1]["READY"] == "1"


@pytest.mark.parametrize(
    ("head", "text", "told"),
    [
        (("test", "state", "10s"), SINK + "[[zmq]]\nnam = 1\n", "nam"),
        (("other", "state", "10s"), SINK, "appliance.name"),
        (("test", "elsewhere", "10s"), SINK, "appliance.state_dir"),
        (("test", "state", "10s"), SINK + MORE, "broken"),
    ],
)
async def test_a_refused_reload_changes_nothing(site: Site, head: tuple[str, ...], text: str, told: str) -> None:
    """Everything that is wrong with it is told, and the old configuration goes on."""
    async with site.running(SINK) as appliance:
        consumer = site.unit("sink.a")
        site.break_start("sink.b", OSError("broken"))
        site.files.write(text, head=HEAD.format(*head))
        appliance.reload()
        outcome = await appliance.wait_reloaded()
        assert not outcome.ok
        assert any(told in error for error in outcome.errors)
        assert len(outcome.mistakes) == len(outcome.errors)
        fixed = told.startswith("appliance.")
        assert [(each.name, each.how, each.keys) for each in outcome.changes] == (
            [("appliance", "needs_restart", (told.partition(".")[2],))] if fixed else []
        )
        assert appliance.status().generation == 1
        assert appliance.status().state == "running"
        assert site.messages()[-1]["READY"] == "1"
        assert consumer.is_running
        assert [unit.key for unit in appliance._assembly.units.values()] == ["sink.a", "api"]  # type: ignore[union-attr]


async def test_requests_during_a_reload_are_one_more(site: Site, autojump_clock: MockClock) -> None:
    """None is forgotten, and they do not add up."""
    async with site.running(SINK) as appliance:
        site.slow_start("sink.b", 5.0)
        site.files.write(SINK + MORE)
        appliance.reload()
        await trio.sleep(1.0)
        assert appliance.status().state == "reloading"
        for _ in range(3):
            appliance.reload()
        await appliance.wait_reloaded()
        await appliance.wait_reloaded()
        await trio.sleep(100.0)
        assert appliance.status().generation == 3


async def test_a_reload_asked_for_during_the_start(site: Site, autojump_clock: MockClock) -> None:
    """It comes right after it."""
    site.slow_start("sink.a", 5.0)
    async with trio.open_nursery() as nursery:
        appliance = site.make(SINK)
        nursery.start_soon(appliance.run)
        await trio.sleep(1.0)
        assert appliance.status().state == "starting"
        appliance.reload()
        assert (await appliance.wait_reloaded()).ok
        assert appliance.status().generation == 2
        appliance.stop()


# ── signals ──


async def send(number: int) -> None:
    """A signal to this process, and time for it to be read."""
    os.kill(os.getpid(), number)
    for _ in range(3):
        await wait_all_tasks_blocked()


@asynccontextmanager
async def process(site: Site, text: str) -> AsyncIterator[list[Any]]:
    """`run` with its signals; the list gets its result."""
    result: list[Any] = []

    async def main() -> None:
        prepared = site.files.read(text)
        result.extend(await run(prepared, site.files.path, site.environ, make_parts=site.make_parts))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        await wait_all_tasks_blocked()
        yield result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(site: Site, number: int) -> None:
    """And what was received is delivered."""
    async with process(site, SINK + ZMQ) as result:
        site.unit("zmq.a").fed.send_nowait(batch(0, 30))
        await send(number)
    code, status = result
    assert code == 0
    assert [line.account.delivered for line in status.ledger] == [30, 30]
    assert site.is_quiet()


async def test_a_drain_has_a_deadline(site: Site, autojump_clock: MockClock) -> None:
    """What is left then is dropped for shutdown, and told."""
    async with process(site, SINK + ZMQ) as result:
        site.unit("sink.a").each_s = 3.0
        site.unit("zmq.a").fed.send_nowait(batch(0, 30))
        await wait_all_tasks_blocked()
        await send(signal.SIGTERM)
    assert trio.current_time() == pytest.approx(10.0)
    code, status = result
    assert (code, status.lost) == (0, 27)
    assert all(line.account.imbalance == 0 for line in status.ledger)


async def test_a_second_signal_stops_at_once(site: Site, autojump_clock: MockClock) -> None:
    """What could not be delivered is told as queued."""
    async with process(site, SINK + ZMQ) as result:
        site.unit("sink.a").each_s = 3.0
        site.unit("zmq.a").fed.send_nowait(batch(0, 30))
        await wait_all_tasks_blocked()
        await send(signal.SIGTERM)
        await trio.sleep(4.0)
        await send(signal.SIGINT)
    assert trio.current_time() == pytest.approx(4.0)
    code, status = result
    assert code == 1
    assert [line.account.queued for line in status.ledger] == [29, 0]
    assert all(line.account.imbalance == 0 for line in status.ledger)
    assert site.is_quiet()


async def test_stopped_while_starting(site: Site, autojump_clock: MockClock) -> None:
    """What did start is drained; it was never ready."""
    site.slow_start("sink.b", 20.0)
    async with process(site, SINK + MORE + ZMQ) as result:
        await trio.sleep(1.0)
        await send(signal.SIGTERM)
    assert trio.current_time() == pytest.approx(1.0)
    assert result[0] == 0
    assert site.is_quiet()
    messages = site.messages()
    assert not any("READY" in message for message in messages)
    assert messages[-1] == {"STOPPING": "1", "STATUS": "draining"}


async def test_stopped_while_reloading(site: Site, autojump_clock: MockClock) -> None:
    """The reload is given up, everything that runs is drained."""
    async with process(site, SINK + ZMQ) as result:
        site.slow_start("sink.b", 20.0)
        site.files.write(SINK + MORE)
        await send(signal.SIGHUP)
        await trio.sleep(1.0)
        site.unit("zmq.a").fed.send_nowait(batch(0, 30))
        await send(signal.SIGHUP)
        await send(signal.SIGTERM)
    assert trio.current_time() == pytest.approx(1.0)
    code, status = result
    assert (code, status.generation) == (0, 1)
    assert status.last_reload is not None
    assert "told to stop" in status.last_reload.errors[0]
    assert status.ledger[0].account.delivered == 30
    assert site.is_quiet()


async def test_stopped_while_a_reload_drains(site: Site, autojump_clock: MockClock) -> None:
    """A service that is being removed is drained with the others."""
    async with process(site, SINK + MORE + ZMQ) as result:
        site.unit("sink.b").each_s = 0.5
        site.unit("zmq.a").fed.send_nowait(batch(0, 10))
        await wait_all_tasks_blocked()
        site.files.write(SINK + ZMQ)
        await send(signal.SIGHUP)
        await trio.sleep(1.0)
        await send(signal.SIGTERM)
    code, status = result
    assert (code, status.lost) == (0, 0)
    assert [line.account.delivered for line in status.ledger] == [10, 10, 10]


@pytest.mark.parametrize(("error", "code"), [(OSError("in use"), 1), (ConfigError("no such key"), 2)])
async def test_a_start_that_fails_is_an_exit_code(
    site: Site, error: Exception, code: int, autojump_clock: MockClock
) -> None:
    """What other doors received meanwhile is delivered first."""
    second = '[[zmq]]\nname = "b"\nbind = ["tcp://127.0.0.1:5002"]\n'

    def spoil(unit: Unit) -> None:
        if unit.key == "sink.a":
            unit.service.each_s = 0.1
        if unit.key == "zmq.a":
            unit.service.fed.send_nowait(batch(0, 9))
        if unit.key == "zmq.b":
            unit.service.start_error = error

    site.spoil = spoil
    async with process(site, SINK + ZMQ + second) as result:
        pass
    assert result == [code, None]
    assert site.unit("sink.a").numbers == list(range(9))
    assert site.is_quiet()


async def test_a_bug_at_the_start_is_raised(site: Site) -> None:
    """With everything that Python knows about it."""
    site.break_start("zmq.a", ZeroDivisionError("bug"))
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with process(site, SINK + ZMQ):
            pass
    assert site.is_quiet()


async def test_reload_by_signal(site: Site) -> None:
    """SIGHUP reads the file again."""
    async with process(site, SINK) as result:
        site.files.write(SINK + MORE)
        await send(signal.SIGHUP)
        assert site.unit("sink.b").is_running
        await send(signal.SIGTERM)
    assert result[1].generation == 2
