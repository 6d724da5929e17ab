"""Child processes that have nothing of the appliance: no capabilities, no descriptors, none of the service manager's or
the bundler's variables. Each leads a process group, which ends with it; none outlives the appliance.

A child that makes itself a daemon, with a session of its own, leaves its group; it is nobody's here.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import trio

from appliance.native.child import spawn

from .environment import child_environment

__all__ = ["Child", "Limits", "child_environment", "describe_exit", "open_child"]

_GRACE_CPU_S = 5
"""A child that catches SIGXCPU has so much longer until it is killed."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one process may use. What is None is not limited."""

    memory: int | None = None
    """Bytes of memory of its own (RLIMIT_DATA): neither files that it maps nor what it shares count."""
    cpu_s: float | None = None
    """Processor time, rounded up to whole seconds: SIGXCPU ends it."""

    def as_rlimits(self) -> dict[int, tuple[int, int]]:
        """RLIMIT number → soft and hard limit."""
        found = {}
        if self.memory is not None:
            found[resource.RLIMIT_DATA] = (self.memory, self.memory)
        if self.cpu_s is not None:
            seconds = max(1, -int(-self.cpu_s // 1))
            found[resource.RLIMIT_CPU] = (seconds, seconds + _GRACE_CPU_S)
        return found


def describe_exit(code: int) -> str:
    """How a process ended, e.g. ``exited with 3`` or ``killed by SIGSEGV``.

    Args:
        code: what it exited with, or the number of the signal that ended it, negated.
    """
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Child:
    """A process that was started by `open_child`.

    Attributes:
        pid: of the process, and of its group.
        code: how it ended, see `describe_exit`; None: it was not reaped yet.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None
        try:
            self._fd = os.pidfd_open(pid)
        except OSError:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._reaping = trio.Lock()

    async def wait(self) -> int:
        """Wait until the process ends; what is left of its group is killed then.

        Returns:
            How it ended, see `describe_exit`.
        """
        async with self._reaping:
            if self.code is None:
                await trio.lowlevel.wait_readable(self._fd)
                # Before it is reaped: until then its number is nobody else's.
                self.kill()
                self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])  # noqa: ASYNC222 - it has ended
                os.close(self._fd)
        return self.code

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process and all of its group; nothing happens if it has been reaped."""
        if self.code is None:
            with suppress(ProcessLookupError, PermissionError):  # all of it has another user now
                os.killpg(self.pid, number)


@asynccontextmanager
async def open_child(
    argv: Sequence[str],
    *,
    descriptors: Sequence[int],
    directory: str | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Child]:
    """Run a program for as long as the body lasts. To be called in the loop's own thread, with which its children end.

    Args:
        argv: program and arguments; a program without a slash is looked for on the PATH of `environment`.
        descriptors: what becomes 0, 1, 2, … of the child; the caller closes his.
        directory: to work in; None: ours.
        environment: all of it; None: ours, see `child_environment`.
        limits: for each process of the child.

    Raises:
        OSError: it was not started; `FileNotFoundError`: there is no such program.

    Resource handling: when the body ends, however it does, whatever is left of the group is killed and reaped.
    """
    environment = child_environment() if environment is None else environment
    child = Child(
        spawn(
            _find(argv[0], environment.get("PATH", os.defpath)),
            argv,
            environment=environment,
            descriptors=descriptors,
            directory=directory,
            limits=limits.as_rlimits() if limits is not None else {},
        )
    )
    try:
        yield child
    finally:
        child.kill()
        with trio.CancelScope(shield=True):
            await child.wait()


def _find(program: str, path: str) -> str:
    if "/" in program:
        return program
    found = shutil.which(program, path=path)
    if found is None:
        raise FileNotFoundError(2, "there is no such program on the PATH", program)
    return found
