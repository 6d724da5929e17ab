"""Command hooks: a program for each item. No shell, nothing of the appliance's in it, and its whole process group ends
with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePath
from typing import Any

import msgspec
import structlog
import trio

from appliance.config import Hook
from appliance.config.commands import fill_words, placeholders_of
from appliance.model import EventBatch, Item, LogBatch, NodeStatus, Print, StoreEvent
from appliance.runtime.children import Limits, child_environment, describe_exit, open_child
from appliance.zeek.events import StoreRecord, plain_args, plain_store_record

from .callables import Context
from .steer import Failed, Reject, Retry
from .workdir import Workdir
from .written import Written

__all__ = ["TEMPFAIL", "Command", "find_program"]

log = structlog.get_logger("hook")

TEMPFAIL = 75
"""Exit code with which a program asks for another attempt (EX_TEMPFAIL of sysexits(3))."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_LINGER_S = 1.0
"""A process that has left the group may hold the pipes open; we listen for so long after the program has ended."""
_LAST_WORDS = 200
"""Characters of the last line that a failure is told with."""


def find_program(words: Sequence[str], environ: Mapping[str, str] = os.environ) -> None:
    """Look whether the program of a command is there.

    Raises:
        ValueError: it is not, or it cannot be executed.
    """
    program = words[0]
    folders = [""] if "/" in program else environ.get("PATH", os.defpath).split(os.pathsep)
    found = [path for folder in folders if os.path.exists(path := os.path.join(folder, program))]  # noqa: PTH110, PTH118
    if not found:
        raise ValueError(f"there is no program {program!r}" + ("" if "/" in program else " on the PATH"))
    if not any(os.access(path, os.X_OK) and not os.path.isdir(path) for path in found):  # noqa: PTH112
        raise ValueError(f"{found[0]!r} cannot be executed")


class Command:
    """The callable of a command hook, an asynchronous one.

    Args:
        config: its table.
    """

    def __init__(self, config: Hook) -> None:
        self._words = config.command
        self._wanted = placeholders_of(config.command)
        self._environment = child_environment()
        self._environment["HOOK_NAME"] = config.name
        cpu_s = None if config.cpu_limit is None else config.cpu_limit.seconds
        self._limits = Limits(memory=config.memory_limit, cpu_s=cpu_s)
        self._log = log.bind(hook=config.name)
        self._workdir = Workdir(config.workdir, hook=config.name, produces=config.produces.partition(":")[2])
        if config.workdir:
            self._wanted = self._wanted | placeholders_of([config.workdir])

    async def __call__(self, record: dict[str, Any] | list[dict[str, Any]], context: Context) -> None:
        """Run the program with `record`, or records, on its standard input: one JSON object a line.

        Raises:
            Retry: it exited with `TEMPFAIL`.
            Reject: a value cannot be put into the command.
            Failed: it exited with another code than 0, was killed, or was not started; has the end of what it wrote.

        Cancellation: the process group is killed.
        """
        records = record if isinstance(record, list) else [record]
        values = _values(context.item, records[0]) if self._wanted else {}
        if not self._workdir.is_wanted:
            await self._run_in(None, values, records, context)
            return
        try:
            async with self._workdir.open(values, context.produce) as folder:
                await self._run_in(folder, values, records, context)
        except OSError as exc:
            raise Failed(f"the folder to work in: {exc.strerror}", trace=str(exc)) from None

    async def _run_in(
        self, folder: str | None, values: Mapping[str, str], records: Sequence[Mapping[str, Any]], context: Context
    ) -> None:
        words = self._fill(values)
        environment = {**self._environment, "HOOK_ATTEMPT": str(context.attempt)}
        try:
            code, out, err = await self._run(words, environment, encode_lines(records), folder)
        except OSError as exc:
            raise Failed(f"{words[0]!r} was not started: {exc.strerror}", trace=str(exc)) from None
        if out.size or err.size:
            self._log.debug("command wrote", code=code, stdout=out.text, stderr=err.text)
        if code == 0:
            return
        what = describe_exit(code)
        if last := _last_line(err.text) or _last_line(out.text):
            what = f"{what}: {last}"
        if code == TEMPFAIL:
            raise Retry(what)
        raise Failed(what, trace=_join(out.text, err.text))

    async def _run(
        self, words: list[str], environment: Mapping[str, str], data: bytes, folder: str | None
    ) -> tuple[int, Written, Written]:
        with ExitStack() as ours, ExitStack() as theirs:
            descriptors = [_sealed_file(data)]
            theirs.callback(os.close, descriptors[0])
            captures = []
            for _ in ("stdout", "stderr"):
                reading, writing = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, writing)
                descriptors.append(writing)
                captures.append(Written(reading))
                ours.callback(captures[-1].close)
            async with (
                open_child(
                    words, descriptors=descriptors, directory=folder, environment=environment, limits=self._limits
                ) as child,
                trio.open_nursery() as nursery,
            ):
                theirs.close()
                for capture in captures:
                    nursery.start_soon(capture.run)
                code = await child.wait()
                nursery.cancel_scope.deadline = trio.current_time() + _LINGER_S
        return code, captures[0], captures[1]

    def _fill(self, values: Mapping[str, str]) -> list[str]:
        try:
            return fill_words(self._words, values)
        except ValueError as exc:
            raise Reject(str(exc)) from None


def _sealed_file(data: bytes) -> int:
    """A descriptor to read `data` from. No pipe: nobody need feed a program that does not read, or take care of one
    that stops reading. Sealed: it takes no more memory than this.
    """
    fd = os.memfd_create("item", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _values(item: Item, record: Mapping[str, Any]) -> dict[str, str]:
    """What can be put in place of placeholders."""
    if isinstance(item, LogBatch | EventBatch | Print | StoreEvent | NodeStatus):
        ts = str(record.get("ts", ""))
        return {"path": item.name, "name": item.name, "start": ts, "end": ts}
    path = str(record["path"])
    start, end = (_seconds(record.get(key, 0)) for key in ("first_ns", "last_ns"))
    return {"path": path, "name": PurePath(path).name, "dir": str(PurePath(path).parent), "start": start, "end": end}


def _seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09d}"


def encode_lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Records as JSON, one a line; the arguments of events are plain, as in files."""
    plain = [_plain(each) for each in records]
    try:
        return msgspec.json.Encoder().encode_lines(plain)
    except UnicodeEncodeError:
        return msgspec.json.Encoder().encode_lines([_printable(each) for each in plain])


def _plain(record: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(record.get("args"), tuple):
        return plain_args(dict(record))
    return plain_store_record(record) if isinstance(record, StoreRecord) else record


def _printable(value: Any) -> Any:
    """With ``\\xNN`` in place of bytes that are not UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {_printable(name): _printable(each) for name, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


def _last_line(text: str) -> str:
    lines = text.rstrip().splitlines()
    return lines[-1].strip()[-_LAST_WORDS:] if lines else ""


def _join(out: str, err: str) -> str:
    parts = [f"{name}:\n{text.rstrip()}\n" for name, text in (("stdout", out), ("stderr", err)) if text]
    return "\n".join(parts)
