"""Reloads: what was asked for, how the last ones ended, and what each of them changed.

A reload has a number, from 1 on, whether it is applied or refused; the generation counts those that were applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
import trio

from appliance.config import Config, Difference, group_captures
from appliance.errors import ConfigError

__all__ = [
    "Change",
    "Done",
    "How",
    "Mistake",
    "ReloadLine",
    "ReloadOutcome",
    "Reloads",
    "list_changes",
    "list_mistakes",
]

KEPT = 32
"""So many outcomes are remembered."""

How = Literal["unchanged", "applied", "restarted", "added", "removed", "needs_restart"]
"""``applied``: under way, nothing was closed; ``needs_restart``: of the whole process, so the reload was refused."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one service, or of a table that is none."""

    name: str
    """``zmq.bro``, ``api``, ``log``."""
    how: How
    keys: tuple[str, ...] = ()
    """Those that differ in its table; empty if the service is new or gone, or if what it was made from is elsewhere."""
    files: tuple[str, ...] = ()
    """Those whose files have changed and were read again, under the same names or others."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Why a reload was refused; one for each mistake."""

    message: str
    file: str = ""
    line: int = 0
    key: str = ""
    hint: str = ""


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a reload ended."""

    number: int
    ok: bool
    generation: int
    """In force since."""
    at_ns: int
    """When, nanoseconds since the epoch."""
    took_s: float
    errors: tuple[str, ...] = ()
    """Why it was refused; then nothing was changed."""
    mistakes: tuple[Mistake, ...] = ()
    """The same in parts; a program that shows a mistake at its line wants them."""
    changes: tuple[Change, ...] = ()
    """Every service; of a reload that was refused only what needs a restart of the process."""


class Done(msgspec.Struct, frozen=True):
    """What a reload did to services that run, by their keys."""

    services: Mapping[str, How] = {}
    """Those that were touched."""
    files: Mapping[str, tuple[str, ...]] = {}
    """As in `Change.files`."""


class ReloadLine(msgspec.Struct, frozen=True, kw_only=True):
    """One reload at one moment."""

    number: int
    state: Literal["waiting", "running", "done", "dropped"]
    """``dropped``: the appliance ends."""
    outcome: ReloadOutcome | None = None
    """Once it is done."""


class Reloads:
    """The book of reloads. It does none: see `appliance.app`."""

    def __init__(self) -> None:
        self.last: ReloadOutcome | None = None
        self._outcomes: dict[int, ReloadOutcome] = {}
        self._begun = 0
        self._wanted = trio.Event()
        self._turned = trio.Event()
        self._is_closed = False

    # ── who does them ──

    async def wait_wanted(self) -> None:
        """Wait until somebody asks for one."""
        await self._wanted.wait()

    def begin(self) -> int:
        """The next one begins: whoever asks from now on asks for another. Returns its number."""
        self._wanted = trio.Event()
        self._begun += 1
        return self._begun

    def end(self, outcome: ReloadOutcome) -> None:
        """The one that was begun last has ended."""
        self.last = outcome
        self._outcomes[outcome.number] = outcome
        self._outcomes.pop(outcome.number - KEPT, None)
        self._turn()

    def close(self) -> None:
        """There will be no more: nobody waits any longer."""
        self._is_closed = True
        self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = trio.Event()

    # ── who wants them ──

    def request(self) -> int:
        """Ask for one; returns the number of the one that reads the file as it is now, or later."""
        self._wanted.set()
        return self._begun + 1

    def look(self, number: int) -> ReloadLine | None:
        """A reload, or None if there was none of that number, or it is forgotten."""
        if (outcome := self._outcomes.get(number)) is not None:
            return ReloadLine(number=number, state="done", outcome=outcome)
        is_next = number == self._begun + 1 and self._wanted.is_set()
        if number < 1 or not (is_next or number == self._begun):
            return None
        return ReloadLine(number=number, state="dropped" if self._is_closed else "waiting" if is_next else "running")

    async def wait(self, number: int, timeout_s: float) -> ReloadLine | None:
        """As `look`, but wait for its end, though not longer than that."""
        with trio.move_on_after(timeout_s):
            while (line := self.look(number)) is not None and line.state in ("waiting", "running"):
                await self._turned.wait()
        return self.look(number)

    async def wait_next(self) -> ReloadOutcome:
        """Wait for the end of the next one that ends."""
        before = self.last
        while self.last is before:
            await self._turned.wait()
        assert self.last is not None
        return self.last


def list_changes(difference: Difference, config: Config, done: Done) -> tuple[Change, ...]:
    """What became of every service, in the order of the new file; what is gone comes last.

    Args:
        difference: between the two files.
        config: the new one.
        done: what was done.
    """
    socket_of = {
        capture.name: f"capture.{group.first.name}"
        for group in group_captures(config.capture)
        for capture in group.captures
    }

    def how(name: str, otherwise: How) -> How:
        kind, _, rest = name.partition(".")
        key = socket_of.get(rest, name) if kind == "capture" else name
        # A hook with ``sites`` runs as a package and a consumer for each of its callables.
        services = done.services
        found = {services[each] for each in services if each in (key, f"sites.{rest}") or each.startswith(f"{key}.")}
        if "restarted" in found or (otherwise == "unchanged" and found):
            return "applied" if found == {"applied"} else "restarted"
        return "applied" if "applied" in found else otherwise

    def same(name: str) -> Change:
        files = done.files.get(name, ())
        told = how(name, "unchanged")
        return Change(name=name, how="applied" if told == "unchanged" and files else told, files=files)

    changes = {name: same(name) for name in difference.unchanged}
    changes |= {
        name: Change(name=name, how=how(name, "applied"), keys=keys, files=done.files.get(name, ()))
        for name, keys in difference.changed.items()
    }
    changes |= {name: Change(name=name, how=how(name, "added")) for name in difference.added}
    ordered = [changes[name] for name in difference.order]
    tables: dict[str, list[str]] = {}
    for path in difference.process:
        table, _, key = path.partition(".")
        tables.setdefault(table, []).append(key)
    return (
        *(Change(name=table, how="applied", keys=tuple(keys)) for table, keys in tables.items()),
        *ordered,
        *(Change(name=name, how="removed") for name in difference.removed),
    )


def list_mistakes(leaves: Iterable[BaseException], texts: Iterable[str]) -> tuple[Mistake, ...]:
    """Errors in parts.

    Args:
        leaves: of a group.
        texts: what each of them says, for those that have no parts.
    """
    return tuple(
        Mistake(message=leaf.message, file=leaf.file, line=leaf.line, key=leaf.key, hint=leaf.hint)
        if isinstance(leaf, ConfigError)
        else Mistake(message=text)
        for leaf, text in zip(leaves, texts, strict=True)
    )
