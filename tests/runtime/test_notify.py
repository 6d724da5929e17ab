"""Messages to the service manager, received by a real datagram socket."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from appliance.runtime.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The manager's socket and what NOTIFY_SOCKET says."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@appliance-test-{os.getpid()}-{time.time_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.setblocking(False)
        yield sock, name


def fields_of(sock: socket.socket) -> dict[str, str]:
    """The next datagram."""
    return dict(line.split("=", 1) for line in sock.recv(4096).decode().split("\n"))


def test_states_are_one_datagram_each(manager: tuple[socket.socket, str]) -> None:
    """The stamp of a reload is in the same datagram, in microseconds of CLOCK_MONOTONIC."""
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("running")
    assert fields_of(sock) == {"READY": "1", "STATUS": "running", "MAINPID": str(os.getpid())}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    fields = fields_of(sock)
    assert fields["RELOADING"] == "1"
    assert before <= int(fields.pop("MONOTONIC_USEC")) <= after
    assert set(fields) == {"RELOADING"}
    notifier.stopping()
    assert fields_of(sock) == {"STOPPING": "1", "STATUS": "draining"}
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_no_child_inherits_the_variables(manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken out of the environment, by default the process's own."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager[1])
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert notifier.watchdog_s == 2.0
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    notifier.send(STATUS="here")
    assert fields_of(manager[0]) == {"STATUS": "here"}


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [("3000000", None, 3.0), ("3000000", "1", 0.0), ("", None, 0.0), ("soon", None, 0.0), ("²", None, 0.0)],
)
def test_watchdog_is_for_us_or_not(usec: str, pid: str | None, watchdog_s: float) -> None:
    """Another process's watchdog, or none, or nonsense, asks for nothing."""
    environ = {"WATCHDOG_USEC": usec} | ({} if pid is None else {"WATCHDOG_PID": pid})
    assert Notifier(environ).watchdog_s == watchdog_s
    assert environ == {}


def test_without_a_manager_nothing_happens() -> None:
    """Nor with one that has gone, or one that cannot be meant."""
    Notifier({}).ready("running")
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready("running")
    Notifier({"NOTIFY_SOCKET": "/" + 200 * "x"}).ready("running")


def test_a_full_socket_does_not_block(manager: tuple[socket.socket, str]) -> None:
    """What does not fit is lost."""
    notifier = Notifier({"NOTIFY_SOCKET": manager[1]})
    for _ in range(2000):
        notifier.send(STATUS="x" * 1000)
    assert fields_of(manager[0]) == {"STATUS": "x" * 1000}


def test_no_descriptor_is_no_failure(manager: tuple[socket.socket, str]) -> None:
    """A process that has none left has other worries."""
    notifier = Notifier({"NOTIFY_SOCKET": manager[1]})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        notifier.send(STATUS="x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(BlockingIOError):
        manager[0].recv(1)


@pytest.mark.parametrize(("usec", "every_s"), [("4000000", 2.0), ("60000000", 10.0), ("", 10.0)])
async def test_heartbeat(
    manager: tuple[socket.socket, str], usec: str, every_s: float, autojump_clock: MockClock
) -> None:
    """At half the watchdog's interval at least, from the event loop; without a watchdog only the status."""
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": usec})
    with trio.move_on_after(3.5 * every_s):
        await notifier.run_heartbeat(lambda: f"at {trio.current_time():g}")
    watchdog = {"WATCHDOG": "1"} if usec else {}
    for beat in range(4):
        assert fields_of(sock) == {"STATUS": f"at {beat * every_s:g}"} | watchdog
    with pytest.raises(BlockingIOError):
        sock.recv(1)


async def test_start_and_stop_may_take_their_time(
    manager: tuple[socket.socket, str], autojump_clock: MockClock
) -> None:
    """With each beat the manager is asked to wait for the next one, which comes long before that time is over."""
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    with trio.move_on_after(25):
        await notifier.run_heartbeat(lambda: "", is_busy=lambda: trio.current_time() < 15)
    more = {"EXTEND_TIMEOUT_USEC": "30000000"}
    assert [fields_of(sock) for _ in range(3)] == [{"STATUS": ""} | more, {"STATUS": ""} | more, {"STATUS": ""}]
