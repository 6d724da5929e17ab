"""What a call of a hook wants to have done if it ends well: nothing of it happens otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.logfile.naming import is_log_path
from appliance.model import FolderReady
from appliance.runtime.journal.store import Change, compose

__all__ = ["Effects", "encode_record"]

MAX_BYTES = 16 << 20
"""Of one call's changes and records."""


class Effects:
    """Of one call; used by one thread at a time."""

    __slots__ = ("_size", "changes", "emitted", "produced")

    def __init__(self) -> None:
        self.changes: dict[tuple[str, bytes], Change] = {}
        """Of values in stores, by space and key."""
        self.emitted: list[tuple[str, bytes]] = []
        """Log path and record, encoded."""
        self.produced: list[FolderReady] = []
        self._size = 0

    @property
    def has_items(self) -> bool:
        """Whether there is something for the dispatcher."""
        return bool(self.emitted or self.produced)

    def change(self, space: str, key: bytes, change: Change) -> None:
        """Change a value.

        Raises:
            ValueError: that would be too much for one call.
        """
        self._grow(len(key) + len(change.value))
        self.changes[space, key] = compose(self.changes.get((space, key)), change)

    def emit(self, path: str, record: Mapping[str, Any]) -> None:
        """Hand on a record of the log `path`: to everybody who takes ``log:`` of it, but for this hook.

        It is handed on when the call has ended well, and before it counts as done: after a crash it may come twice.

        Raises:
            TypeError: a value of the record has no JSON.
            ValueError: no log path, or too much for one call.
        """
        if not is_log_path(path):
            raise ValueError(f"{path!r} is no log path")
        row = encode_record(record)
        self._grow(len(row))
        self.emitted.append((path, row))

    def emit_row(self, path: str, row: bytes) -> None:
        """As `emit`, for a record that a worker process has encoded.

        Raises:
            ValueError: as there, or it is no object of JSON on one line.
        """
        if not is_log_path(path):
            raise ValueError(f"{path!r} is no log path")
        if b"\n" in row:
            raise ValueError("a record is one line")
        msgspec.json.decode(row, type=dict[str, msgspec.Raw])
        self._grow(len(row))
        self.emitted.append((path, row))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes are too much for one call")


def encode_record(record: Mapping[str, Any]) -> bytes:
    """A record as a row of JSON.

    Raises:
        TypeError: it is no mapping, or a value has no JSON.
        ValueError: a text is none.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"a record is a mapping, not a {type(record).__name__}")
    return msgspec.json.encode(dict(record))
