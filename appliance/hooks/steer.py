"""What a hook raises to say what becomes of its record."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["ExtractError", "Failed", "HookWarning", "Reject", "Retry"]


class Retry(Exception):  # noqa: N818 - a wish, no error
    """Try this record again later. It counts as an attempt.

    Args:
        after: seconds, or a `datetime.timedelta`; None: the configured back-off.
        reason: for people who look at what failed.

    Raises:
        ValueError: `after` is negative or no number.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not 0 <= seconds <= 10 * 365 * 86_400:
            raise ValueError(f"cannot try again after {after!r}")
        super().__init__(reason or "the hook asked for another attempt")
        self.after_s = None if seconds is None else float(seconds)


class Reject(Exception):  # noqa: N818 - the same
    """Do not try this record again: it is a dead letter at once.

    Args:
        reason: for people who look at what failed.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the hook rejected the record")


class Failed(Exception):  # noqa: N818 - the same
    """An attempt failed outside of Python.

    Args:
        reason: for people who look at what failed.
        trace: what is kept in place of a traceback, e.g. the end of what a program wrote.
    """

    def __init__(self, reason: str, *, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class HookWarning(Warning):
    """A hook failed, in a program that runs hooks beside it with `appliance.sites.remote_proc`."""


class ExtractError(Exception):
    """Packets cannot be had: there is no such recorder, nobody knows the connection, the disk is full."""
