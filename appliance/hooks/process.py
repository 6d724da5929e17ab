"""One worker process of a hook, seen from the loop: it is started, given work, watched, and killed if need be.

Whatever it does, only the record that it was called for is charged: it writes into a page of memory how far it is
(`Progress`), and what it said before it died is read to the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import trio

from appliance.errors import RemoteProtocolError
from appliance.runtime.bundle import HOOK_WORKER, program_argv, worker_environment
from appliance.runtime.children import Child, Limits, describe_exit, open_child
from appliance.runtime.histogram import Histogram
from appliance.runtime.journal.entries import Failure

from .effects import Effects
from .failure import Outcome, OverdueError
from .frames import FrameDecoder, frame
from .messages import Answer, Asked, Broken, FromWorker, Ready, Setup, Told, ToWorker, Work, decode_from_worker, encode
from .plumbing import Plumbing
from .printed import OutputLog
from .round import Round

__all__ = ["Services", "Worker", "WorkerError", "run_worker"]

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 2.0
"""For what a hook registered to be done at the end."""
LOST_TIMEOUT_S = 1.0
"""A worker without its connection ends by itself; else it is ended."""
_READ_BYTES = 1 << 16


class WorkerError(Exception):
    """A worker did not start."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What workers may tell and ask. The arguments come from the hook: anything that MessagePack holds."""

    tell: Mapping[str, Callable[..., None]]
    ask: Mapping[str, Callable[..., Awaitable[Any]]]
    """Return what MessagePack holds. What they raise reaches the hook as an `AskError` with its text."""


