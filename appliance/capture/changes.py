"""What was started and stopped while running, as it is remembered: it survives restarts and reloads.

The file of the site stays the operator's; what differs from it is in ``<state_dir>/captures.json``, and `merge` makes
one of the two. A handler that the file has under the same name wins over one that was added while running.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Capture, address_of
from appliance.errors import ApplianceError

__all__ = ["FILE", "Changes", "Key", "read_changes", "write_changes"]

FILE = "captures.json"
"""In `state_dir`."""

Key = tuple[str, str]
"""Names of a capture and a handler."""


class Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The difference between the file and what runs."""

    added: tuple[Capture, ...] = ()
    """Each with the handlers that were added, of a capture in the file or of one that is not."""
    stopped: tuple[Key, ...] = ()
    """Handlers of the file that do not run."""

    def merge(self, captures: Iterable[Capture]) -> tuple[tuple[Capture, ...], frozenset[Key]]:
        """What runs, given what the file says, and which handlers of it are not in the file.

        A capture whose handlers are all stopped stays, without any, if it opens the socket of another one.
        """
        added = {capture.name: capture for capture in self.added}
        stopped = set(self.stopped)
        merged: list[Capture] = []
        runtime: set[Key] = set()
        for capture in captures:
            extra = added.pop(capture.name, None)
            names = {handler.name for handler in capture.handler}
            more = tuple(h for h in extra.handler if h.name not in names) if extra else ()
            runtime |= {(capture.name, handler.name) for handler in more}
            handlers = tuple(h for h in capture.handler if (capture.name, h.name) not in stopped) + more
            merged.append(msgspec.structs.replace(capture, handler=handlers))
        for capture in added.values():
            runtime |= {(capture.name, handler.name) for handler in capture.handler}
            merged.append(capture)
        return tuple(_in_use(merged)), frozenset(runtime)

    def adding(self, capture: Capture) -> Changes:
        """With the handlers of `capture` added, each in the place of one of its name."""
        names = {handler.name for handler in capture.handler}
        mine = next((each for each in self.added if each.name == capture.name), None)
        kept = tuple(h for h in mine.handler if h.name not in names) if mine else ()
        new = msgspec.structs.replace(mine or capture, handler=kept + capture.handler)
        others = tuple(each for each in self.added if each.name != capture.name)
        stopped = tuple(key for key in self.stopped if key[0] != capture.name or key[1] not in names)
        return Changes(added=(*others, new), stopped=stopped)

    def stopping(self, keys: Iterable[Key], *, in_file: frozenset[Key]) -> Changes:
        """With those handlers stopped: forgotten, or remembered as stopped if they are `in_file`."""
        gone = frozenset(keys)
        added = []
        for capture in self.added:
            kept = tuple(h for h in capture.handler if (capture.name, h.name) not in gone)
            if kept:
                added.append(msgspec.structs.replace(capture, handler=kept))
        return Changes(added=tuple(added), stopped=tuple(sorted({*self.stopped, *(gone & in_file)})))


def _in_use(captures: Sequence[Capture]) -> Iterator[Capture]:
    """Those that have handlers, or open the socket of one that has."""
    groups: dict[object, list[Capture]] = {}
    for capture in captures:
        groups.setdefault(_socket_of(capture), []).append(capture)
    openers = {group[0].name for group in groups.values() if any(capture.handler for capture in group)}
    return (capture for capture in captures if capture.handler or capture.name in openers)


def _socket_of(capture: Capture) -> object:
    try:
        return address_of(capture) or capture.name
    except ValueError:  # which is told by whoever checks it
        return capture.name


def _decode(kind: type, value: Any) -> Any:
    return kind(value)  # sizes and durations, which are integers


def read_changes(path: Path) -> Changes:
    """Read the file; there is none before the first change. Blocks.

    Raises:
        ApplianceError: it cannot be read or understood.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Changes, dec_hook=_decode)
    except FileNotFoundError:
        return Changes()
    except (OSError, msgspec.DecodeError, ValueError, TypeError) as exc:
        hint = "move it away to begin with what the configuration says"
        raise ApplianceError(f"cannot read {path}: {exc}", hint=hint) from exc


def write_changes(path: Path, changes: Changes) -> None:
    """Replace the file, or leave it as it was. Blocks until it is safe on the disk.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(changes, enc_hook=int)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
