"""One piece of work of a worker process: what came of it, from what the worker says and from how far it got."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from appliance.errors import RemoteProtocolError
from appliance.runtime.journal.entries import Failure

from .effects import Effects
from .failure import Outcome, OverdueError
from .messages import Done, Failed, Undecodable, Wants
from .store import checked_change, checked_space

__all__ = ["Round"]


class Round:
    """See the module.

    Args:
        calls: to be made: the positions of the records of each.
        undecodable: hears the positions of records that are none.
    """

    def __init__(self, calls: Sequence[Sequence[int]], undecodable: set[int]) -> None:
        self._positions = calls
        self.calls = len(calls)
        self.over = trio.Event()
        """The worker is done, or gone."""
        self.durations_ns: list[int] = []
        """Of the calls that were made, when the worker is done."""
        self.effects: dict[int, Effects] = {}
        """What calls want to have done."""
        self._failures: dict[int, Failure] = {}
        self._undecodable = undecodable
        self._next = 0
        self._made: int | None = None

    @property
    def is_done(self) -> bool:
        """The worker has said how far it came."""
        return self._made is not None

    def hear(self, message: Failed | Undecodable | Wants | Done) -> None:
        """Take in what the worker says.

        Raises:
            RemoteProtocolError: it cannot be.
        """
        if self._made is not None:
            raise RemoteProtocolError("a worker that is done says more")
        if isinstance(message, Undecodable):
            positions = self._positions[message.call] if self._next <= message.call < self.calls else ()
            if not 0 <= message.number < len(positions):
                raise RemoteProtocolError(f"call {message.call} has no record {message.number} now")
            self._undecodable.add(positions[message.number])
        elif isinstance(message, Wants):
            if not self._next <= message.call < self.calls:
                raise RemoteProtocolError(f"call {message.call} of {self.calls} cannot want anything now")
            self._want(message)
        elif isinstance(message, Failed):
            if not self._next <= message.call < self.calls:
                raise RemoteProtocolError(f"call {message.call} of {self.calls} cannot fail now")
            self._failures[message.call] = message.failure
            self._next = message.call + 1
        else:
            plausible = max(1, self._next) <= message.calls <= self.calls
            if not plausible or len(message.durations_ns) != message.calls or min(message.durations_ns) < 0:
                raise RemoteProtocolError(f"{message.calls} of {self.calls} calls cannot have been made")
            self._made, self.durations_ns = message.calls, message.durations_ns
            self.over.set()

    def _want(self, message: Wants) -> None:
        effects = self.effects.setdefault(message.call, Effects())
        try:
            for space, key, how, value, by in message.changes:
                effects.change(checked_space(space), key, checked_change(how, value, by))
            for path, row in message.emitted:
                effects.emit_row(path, row)
        except (ValueError, TypeError) as exc:
            raise RemoteProtocolError(f"a worker wants what cannot be: {exc}") from exc

    def outcomes(self) -> list[Outcome]:
        """Of the calls that were made, when the worker is done."""
        assert self._made is not None
        return self._first(self._made)

    def outcomes_without_end(self, begun: int, ended: int, cause: OverdueError | Failure | None) -> list[Outcome]:
        """Of the calls that were made, when the worker is gone before it was done.

        Args:
            begun: so many calls were begun, as far as the worker has written it down.
            ended: the same of their ends.
            cause: what becomes of the call that was being made; None: nothing, it is to be made again.
        """
        ended = max(ended, self._next)
        found = self._first(ended)
        if cause is not None and begun > ended:
            found.append(cause)
        return found

    def _first(self, count: int) -> list[Outcome]:
        found: list[Outcome] = [None] * count
        for call, failure in self._failures.items():
            found[call] = failure
        return found
