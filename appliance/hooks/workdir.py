"""The folder of its own that a program works in: it gets its name when the program has ended well."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from appliance.config.commands import fill_words
from appliance.model import FolderReady

from .steer import Reject

__all__ = ["Workdir"]

MAX_COPIES = 10_000
"""Names that are tried when one is taken."""


class Workdir:
    """Folders for the calls of one hook.

    Args:
        pattern: absolute, with placeholders.
        hook: its name.
        produces: what `FolderReady.watch` is; empty: nobody is told of the folders.
    """

    def __init__(self, pattern: str, *, hook: str, produces: str) -> None:
        self._pattern = pattern
        self._root = pattern.partition("{")[0].rpartition("/")[0] or "/"
        self._source = f"hook.{hook}"
        self._produces = produces
        self._busy: set[Path] = set()

    @property
    def is_wanted(self) -> bool:
        return bool(self._pattern)

    @asynccontextmanager
    async def open(self, values: Mapping[str, str], produce: Callable[[FolderReady], None]) -> AsyncIterator[str]:
        """Make a folder, hidden, for as long as the body lasts; then it gets its name, and `produce` the item. If the
        body fails it is deleted.

        Raises:
            Reject: a value cannot be a part of a name.
            OSError: it cannot be made, or renamed.
        """
        final = self._fill(values)
        part = self._choose(final)
        self._busy.add(part)
        try:
            await trio.to_thread.run_sync(_make, part)
            yield str(part)
            item = await trio.to_thread.run_sync(self._finish, part, final)
            if self._produces:
                produce(item)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(shutil.rmtree, part, ignore_errors=True))
            self._busy.discard(part)

    def _fill(self, values: Mapping[str, str]) -> Path:
        for name, value in values.items():
            if f"{{{name}}}" in self._pattern and (not value or "/" in value or value[0] == "."):
                raise Reject(f"{value!r} cannot be a part of the name of a folder")
        try:
            return Path(fill_words([self._pattern], values)[0])
        except ValueError as exc:
            raise Reject(str(exc)) from None

    def _choose(self, final: Path) -> Path:
        part, number = final.with_name(f".{final.name}.part"), 1
        while part in self._busy:
            part, number = final.with_name(f".{final.name}.{number}.part"), number + 1
        return part

    def _finish(self, part: Path, final: Path) -> FolderReady:
        """Rename the folder to a name that nobody has; blocks."""
        found = [file.lstat() for file in part.rglob("*") if not file.is_dir()]
        for number in range(MAX_COPIES):
            target = final.with_name(f"{final.name}.{number}") if number else final
            if os.path.lexists(target):
                continue
            part.rename(target)
            status = target.stat()
            return FolderReady(
                watch=self._produces, source=self._source, path=str(target),
                relative=os.path.relpath(target, self._root), disk_size=sum(each.st_size for each in found),
                mtime_ns=max(each.st_mtime_ns for each in (status, *found)), inode=status.st_ino, files=len(found),
            )  # fmt: skip
        raise FileExistsError(errno.EEXIST, "too many folders of this name", str(final))


def _make(part: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(part)  # what a crash has left
    part.mkdir(parents=True)
