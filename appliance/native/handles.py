"""What every module of this package needs: the life of a C object, and C's errors as Python's."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

from appliance._native import ffi

__all__ = ["Owner", "allocate", "fail", "opened", "text"]

allocate = ffi.new_allocator(should_clear_after_alloc=False)


def fail(error: int) -> NoReturn:
    raise OSError(error, os.strerror(error))


def text(pointer: Any, length: int) -> str:
    return bytes(ffi.buffer(pointer, length)).decode() if length else ""


class Owner:
    """Holds one C object.

    Closing only drops our reference, so that a call that is still running in another thread keeps the C object until
    it returns.
    """

    def __init__(self, handle: Any) -> None:
        self._handle: Any = handle

    def close(self) -> None:
        """Free the C object; harmless if that has been done."""
        self._handle = None

    @property
    def open_handle(self) -> Any:
        """The C object, for the modules of this package."""
        if self._handle is None:
            raise ValueError(f"{type(self).__name__} is closed")
        return self._handle


def opened(kind: str, error: int, out: Any, closer: Any) -> Any:
    if error == errno.EINVAL:
        raise ValueError(f"a limit of {kind} is out of range")
    if error == errno.ENOMEM:
        raise MemoryError(f"no memory for {kind}")
    if error:
        fail(error)
    return ffi.gc(out[0], closer)
