"""The whole program as a child process, for tests that wait in Trio."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from tests.system.harness import BASE, Program, T, wait_for, write_conf

from .journal import DEADLINE_S, Journal

__all__ = ["broker_port", "open_product", "open_subscriber", "run_command", "until"]


async def until(look: Callable[[], T]) -> T:
    """`wait_for` in a thread."""
    return await trio.to_thread.run_sync(wait_for, look)


@asynccontextmanager
async def open_product(folder: Path, conf: str) -> AsyncIterator[Program]:
    """A program that is ready; at the end it stops, its peers' answers to its farewell permitting, with clean books."""
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(folder)
    try:
        write_conf(program, BASE + conf)
        program.start()
        await trio.to_thread.run_sync(program.wait_ready)
        yield program
        assert await trio.to_thread.run_sync(program.stop) == 0
    finally:
        program.close()


def broker_port(program: Program) -> int:
    return int((program.state / "broker.ports").read_text().rpartition(":")[2])


def _command(program: Program, *arguments: str) -> list[str]:
    socket = os.fspath(program.state / "api.sock")
    return [sys.executable, "-m", "appliance", *arguments, "--socket", socket]


async def run_command(program: Program, *arguments: str) -> str:
    """Run a command against the program; returns what it prints."""
    with trio.fail_after(DEADLINE_S):
        run = partial(trio.run_process, capture_stdout=True, stderr=None)
        return str((await run(_command(program, *arguments))).stdout, "utf-8")


@asynccontextmanager
async def open_subscriber(program: Program, *arguments: str) -> AsyncIterator[Journal]:
    """``broappliance subscribe`` in the background; its journal gets its lines, as ``line``."""
    journal = Journal()
    process = await trio.lowlevel.open_process(_command(program, "subscribe", *arguments), stdout=subprocess.PIPE)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, process, journal)
            yield journal
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _follow(process: trio.Process, journal: Journal) -> None:
    assert process.stdout is not None
    rest = b""
    async for chunk in process.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            journal.tell("line", line.decode())
    journal.end("it has ended")
