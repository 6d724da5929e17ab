"""One process of a package, as the appliance sees it: started when it is needed, asked one thing at a time, and killed
when it does not answer.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import msgspec
import structlog
import trio

from appliance.errors import RemoteProtocolError
from appliance.hooks.printed import Allowance, OutputLog
from appliance.hooks.steer import Failed
from appliance.runtime.bundle import SITES_WORKER, program_argv, worker_environment
from appliance.runtime.children import Limits, describe_exit, open_child

from .messages import MAX_PACKET, Broken, Call, Described, FromWorker, Result, Setup

__all__ = ["START_TIMEOUT_S", "Room"]

log = structlog.get_logger("sites")

START_TIMEOUT_S = 60.0
"""For the import of a package: pandas alone takes some seconds on a busy machine."""
_LEAVE_TIMEOUT_S = 5.0
"""For a process that is wanted no more to leave by itself, so that what it registered with `atexit` is done."""
_LINGER_S = 1.0

_from_worker = msgspec.json.Decoder(FromWorker)


class _Process:
    """One process from its start to its end."""

    def __init__(self, connection: trio.socket.SocketType, printed: OutputLog) -> None:
        self.connection = connection
        self.printed = printed
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.code = 0

    async def ask(self, message: Setup | Call) -> FromWorker | None:
        """Send a message and wait for the answer; None: it has gone, or closed the connection.

        Raises:
            RemoteProtocolError: the answer is none.
        """
        try:
            await self.connection.send(msgspec.json.encode(message))
            data = await self.connection.recv(MAX_PACKET)
        except OSError:
            return None
        if not data:
            return None
        try:
            answer: FromWorker = _from_worker.decode(data)
        except msgspec.MsgspecError as exc:
            raise RemoteProtocolError(f"a hook has meddled with the connection of its process: {exc}") from exc
        return answer

    async def wait_killed(self) -> None:
        self.scope.cancel()
        with trio.CancelScope(shield=True):
            await self.ended.wait()


class Room:
    """See the module.

    Args:
        setup: what is loaded in it.
        described: what that was when it was looked at; calls go by numbers.
        nursery: where its process is watched; when it is cancelled, the process is killed.
        name: for the log.
        memory: bytes of its own that the process may use; None: as many as there are.
    """

    def __init__(
        self, setup: Setup, described: Described, nursery: trio.Nursery, name: str, *, memory: int | None = None
    ) -> None:
        self._setup = setup
        self._described = described
        self._nursery = nursery
        self._limits = Limits(memory=memory)
        self._log = log.bind(sites=name)
        self._allowance = Allowance()
        self._lock = trio.Lock()
        self._process: _Process | None = None
        self.restarts = -1

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def open(self) -> None:
        """Start the process.

        Raises:
            Failed: the package cannot be loaded.
        """
        async with self._lock:
            await self._ensure()

    async def call(self, call: Call, timeout_s: float) -> Result:
        """Make a call; waits until those before it have ended, which does not count.

        Raises:
            TimeoutError: it was not finished in its time; the process is killed.
            Failed: the process ended, or cannot be started.

        Cancellation: the process is killed, unless it has not heard of the call.
        """
        async with self._lock:
            process = await self._ensure()
            try:
                with trio.move_on_after(timeout_s) as scope:
                    answer = await process.ask(call)
                if scope.cancelled_caught:
                    raise TimeoutError
                if isinstance(answer, Result):
                    return answer
                if answer is not None:
                    raise RemoteProtocolError("an answer to nothing that was asked")
            except BaseException as exc:
                await self._kill(process)
                if isinstance(exc, RemoteProtocolError):
                    raise Failed(str(exc), trace=process.printed.tail) from None
                raise
            raise await self._bury(process)

    async def close(self) -> None:
        """Let the process leave by itself, if there is one."""
        async with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            process.connection.close()
            with trio.move_on_after(_LEAVE_TIMEOUT_S):
                await process.ended.wait()
            await process.wait_killed()

    async def _ensure(self) -> _Process:
        if self._process is not None and self._process.ended.is_set():
            self._process = None
        if self._process is None:
            try:
                process: _Process = await self._nursery.start(self._run)
            except OSError as exc:
                raise Failed(f"no process for the package: {exc}") from None
            self.restarts += 1
            await self._load(process)
            self._process = process
        return self._process

    async def _load(self, process: _Process) -> None:
        answer: FromWorker | None = None
        try:
            with trio.move_on_after(START_TIMEOUT_S) as scope:
                answer = await process.ask(self._setup)
        except BaseException:
            await process.wait_killed()
            raise
        if answer == self._described:
            return
        if isinstance(answer, Described):
            await process.wait_killed()
            raise Failed("the functions of the package have changed, reload the configuration")
        if isinstance(answer, Broken):
            await process.wait_killed()
            raise Failed(answer.error)
        if scope.cancelled_caught:
            await process.wait_killed()
            raise Failed(f"the package was not imported within {START_TIMEOUT_S:.0f} s", trace=process.printed.tail)
        raise await self._bury(process)

    async def _kill(self, process: _Process) -> None:
        self._process = None
        await process.wait_killed()

    async def _bury(self, process: _Process) -> Failed:
        """Its connection is closed; returns what to raise."""
        with trio.move_on_after(_LINGER_S):
            await process.ended.wait()
        told = describe_exit(process.code) if process.ended.is_set() else "closed its connection to the appliance"
        await self._kill(process)
        return Failed(f"its process {told}" if told.startswith("closed") else told, trace=process.printed.tail)

    async def _run(self, *, task_status: trio.TaskStatus[_Process]) -> None:
        with ExitStack() as ours, ExitStack() as theirs:
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.callback(far.close)
            connection = trio.socket.from_stdlib_socket(near)
            ours.callback(connection.close)
            reading, writing = os.pipe2(os.O_CLOEXEC)
            theirs.callback(os.close, writing)
            ours.callback(os.close, reading)
            process = _Process(connection, OutputLog(reading, log=self._log, allowance=self._allowance))
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            theirs.callback(os.close, null)
            descriptors = [null, writing, writing, far.fileno()]
            try:
                with process.scope:
                    async with (
                        open_child(
                            program_argv(SITES_WORKER),
                            descriptors=descriptors,
                            environment=worker_environment(),
                            limits=self._limits,
                        ) as child,
                        trio.open_nursery() as nursery,
                    ):
                        theirs.close()
                        nursery.start_soon(process.printed.run)
                        task_status.started(process)
                        process.code = await child.wait()
                        process.printed.drain()
                        process.ended.set()
                        nursery.cancel_scope.deadline = trio.current_time() + _LINGER_S
            finally:
                process.ended.set()
