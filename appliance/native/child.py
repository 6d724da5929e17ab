"""Starting programs without copying our memory, and with nothing of ours but what they are given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from appliance._native import ffi, lib

__all__ = ["spawn"]

_UNLIMITED = (1 << 64) - 1
_DOING = {
    lib.CHILD_FORK: "cannot start a process",
    lib.CHILD_LIMITS: "cannot limit the process",
    lib.CHILD_PRIVILEGES: "cannot drop privileges",
    lib.CHILD_DESCRIPTORS: "cannot hand over descriptors",
    lib.CHILD_DIRECTORY: "cannot work in",
    lib.CHILD_EXEC: "cannot execute",
}


def spawn(
    path: str,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    descriptors: Sequence[int],
    directory: str | None = None,
    limits: Mapping[int, tuple[int, int]] = {},
) -> int:
    """Execute `path` in a session of its own, without capabilities, killed when the calling thread ends.

    Args:
        path: of the program; it is not looked for.
        argv: its arguments, the name that it goes by first.
        environment: all of it.
        descriptors: what becomes 0, 1, 2, …: at most 16; the child has no others.
        directory: to work in; None: ours.
        limits: RLIMIT number → soft and hard limit; -1: none.

    Returns:
        Its process ID, to be reaped by the caller.

    Raises:
        OSError: the program was not started; says what could not be done.
        ValueError: a NUL character, or too many descriptors.
    """
    texts = [*argv, *(f"{name}={value}" for name, value in environment.items())]
    if any("\0" in text for text in (path, directory or "", *texts)):
        raise ValueError("a NUL character in what a program is started with")
    if len(descriptors) > 16:
        raise ValueError(f"too many descriptors for a child: {len(descriptors)}")
    kept = [ffi.new("char[]", os.fsencode(text)) for text in texts]
    words = ffi.new("char *[]", [*kept[: len(argv)], ffi.NULL])
    variables = ffi.new("char *[]", [*kept[len(argv) :], ffi.NULL])
    bounds = ffi.new("struct child_limit[]", [(n, _limit(soft), _limit(hard)) for n, (soft, hard) in limits.items()])
    where = ffi.NULL if directory is None else ffi.new("char[]", os.fsencode(directory))
    pid, step = ffi.new("int *"), ffi.new("int *")
    error = lib.child_spawn(
        os.fsencode(path), words, variables, where,
        ffi.new("int[]", list(descriptors)), len(descriptors), bounds, len(limits), pid, step,
    )  # fmt: skip
    if error:
        about = {lib.CHILD_DIRECTORY: directory, lib.CHILD_EXEC: path}.get(step[0])
        raise OSError(error, f"{_DOING[step[0]]}: {os.strerror(error)}", about)
    return int(pid[0])


def _limit(value: int) -> int:
    return _UNLIMITED if value < 0 else value