class Worker:
    """See the module; made by `run_worker`.

    Args:
        child: the process.
        plumbing: what connects us.
        output: what it prints.
        services: what it may tell and ask.
        timeout_s: for each call.
    """

    def __init__(
        self,
        child: Child,
        plumbing: Plumbing,
        *,
        output: OutputLog,
        services: Services,
        timeout_s: float,
    ) -> None:
        self._child = child
        self._connection, self._replies = plumbing.connection, plumbing.replies
        self._progress, self._output, self._services = plumbing.progress, output, services
        self._timeout_s = timeout_s
        self._decoder = FrameDecoder()
        self._greeting: Ready | Broken | None = None
        self._greeted = trio.Event()
        self._round: Round | None = None
        self.end = ""
        """How it ended, or why it was ended: ``killed by SIGSEGV``."""
        self.is_usable = True
        """It can be given more work."""
        self.records = 0
        """That it was given."""

    # ── life ──

    async def serve(self) -> None:
        """Listen to the process until it ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._output.run)
            code = await self._child.wait()
            nursery.cancel_scope.cancel()
        self.is_usable = False
        self.end = self.end or describe_exit(code)
        # A child of the hook's own may still hold the other ends: we do not wait for them.
        self._output.drain()
        self._hear_rest()
        self._greeted.set()
        if self._round is not None:
            self._round.over.set()

    async def greet(self, setup: Setup) -> str:
        """Tell the process what it is for and wait until it has imported the hook; returns why not if it cannot."""
        with trio.move_on_after(START_TIMEOUT_S):
            await self._send(setup)
            await self._greeted.wait()
        if isinstance(self._greeting, Ready):
            return ""
        if isinstance(self._greeting, Broken):
            return self._greeting.error
        return f"the worker process {self.end or 'does not answer'} before it was ready\n{self._output.tail}".strip()

    async def finish(self) -> None:
        """Let the process end; it has nothing to do."""
        self.is_usable = False
        with trio.move_on_after(END_TIMEOUT_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._connection.send_eof()
            await self._child.wait()
        self._child.kill()

    def kill(self, why: str) -> None:
        """End the process at once, unless it is ending."""
        if self.is_usable:
            self.is_usable = False
            self.end = why
            self._child.kill()

    # ── work ──

    async def work(
        self,
        work: Work,
        *,
        calls: Sequence[Sequence[int]],
        outcomes: list[Outcome],
        undecodable: set[int],
        durations: Histogram,
        effects: dict[int, Effects],
    ) -> None:
        """Have some of `calls` made, in their order, and append their outcomes; positions of records that are none are
        added to `undecodable`, how long calls took to `durations`, and what they want to have done to `effects`. A call
        is the positions of its records.

        If the process ends meanwhile, or a call exceeds its time, the last outcome says so and the worker is not usable
        any more. There may be no outcome at all.

        Cancellation: at once. A call that is being made has no outcome, and the worker is not usable any more.
        """
        assert self._round is None
        current = self._round = Round(calls, undecodable)
        self._progress.reset()
        overdue: list[OverdueError] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, len(calls), overdue)
                await self._send(work)
                await current.over.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._round = None
            effects.update(current.effects)
            if current.is_done:
                outcomes += current.outcomes()
                for ns in current.durations_ns:
                    durations.add(ns / 1e9)
            else:
                self.kill("killed in the middle of a call")
                begun, ended, _ = self._progress.read(len(calls))
                cause = overdue[0] if overdue else self._crash() if current.over.is_set() else None
                outcomes += current.outcomes_without_end(begun, ended, cause)

    def _crash(self) -> Failure:
        was = "was " if self.end.startswith("killed") else ""
        return Failure(reason="crash", error=f"the worker process {was}{self.end}", trace=self._output.tail)

    async def _watch(self, calls: int, overdue: list[OverdueError]) -> None:
        """Kill the process when a call exceeds its time, or nothing happens for that time."""
        seen = -1
        while True:
            begun, ended, since_ns = self._progress.read(calls)
            if seen == begun + ended:
                break
            seen = begun + ended
            left_s = since_ns / 1e9 + self._timeout_s - time.monotonic() if begun > ended else self._timeout_s
            await trio.sleep(min(max(left_s, 0.0), self._timeout_s))
        overdue.append(OverdueError(f"not finished within {self._timeout_s:g} s"))
        self.kill("killed because a call exceeded its time")

    # ── what is said ──

    async def _send(self, message: ToWorker) -> None:
        # If it is gone its end is what tells.
        with suppress(trio.BrokenResourceError):
            await self._connection.send_all(frame(encode(message)))

    async def _listen(self) -> None:
        data: bytes | bytearray = b"-"
        while data:
            try:
                data = await self._connection.receive_some(_READ_BYTES)
                for body in self._decoder.feed(data):
                    message = decode_from_worker(body)
                    if isinstance(message, Asked):
                        await self._answer(message)
                    else:
                        self._hear(message)
            except trio.BrokenResourceError:
                break
            except RemoteProtocolError as exc:
                self.kill(f"broke the protocol: {exc.message}")
                return
        await trio.sleep(LOST_TIMEOUT_S)
        self.kill("closed its connection")

    def _hear_rest(self) -> None:
        """What it said and we have not read; nobody waits for answers."""
        with suppress(OSError, RemoteProtocolError):
            while data := os.read(self._connection.socket.fileno(), _READ_BYTES):
                for body in self._decoder.feed(data):
                    message = decode_from_worker(body)
                    if not isinstance(message, Asked):
                        self._hear(message)

    def _hear(self, message: FromWorker) -> None:
        if isinstance(message, Ready | Broken):
            self._greeting = self._greeting or message
            self._greeted.set()
        elif isinstance(message, Told):
            self._take(message)
        elif self._round is not None and not isinstance(message, Asked):
            self._round.hear(message)
            self.is_usable = self.is_usable and not getattr(message, "is_last", False)
        else:
            raise RemoteProtocolError("a worker without work says that it works")

    def _take(self, message: Told) -> None:
        try:
            self._services.tell[message.what](*message.arguments)
        except Exception as exc:
            raise RemoteProtocolError(f"cannot be told {message.what!r}: {type(exc).__name__}: {exc}") from exc

    async def _answer(self, message: Asked) -> None:
        try:
            answer = encode(Answer(await self._services.ask[message.what](*message.arguments)))
        except Exception as exc:  # noqa: BLE001 - the hook's question, the hook's trouble
            answer = encode(Answer(error=f"{type(exc).__name__}: {exc}"[:500] or "refused"))
        with suppress(trio.BrokenResourceError):
            await self._replies.send_all(frame(answer))


async def run_worker(
    setup: Setup,
    *,
    limits: Limits,
    services: Services,
    make_output: Callable[[int], OutputLog],
    task_status: trio.TaskStatus[Worker],
) -> None:
    """Run one worker process until it ends; it is started when it has imported the hook.

    Raises:
        WorkerError: it did not start, or could not import the hook.
        OSError: there is no room for another process.
    """
    refusal = ""
    with Plumbing() as plumbing:
        limits = Limits(memory=limits.memory)  # processor time is limited for each call, by the worker
        argv, environment = program_argv(HOOK_WORKER), worker_environment()
        async with open_child(argv, descriptors=plumbing.theirs, environment=environment, limits=limits) as child:
            plumbing.close_theirs()
            output = make_output(plumbing.printed)
            worker = Worker(child, plumbing, output=output, services=services, timeout_s=setup.timeout_s)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.serve)
                refusal = await worker.greet(setup)
                if refusal:
                    worker.kill("killed")
                else:
                    task_status.started(worker)
    if refusal:
        raise WorkerError(refusal)
