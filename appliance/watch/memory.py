"""What a watch knows of the things that it has handed on, in the journal's store: written together with what hooks
settle, so that after a crash neither of the two is ahead of the other.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.store import Change
from appliance.runtime.journal.values import read_all

from .look import Seen

__all__ = ["Memory", "State", "Thing"]

State = Literal["offered", "kept", "done", "failed"]
"""At one consumer: ``offered``: in its memory; ``kept``: on its disk; the others are ends."""
_ROOT = b""
"""The key of what is known of the folder itself; no thing has it."""


class Thing(msgspec.Struct, kw_only=True, array_like=True):
    """One file or folder that was handed on."""

    inode: int
    size: int
    mtime_ns: int
    consumers: dict[str, State]
    attempts: int = 1

    @property
    def is_kept(self) -> bool:
        """Whether nobody would lose it with the process."""
        return "offered" not in self.consumers.values()

    @property
    def is_over(self) -> bool:
        """Whether nobody works on it."""
        return all(state in ("done", "failed") for state in self.consumers.values())

    @property
    def has_failed(self) -> bool:
        return "failed" in self.consumers.values()

    def is_same(self, seen: Seen, *, by_content: bool) -> bool:
        """Whether it is what was seen. A folder is the same whatever is written into it: hooks do."""
        if self.inode != seen.inode:
            return False
        return not by_content or (self.size, self.mtime_ns) == (seen.size, seen.mtime_ns)


_decoder = msgspec.msgpack.Decoder(Thing)


def _key(relative: str) -> bytes:
    return relative.encode("utf-8", "surrogateescape")


class Memory:
    """See the module.

    Args:
        journal: where it is kept; opened by `load`.
        name: of the watch.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self.things: dict[str, Thing] = {}
        """By relative path; those that are not `is_kept` are not written."""
        self.root_inode = 0
        """Of the watched folder when it was looked at; another one may be a disk that is not mounted."""
        self._journal = journal
        self._space = f"watch.{name}"
        self._written: set[str] = set()

    async def load(self) -> None:
        """Read what was written.

        Raises:
            OSError, ApplianceError: the journal cannot be opened.
        """
        await self._journal.open()
        self.things.clear()
        self._written.clear()
        for key, value in await read_all(self._journal, self._space):
            if key == _ROOT:
                self.root_inode = msgspec.msgpack.decode(value, type=int)
            else:
                relative = key.decode("utf-8", "surrogateescape")
                self.things[relative] = _decoder.decode(value)
                self._written.add(relative)

    def set_root(self, inode: int) -> None:
        self.root_inode = inode
        self._journal.change(self._space, _ROOT, Change("put", msgspec.msgpack.encode(inode)))

    def save(self, relative: str) -> None:
        """Write a thing as it is now, unless somebody would lose it with the process: it comes again then."""
        thing = self.things[relative]
        if thing.is_kept:
            self._journal.change(self._space, _key(relative), Change("put", msgspec.msgpack.encode(thing)))
            self._written.add(relative)
        else:
            self._unwrite(relative)

    def forget(self, relative: str) -> None:
        """It is gone."""
        self.things.pop(relative, None)
        self._unwrite(relative)

    def _unwrite(self, relative: str) -> None:
        if relative in self._written:
            self._written.discard(relative)
            self._journal.change(self._space, _key(relative), Change("delete"))

    async def wait_stored(self) -> None:
        """Wait until the consumers with durable queues have on the disk what was handed to them."""
        await self._journal.wait_stored()
