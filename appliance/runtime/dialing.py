"""What is dialled again and again until it answers: where that is, and since when nobody does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec
import trio

__all__ = ["DialerFigures", "Dialing", "Dials", "Reach"]


class DialerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One address that is dialled."""

    address: str
    state: str
    """connecting, peered or waiting."""
    attempts: int
    last_error: str
    """Why the last attempt failed, or the last connection ended; empty as long as all is well."""
    down_s: float
    """For how long nobody has been reached there; 0 if somebody is."""
    is_overdue: bool
    """Whether that is longer than an attempt and the wait before it may take."""

    @property
    def told(self) -> str:
        """It in words, with the reason."""
        return f"{self.address}: {self.last_error or 'no answer yet'}"


@runtime_checkable
class Dials(Protocol):
    """Figures of a service that dials."""

    @property
    def overdue(self) -> tuple[str, ...]:
        """What it should have reached by now, with the reason; empty if all is well."""
        ...


class Reach:
    """For how long something elsewhere has been out of reach.

    Args:
        patience_s: for how long that is normal.
        clock_s: monotonic time.
    """

    def __init__(self, patience_s: float, *, clock_s: Callable[[], float] = trio.current_time) -> None:
        self.patience_s = patience_s
        self._clock_s = clock_s
        self._since_s: float | None = clock_s()

    def note(self, *, is_there: bool) -> None:
        """It is reached, or it is not."""
        if is_there:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = self._clock_s()

    @property
    def down_s(self) -> float:
        """Seconds out of reach; 0 if it is reached."""
        since_s = self._since_s
        return 0.0 if since_s is None else round(self._clock_s() - since_s, 3)

    @property
    def is_overdue(self) -> bool:
        """Whether that is longer than normal."""
        return self.down_s > self.patience_s


class Dialing:
    """How it is with one address. Whoever dials says what happens.

    Args:
        patience_s: how long an attempt and the wait before it may take.
    """

    def __init__(self, patience_s: float) -> None:
        self.reach = Reach(patience_s)
        self.state = "connecting"
        self.attempts = 0
        self.last_error = ""

    def begin(self) -> None:
        """The next attempt begins."""
        self._enter("connecting")
        self.attempts += 1

    def succeed(self) -> None:
        """Somebody is there."""
        self._enter("peered")
        self.last_error = ""

    def fail(self, error: str) -> None:
        """The attempt failed, or the connection ended."""
        self.last_error = error
        self.reach.note(is_there=False)

    def wait(self) -> None:
        """Some time passes before the next attempt."""
        self._enter("waiting")

    def _enter(self, state: str) -> None:
        self.state = state
        self.reach.note(is_there=state == "peered")

    def figures(self, address: str) -> DialerFigures:
        return DialerFigures(
            address=address,
            state=self.state,
            attempts=self.attempts,
            last_error=self.last_error,
            down_s=self.reach.down_s,
            is_overdue=self.reach.is_overdue,
        )
