"""What becomes of a thing with which everybody is done: deleted, or moved into an archive. Blocks on the disk."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from .look import Rules, Seen, look_at
from .memory import Thing

__all__ = ["delete", "move"]

MAX_COPIES = 10_000
"""Names that are tried when one is taken."""


def _is_there(rules: Rules, relative: str, thing: Thing) -> bool:
    """Whether what is there now is what was handed on: if it was replaced in the meantime it is left alone."""
    seen: Seen | None = look_at(rules, f"{rules.root}/{relative}")
    return seen is not None and thing.is_same(seen, by_content=rules.what == "files")


def delete(rules: Rules, relative: str, thing: Thing) -> None:
    """Delete it, if it is still what it was.

    Raises:
        OSError: it cannot be deleted.
    """
    if not _is_there(rules, relative, thing):
        return
    path = Path(rules.root, relative)
    with suppress(FileNotFoundError):
        if rules.what == "folders":
            shutil.rmtree(path)
        else:
            path.unlink()


def move(rules: Rules, relative: str, thing: Thing, *, into: str) -> None:
    """Move it to the same relative path below another folder, under a further name if that one is taken.

    On another file system it is copied, appears there by rename, and is deleted here then.

    Raises:
        OSError: it cannot be moved, and is where it was.
    """
    if not _is_there(rules, relative, thing):
        return
    path = Path(rules.root, relative)
    wanted = Path(into, relative)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename_new(path, wanted)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        part = wanted.with_name(f".{wanted.name}.part")
        _remove(part)
        if rules.what == "folders":
            shutil.copytree(path, part, symlinks=True)
        else:
            shutil.copy2(path, part, follow_symlinks=False)
            _sync(part)
        _rename_new(part, wanted)
        delete(rules, relative, thing)


def _rename_new(path: Path, wanted: Path) -> None:
    """Rename to a name that nobody has; there is one mover for each watch."""
    target = wanted
    for number in range(1, MAX_COPIES):
        if not os.path.lexists(target):
            path.rename(target)
            return
        target = wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")
    raise FileExistsError(errno.EEXIST, "too many files of this name", str(wanted))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
