"""A real Zeek: it runs a script of ``tests/interop/zeek``, is given commands, and tells what happens.

Commands are lines of the file ``commands`` in its folder, which it follows; so they do not depend on what is tested.
What it prints are lines ``KIND TEXT``; they, and what it writes to standard error, end up in its journal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from .journal import DEADLINE_S, Journal

__all__ = ["SCRIPTS", "ZeekProcess", "find_zeek", "open_zeek", "require_zeek"]

SCRIPTS = Path(__file__).parent / "zeek"
_GRACE_S = 10.0
"""A Zeek that ends waits up to three seconds for each peer's farewell."""


def find_zeek() -> str | None:
    """The binary on the PATH."""
    return shutil.which("zeek")


def require_zeek() -> str:
    """The binary, or the test is skipped."""
    zeek = find_zeek()
    if zeek is None:
        pytest.skip("no zeek on the PATH")
    return zeek


class ZeekProcess(Journal):
    """One run. `folder` is its working directory, where it writes its logs."""

    def __init__(self, folder: Path, process: trio.Process) -> None:
        super().__init__()
        self.folder = folder
        self.process = process
        self._given = 0

    async def command(self, *words: str) -> None:
        """Have it do something, and wait until it has done so."""
        assert not any(character in word for word in words for character in "\t\n")
        self._given += 1
        with (self.folder / "commands").open("a") as file:
            file.write("\t".join(words) + "\n")
        await self.wait("done", count=self._given)

    def begin_command(self, *words: str) -> None:
        """Have it do something from which it does not come back."""
        with (self.folder / "commands").open("a") as file:
            file.write("\t".join(words) + "\n")

    def lines(self, log: str) -> list[str]:
        """The records of one of its logs, written as JSON."""
        path = self.folder / f"{log}.log"
        return path.read_text().splitlines() if path.exists() else []

    async def wait_ended(self, *, timeout_s: float = DEADLINE_S) -> int:
        with trio.fail_after(timeout_s):
            return await self.process.wait()

    async def follow(self) -> None:
        """Put everything into the journal until its end."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, self.process.stdout, "")
            nursery.start_soon(self._follow, self.process.stderr, "stderr")
        self.end(f"exit code {await self.process.wait()}")

    async def _follow(self, stream: trio.abc.ReceiveStream, kind: str) -> None:
        """Put lines into the journal; without a kind, their first word is it."""
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "backslashreplace")
                first, _, more = text.partition(" ")
                self.tell(*((kind, text) if kind else (first, more)))


@asynccontextmanager
async def open_zeek(
    folder: Path,
    script: str,
    *,
    redefs: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    is_bare: bool = True,
    ready: str = "ready",
) -> AsyncIterator[ZeekProcess]:
    """A Zeek that is ready; at the end it is told to end, and killed if it does not.

    Args:
        folder: made if need be.
        script: the name of one of ours.
        redefs: constants by name, values as Zeek writes them.
        env: more of the environment.
        arguments: more of the command line, e.g. ``-r``.
        is_bare: whether it loads no more than it needs.
        ready: what it tells when it can begin; nothing is waited for without it.
    """
    zeek = require_zeek()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands").touch()
    (folder / "site.zeek").write_text("".join(f"redef {name} = {value};\n" for name, value in (redefs or {}).items()))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CLUSTER_", "ZEEK_DEFAULT_"))}
    if "ZEEKPATH" in clean:
        clean["ZEEKPATH"] = f".:{clean['ZEEKPATH']}"  # as without: a cluster's layout lies in the folder
    command = [zeek, *(["-b"] if is_bare else []), *arguments, os.fspath(SCRIPTS / script), "site.zeek"]
    process = await trio.lowlevel.open_process(
        command, cwd=folder, env=clean | dict(env or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run = ZeekProcess(folder, process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.follow)
            if ready:
                await run.wait(ready)
            yield run
            if process.returncode is None:
                process.terminate()
            with trio.move_on_after(_GRACE_S):
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
