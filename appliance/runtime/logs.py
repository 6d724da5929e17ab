"""The appliance's own log: structlog on standard error, as a console line or as one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO, cast

import msgspec
import structlog
import structlog.tracebacks
import trio

__all__ = ["Throttle", "configure_logs"]


def _json(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except (ValueError, OverflowError):  # a file name that is no UTF-8, an integer of more than 64 bits
        return json.dumps(event, default=str)


class _Output:
    """A stream that may go away, as the far end of a pipe does: what is written then is lost, and nobody fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure_logs(*, level: str, style: str, stream: TextIO | None = None) -> None:
    """Set level and style (``auto``, ``console`` or ``json``); may be called again while running."""
    out = stream if stream is not None else sys.stderr
    if style == "auto":
        style = "console" if out.isatty() else "json"
    shared: list[Any] = [structlog.processors.add_log_level]
    if style == "console":
        tail: list[Any] = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(),
                pad_event_to=0,
                pad_level=False,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    else:
        tail = [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            # Never with local variables: records and the options of hooks do not belong into the log.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Output(out))),
        # Not cached: a reload changes the level of loggers that modules already hold.
        cache_logger_on_first_use=False,
    )


class Throttle:
    """Lets a message through at most once per `every_s` for each key and counts those it held back.

    Args:
        every_s: seconds of silence after a message.
        max_keys: bound on remembered keys; the oldest is forgotten.
        clock: seconds, monotonic.
    """

    def __init__(
        self, every_s: float = 60.0, *, max_keys: int = 1024, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._every_s, self._max_keys, self._clock = every_s, max_keys, clock
        self._last: dict[str, tuple[float, int]] = {}

    def admit(self, key: str) -> int | None:
        """None: hold this message back. Else log it; the number says how many were held back since the last one."""
        now = self._clock()
        then, held = self._last.get(key, (float("-inf"), 0))
        if now - then < self._every_s:
            self._last[key] = (then, held + 1)
            return None
        self._last.pop(key, None)
        if len(self._last) >= self._max_keys:
            del self._last[next(iter(self._last))]
        self._last[key] = (now, 0)
        return held
