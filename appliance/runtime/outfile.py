"""Part files whose name is free in its compressed form, too, so that nothing is in the way when they are compressed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .compress import ZST
from .partfile import PartFile
from .pattern import MAX_COUNTER, PART_SUFFIX, numbered

__all__ = ["OutFile"]

_TRIES = 8


class OutFile(PartFile):
    """See the module."""

    @classmethod
    def open_new(cls, final: Path) -> OutFile:
        """As `PartFile.create`.

        Raises:
            OSError: the same.
        """
        for _ in range(_TRIES):
            counter = next((n for n in range(MAX_COUNTER + 1) if _is_free(numbered(str(final), n))), MAX_COUNTER)
            name = numbered(str(final), counter)
            try:
                file = cls.create(Path(name))
            except FileNotFoundError:
                continue  # whoever tidies up removed the directory between two steps
            if str(file.path) == name + PART_SUFFIX:
                assert isinstance(file, OutFile)
                file._base, file._counter = final, counter  # noqa: SLF001 - of our own class
                return file
            file.discard()  # somebody else was quicker to take that name
        raise FileExistsError(errno.EEXIST, "others take every name first", str(final))


def _is_free(name: str) -> bool:
    return not any(os.path.lexists(name + ending) for ending in ("", PART_SUFFIX, ZST))
