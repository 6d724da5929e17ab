"""Services under supervision: start, restart, stop, and what must not spread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from structlog.typing import EventDict
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.errors import ApplianceError, ConfigError, PrivilegeError
from appliance.runtime.backoff import Backoff
from appliance.runtime.supervisor import Handle, State, Supervisor, describe, leaf_of
from tests.fakes import FakeService, Life

pytestmark = pytest.mark.usefixtures("told")


@asynccontextmanager
async def supervision(**more: Any) -> AsyncIterator[Supervisor]:
    """A supervisor whose services are cancelled at the end."""
    async with trio.open_nursery() as nursery:
        yield Supervisor(nursery, make_backoff=partial(Backoff, first_s=1.0, longest_s=8.0, jitter=0.0), **more)
        nursery.cancel_scope.cancel()


def state_of(handle: Handle) -> str:
    return handle.statistics().state


async def at(time_s: float) -> None:
    await trio.sleep_until(time_s)
    await wait_all_tasks_blocked()


async def test_start_waits_until_the_service_is_ready(autojump_clock: MockClock) -> None:
    """And every change of state is told."""
    states: list[State] = []
    async with supervision(changed=lambda: states.append(State.STARTING)) as supervisor:
        service = FakeService(Life(start_s=3.0))
        handle = await supervisor.start("zmq.a", service)
        assert trio.current_time() == pytest.approx(3.0)
        assert service.is_open
        assert len(states) == 2
        await trio.sleep(2.0)
        figures = handle.statistics()
        assert (figures.name, figures.state, figures.since_s) == ("zmq.a", "running", 2.0)
        assert (figures.restarts, figures.last_error) == (0, "")
    assert state_of(handle) == "stopped"
    assert handle.finished.is_set()
    assert not service.is_open


@pytest.mark.parametrize("error", [OSError("in use"), ConfigError("x"), ValueError("bug"), ApplianceError("no")])
async def test_first_start_raises_what_the_service_raised(error: Exception) -> None:
    """Itself, not a group, and nothing runs then."""
    async with supervision() as supervisor:
        service = FakeService(Life(start_error=error))
        with pytest.raises(type(error)) as caught:
            await supervisor.start("zmq.a", service)
        assert caught.value is error
        assert service.runs == 1
        group = FakeService(Life(start_error=ExceptionGroup("many", [ExceptionGroup("deep", [error])])))
        with pytest.raises(type(error)):
            await supervisor.start("zmq.b", group)


async def test_first_start_that_ends_without_being_ready() -> None:
    """That is a failure, too."""
    async with supervision() as supervisor:
        with pytest.raises(RuntimeError):
            await supervisor.start("zmq.a", FakeService(Life(is_never_ready=True)))


async def test_start_takes_only_so_long(autojump_clock: MockClock) -> None:
    """In the first start somebody is told; later it is one more failure."""
    async with supervision() as supervisor:
        slow = FakeService(Life(start_s=1000.0))
        with pytest.raises(TimeoutError, match=r"zmq\.a was not ready within 30 s"):
            await supervisor.start("zmq.a", slow)
        assert not slow.is_open
        assert trio.current_time() == pytest.approx(30.0)
        later = FakeService(Life(live_s=1.0), Life(start_s=1000.0), Life())
        handle = await supervisor.start("zmq.b", later)
        await at(30.0 + 1.0 + 1.0 + 30.5)
        assert state_of(handle) == "backing-off"
        assert "not ready" in handle.last_error
        await trio.sleep(2.0)
        assert state_of(handle) == "running"


async def test_cancelled_start_leaves_nothing(autojump_clock: MockClock) -> None:
    """Also when the service fails on its way out."""
    async with supervision() as supervisor:
        for exit_error in (None, OSError("cannot close")):
            service = FakeService(Life(start_s=10.0, exit_error=exit_error))
            with trio.move_on_after(1.0) as scope:
                await supervisor.start("zmq.a", service)
            assert scope.cancelled_caught
            assert service.runs == 1
            assert not service.is_open


async def test_a_failure_is_followed_by_another_attempt(autojump_clock: MockClock, told: list[EventDict]) -> None:
    """After growing delays; the service object stays the same."""
    async with supervision() as supervisor:
        service = FakeService(Life(live_s=0.5, error=OSError("lost")))
        handle = await supervisor.start("zmq.a", service)
        starts = [service.runs]
        for second in range(1, 12):
            await at(second)
            starts.append(service.runs)
        # 0.5 s each, then 1, 2, 4, 8 s
        assert starts == [1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4]
        assert state_of(handle) == "backing-off"
        assert handle.restarts == 4
        assert handle.last_error == "lost"
    assert {entry["exc_info"] for entry in told} == {None}


async def test_ending_unasked_is_a_failure(autojump_clock: MockClock, told: list[EventDict]) -> None:
    """A bug of ours is logged with its traceback."""
    async with supervision() as supervisor:
        handle = await supervisor.start("zmq.a", FakeService(Life(live_s=0.5), Life()))
        await at(1.0)
        assert state_of(handle) == "backing-off"
        await at(2.0)
        assert state_of(handle) == "running"
        assert handle.last_error == "RuntimeError: the service ended although nobody asked it to"
    assert isinstance(told[0]["exc_info"], RuntimeError)


async def test_a_healthy_minute_shortens_the_next_delay(autojump_clock: MockClock) -> None:
    """The time of a slow start is not counted."""
    async with supervision() as supervisor:
        lives = [Life(live_s=0.0), Life(live_s=0.0), Life(start_s=25, live_s=59.0), Life(live_s=60.5), Life()]
        service = FakeService(*lives)
        await supervisor.start("zmq.a", service)
        await at(200.0)
        assert service.began == pytest.approx([0.0, 1.0, 3.0, 3.0 + 84.0 + 4.0, 91.0 + 60.5 + 1.0])


@pytest.mark.parametrize("error", [ConfigError("no such key"), PrivilegeError("CAP_NET_RAW is missing")])
async def test_what_only_a_person_can_mend_is_not_retried(error: Exception, autojump_clock: MockClock) -> None:
    """The others run on; a failed service can still be stopped."""
    async with supervision() as supervisor:
        service, other = FakeService(Life(live_s=1.0, error=error)), FakeService()
        handle = await supervisor.start("zmq.a", service)
        await supervisor.start("zmq.b", other)
        await at(100.0)
        assert state_of(handle) == "failed"
        assert (service.runs, handle.restarts) == (1, 0)
        assert other.is_open
        assert await handle.stop(1.0)
        assert state_of(handle) == "failed"


# ── stop ──


async def test_stop_asks_and_waits(autojump_clock: MockClock) -> None:
    """A service may need its time."""
    async with supervision() as supervisor:
        service = FakeService(Life(exit_s=2.0))
        handle = await supervisor.start("zmq.a", service)
        assert await handle.stop(5.0)
        assert trio.current_time() == pytest.approx(2.0)
        assert state_of(handle) == "stopped"
        assert service.stops == 1
        assert await handle.stop(5.0)
        assert service.runs == 1


async def test_a_service_that_ignores_stop_is_cancelled(autojump_clock: MockClock) -> None:
    """After the timeout, once for everybody who wants it stopped."""
    async with supervision() as supervisor:
        handle = await supervisor.start("zmq.a", FakeService(Life(ignores_stop=True, exit_s=1.0)))
        outcomes: list[bool] = []

        async def stop(timeout_s: float) -> None:
            outcomes.append(await handle.stop(timeout_s))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, 3.0)
            nursery.start_soon(stop, 50.0)
        assert trio.current_time() == pytest.approx(4.0)
        assert outcomes == [False, False]
        assert state_of(handle) == "stopped"


async def test_no_time_to_stop_is_a_cancellation() -> None:
    """Nobody waits for what has no time left."""
    async with supervision() as supervisor:
        handle = await supervisor.start("zmq.a", FakeService(Life(ignores_stop=True)))
        assert not await handle.stop(0.0)


async def test_stop_during_back_off_ends_it(autojump_clock: MockClock) -> None:
    """There is nothing to wait for."""
    async with supervision() as supervisor:
        service = FakeService(Life(live_s=1.0, error=OSError("lost")))
        handle = await supervisor.start("zmq.a", service)
        await at(1.5)
        assert state_of(handle) == "backing-off"
        assert await handle.stop(5.0)
        assert trio.current_time() == pytest.approx(1.5)
        assert state_of(handle) == "stopped"
        assert service.runs == 1


@pytest.mark.parametrize("error", [None, OSError("in use")])
async def test_stop_during_a_later_start(error: Exception | None, autojump_clock: MockClock) -> None:
    """The start goes on to its end, and nothing follows it."""
    async with supervision() as supervisor:
        service = FakeService(Life(live_s=1.0), Life(start_s=3.0, start_error=error))
        handle = await supervisor.start("zmq.a", service)
        await at(3.0)
        assert state_of(handle) == "starting"
        assert await handle.stop(50.0)
        assert trio.current_time() == pytest.approx(5.0)
        assert state_of(handle) == "stopped"
        assert (service.runs, handle.restarts) == (2, 1)


async def test_failing_while_stopping_is_told_and_not_retried(told: list[EventDict]) -> None:
    """It is no reason for a restart."""
    async with supervision() as supervisor:
        service = FakeService(Life(exit_error=OSError("disk full")))
        handle = await supervisor.start("zmq.a", service)
        assert await handle.stop(5.0)
        assert state_of(handle) == "stopped"
        assert (handle.last_error, handle.restarts) == ("disk full", 0)
    assert [entry["event"] for entry in told] == ["service failed"]


# ── nothing spreads ──


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_failing_while_being_cancelled_stops_nobody_else(
    how: str, autojump_clock: MockClock, told: list[EventDict]
) -> None:
    """Whether one service is cancelled or all of them."""
    async with supervision() as supervisor:
        bad = await supervisor.start("zmq.a", FakeService(Life(ignores_stop=True, exit_error=ValueError("late"))))
        other = FakeService()
        await supervisor.start("zmq.b", other)
        if how == "stop":
            assert not await bad.stop(1.0)
            await at(10.0)
            assert state_of(bad) == "stopped"
            assert other.is_open
    assert bad.last_error == "ValueError: late"
    assert bad.restarts == 0
    assert state_of(bad) == "stopped"
    assert [entry["event"] for entry in told] == ["service failed"]


async def test_a_group_is_one_failure(autojump_clock: MockClock) -> None:
    """Its first leaf is what people read."""
    async with supervision() as supervisor:
        error = ExceptionGroup("many", [ExceptionGroup("deep", [OSError("first")]), ValueError("second")])
        handle = await supervisor.start("zmq.a", FakeService(Life(live_s=1.0, error=error), Life()))
        await at(5.0)
        assert state_of(handle) == "running"
        assert (handle.last_error, handle.restarts) == ("first", 1)


async def test_what_ends_the_process_is_not_a_failure_of_a_service(autojump_clock: MockClock) -> None:
    """SystemExit, alone or beside a failure, goes up."""
    for error in (SystemExit(3), BaseExceptionGroup("both", [ValueError("x"), SystemExit(3)])):
        service = FakeService(Life(live_s=1.0, error=error))
        with pytest.RaisesGroup(SystemExit, flatten_subgroups=True):
            async with supervision() as supervisor:
                await supervisor.start("zmq.a", service)
                await trio.sleep(2.0)
        assert service.runs == 1


def test_leaf_and_line() -> None:
    """Our errors and the system's speak for themselves, others are named."""
    inner = ValueError("x")
    assert leaf_of(ExceptionGroup("a", [ExceptionGroup("b", [inner])])) is inner
    assert describe(ExceptionGroup("a", [inner])) == "ValueError: x"
    assert describe(ApplianceError("message", hint="do this")) == str(ApplianceError("message", hint="do this"))
    assert describe(OSError(2, "No such file", "/x")) == "[Errno 2] No such file: '/x'"


async def test_default_back_off() -> None:
    """A handle is what the supervisor makes of a name and a service."""
    async with trio.open_nursery() as nursery:
        handle = await Supervisor(nursery).start("zmq.a", FakeService())
        assert isinstance(handle, Handle)
        assert await handle.stop(1.0)
