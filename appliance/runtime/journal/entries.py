"""What goes into a journal and comes out of it; plain values. `Keep` is what stands behind the journal: SQLite, but
nothing in it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from appliance.model import Item

from .store import Change

__all__ = ["Attempt", "Chunk", "Failure", "Group", "Keep", "Letter", "LetterFigures", "Loaded", "NewChunk", "Progress",
           "Recovered", "make_history"]  # fmt: skip

MAX_HISTORY = 20
"""Attempts of one record that are remembered, the newest ones."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt with one record failed."""

    reason: str
    """As in the ledger: ``hook_error``, ``timeout``, ``rejected``, ``retry``."""
    error: str = ""
    """One line."""
    trace: str = ""
    retry_after_s: float | None = None
    """The hook's own wish; None: the configured back-off."""
    is_final: bool = False
    """Another attempt would be in vain."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt."""

    number: int
    at_ns: int
    """When it ended, nanoseconds since the epoch."""
    reason: str
    error: str = ""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One record that failed at one hook: waiting for its next attempt, or dead."""

    id: int
    hook: str
    item: Item
    """Holds that record alone."""
    attempts: int
    """Made so far."""
    due_ns: int
    """When the next attempt may begin, nanoseconds since the epoch."""
    is_dead: bool = False
    in_flight: bool = False
    """An attempt is being made."""
    first_ns: int
    """When the first attempt failed."""
    reason: str
    error: str = ""
    trace: str = ""
    history: tuple[Attempt, ...] = ()


class LetterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters there are, over all hooks."""

    dead: int
    dead_size: int
    forgotten: int
    """Dead letters that went because there were too many."""


class NewChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Items that are wanted by the same hooks, to be stored once for all of them."""

    id: int
    items: tuple[Item, ...]
    records: int
    size: int
    at_ns: int
    """When it was put together, nanoseconds since the epoch."""
    hooks: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a hook is with a chunk, in record numbers counted from its beginning."""

    hook: str
    chunk: int
    left: int
    """Records that are not done; 0: the hook needs the chunk no more."""
    done: tuple[tuple[int, int], ...] = ()
    flight: tuple[tuple[int, int], ...] = ()
    """Leased: a crash now would be their first attempt."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What is written in one transaction."""

    chunks: tuple[NewChunk, ...] = ()
    progress: tuple[Progress, ...] = ()
    letters: tuple[Letter, ...] = ()
    """New, or in the place of those with the same id."""
    settled: tuple[int, ...] = ()
    """Letters that are no more."""
    changes: tuple[tuple[tuple[str, bytes], Change], ...] = ()
    """Of values in the store, by space and key."""

    @property
    def is_worth_syncing(self) -> bool:
        """Whether a power failure would lose more than the knowledge of what is done."""
        return bool(self.chunks or self.letters)


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as it is found again."""

    id: int
    items: tuple[Item, ...]
    records: int
    size: int
    at_ns: int
    done: tuple[tuple[int, int], ...]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The next chunks of a hook."""

    chunks: tuple[Chunk, ...]
    last: int
    """The highest id that was looked at."""
    is_all: bool
    """There are no more."""


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook left unfinished."""

    records: int
    """In chunks."""
    size: int
    letters: int
    """Waiting for another attempt."""
    lost: int
    """Records that were damaged, and are in neither of these."""


class Keep(Protocol):
    """Holds what is unfinished, for any number of hooks. Its methods block and are called in one thread, one at a time.

    Each may raise `OSError`: nothing was changed then, and the same call may be made again.
    """

    next_chunk: int
    """From here on ids of chunks were never used."""

    def new_letter_id(self) -> int:
        """An id that no letter ever had; from any thread, after `open`."""

    def configure(self, *, max_dead: int, max_dead_size: int) -> None:
        """Change how many dead letters are kept, and how many bytes of them; the oldest go when the next one comes."""

    def open(self) -> None:
        """Begin; what an earlier process left is there."""

    def attach(self, hook: str, now_ns: int) -> Recovered:
        """Begin with one hook. What was in flight has become letters: one attempt was made with it."""

    def commit(self, group: Group, *, sync: bool) -> None:
        """Write all of `group` or nothing of it; with `sync` it survives a power failure from now on."""

    def sync(self) -> None:
        """What was committed survives a power failure from now on."""

    def load(self, hook: str, after: int, *, max_records: int, max_size: int) -> Loaded:
        """The chunks with higher ids than `after`, as far as the bounds allow, but at least one."""

    def value(self, space: str, key: bytes) -> bytes | None:
        """A value of the store; None: there is none."""

    def values(self, space: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """Keys and values of a space in the order of the keys, from behind `after` on."""

    def waiting_letters(self, hook: str, limit: int) -> list[Letter]:
        """Those that are not dead and not in flight, by when they are due."""

    def take_losses(self) -> dict[str, dict[int, int]]:
        """What turned out to be damaged, told once: by hook and chunk, how many records it had left."""

    def tidy(self) -> bool:
        """Do some housekeeping; returns whether there is more to do."""

    def close(self) -> None: ...


def make_history(history: Sequence[Attempt], attempt: Attempt) -> tuple[Attempt, ...]:
    """`history` with one attempt more."""
    return (*history, attempt)[-MAX_HISTORY:]
