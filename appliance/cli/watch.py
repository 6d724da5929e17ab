"""The status on a terminal, again and again: it scrolls, follows the terminal's size, and outlives the appliance."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from appliance.errors import ApplianceError

from .tables import make_status

__all__ = ["Keyboard", "Screen", "open_keyboard", "show"]

RESIZED, INTERRUPTED = "resized", "\x03"
_KEYS = {"\x1b[A": -1, "k": -1, "\x1b[B": 1, "j": 1}
_PAGES = {"\x1b[5~": -1, "b": -1, "\x1b[6~": 1, " ": 1}


class Keyboard:
    """What is typed, and that the terminal has another size.

    Args:
        keys: a terminal's descriptor; None: nobody types.
        signals: the number of each signal comes as a byte.
    """

    def __init__(self, keys: int | None, signals: int) -> None:
        self._keys, self._signals = keys, signals
        self.is_patient = True
        """Whether Ctrl-C can wait for `wait`: an exception amid drawing would leave the terminal as it is then."""

    def wait(self, timeout_s: float) -> str:
        """What was typed, `RESIZED`, or `INTERRUPTED`; empty if there was nothing in time."""
        watched = [self._signals] if self._keys is None else [self._signals, self._keys]
        ready, _, _ = select.select(watched, [], [], max(0.0, timeout_s))
        if self._signals in ready:
            return INTERRUPTED if signal.SIGINT in os.read(self._signals, 4096) else RESIZED
        if self._keys not in ready:
            return ""
        assert self._keys is not None
        typed = os.read(self._keys, 64).decode(errors="replace")
        if not typed:  # the terminal is gone: it would be readable for ever
            return INTERRUPTED
        return typed


@contextmanager
def open_keyboard() -> Iterator[Keyboard]:
    """The keyboard without echo, keys as they are typed; `Keyboard.wait` tells of Ctrl-C."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = termios.tcgetattr(keys) if keys is not None else None
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    keyboard = Keyboard(keys, readable)

    def tell(number: int, _: object) -> None:
        if number == signal.SIGINT and not keyboard.is_patient:
            raise KeyboardInterrupt

    # The byte cannot come from `tell`: Python runs that one only when select(2) returns, and a signal that comes just
    # before select(2) begins does not end it.
    woken_before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    old = [(number, signal.signal(number, tell)) for number in (signal.SIGWINCH, signal.SIGINT)]
    try:
        if keys is not None:
            tty.setcbreak(keys)
        yield keyboard
    finally:
        for number, before_us in old:
            signal.signal(number, before_us)
        signal.set_wakeup_fd(woken_before)
        if keys is not None and before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
        os.close(readable)
        os.close(writable)


class Screen:
    """What is on the terminal: as much of the content as there are lines, and one line about the rest."""

    def __init__(self) -> None:
        self.content: RenderableType = ""
        self.told = ""
        """For the last line."""
        self._top = 0
        self._height = 1

    def type(self, typed: str) -> None:
        """Scroll, if that is what the key means."""
        self._top += _KEYS.get(typed, 0) + _PAGES.get(typed, 0) * max(1, self._height - 2)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self._height = max(2, console.height)
        lines = console.render_lines(self.content, options.update(height=None), pad=False)
        room = self._height - 1
        self._top = max(0, min(self._top, len(lines) - room))
        for line in lines[self._top : self._top + room]:
            yield from line
            yield Segment.line()
        below = len(lines) - self._top - room
        words = [f"{self._top} lines above" if self._top else "", f"{below} lines below" if below > 0 else ""]
        told = "  ".join(filter(None, ("q quit", *words, "↑ ↓" if any(words) else "", self.told)))
        yield Text(told, style="reverse", no_wrap=True, overflow="ellipsis", end="")


def show(fetch: Callable[[], dict[str, Any]], interval_s: float) -> None:
    """Show the status until somebody types q.

    Args:
        fetch: gives the status. While it fails, the last one stays, and it is said since when.
        interval_s: between two.

    Raises:
        ApplianceError: there was no status to begin with.
    """
    # Some shells export the size that the terminal had when it was opened.
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    console = Console(highlight=False, _environ=environ)
    status = fetch()
    screen, failed_since = Screen(), ""
    with open_keyboard() as keyboard, Live(screen, console=console, screen=True, auto_refresh=False) as live:
        while True:
            screen.content = make_status(status, is_verdict_first=True)
            if failed_since:
                screen.content = Group(Text(failed_since, "bold red"), Text(), screen.content)
            screen.told = time.strftime("%H:%M:%S")
            if _serve_keys(live, screen, keyboard, time.monotonic() + interval_s):
                return
            try:
                keyboard.is_patient = False
                status, failed_since = fetch(), ""
                keyboard.is_patient = True
            except ApplianceError as exc:
                keyboard.is_patient = True
                since = (
                    failed_since.partition(": ")[0]
                    or f"since {time.strftime('%H:%M:%S')} no answer, below is the last one"
                )
                failed_since = f"{since}: {exc.message}"


def _serve_keys(live: Live, screen: Screen, keyboard: Keyboard, until: float) -> bool:
    """Draw, and draw again for every key and size; returns whether it is to end."""
    while True:
        live.refresh()
        typed = keyboard.wait(until - time.monotonic())
        if typed in ("q", "Q", "\x04", INTERRUPTED):
            return True
        if not typed:
            return False
        screen.type(typed)
