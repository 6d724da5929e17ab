"""Data stores as hooks and the API see them: by name, whoever keeps them and wherever their content is.

What is asked is a `StoreRequest`; keys and values are in Broker's binary format. No event loop is imported here:
worker processes of hooks use this.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from appliance.errors import ApplianceError

if TYPE_CHECKING:
    import trio

__all__ = [
    "CHANGES",
    "MAX_LISTED",
    "TIMEOUT_S",
    "DataStore",
    "Operation",
    "StoreEntry",
    "StoreError",
    "StoreFailure",
    "StoreReply",
    "StoreRequest",
    "Stores",
]

TIMEOUT_S = 10.0
"""For one request that does not say it."""
MAX_LISTED = 100_000
"""Entries in one answer."""

Operation = Literal[
    "get", "exists", "index", "keys", "entries", "size",
    "put", "put_unique", "erase", "clear", "increment", "decrement", "append", "insert", "remove", "push", "pop",
]  # fmt: skip
CHANGES: frozenset[Operation] = frozenset(
    {"put", "put_unique", "erase", "clear", "increment", "decrement", "append", "insert", "remove", "push", "pop"}
)
"""Those that change the content."""


class StoreFailure(enum.StrEnum):
    """The reason of a `StoreError`."""

    TIMEOUT = "timeout"
    """No answer in time. A write may still come to pass."""
    STALE = "stale"
    """There has been no master for so long that the copy is not to be trusted, or there was none ever."""
    NO_MASTER = "no_master"
    """No master has come as long as writes wait for one; it was not written."""
    UNKNOWN = "unknown"
    """The master was lost before it could tell; it may be written or not."""
    TYPE_CLASH = "type_clash"
    """The value is of a type with which that cannot be done."""
    BAD_VALUE = "bad_value"
    """A key or value that Broker cannot hold, or an entry that cannot be read."""
    TOO_LARGE = "too_large"
    """More than fits into an answer, or into a message to the peers."""
    OVERFLOW = "overflow"
    """Too much waits for the master."""
    CLOSED = "closed"
    """The store is not open."""
    NO_STORE = "no_store"
    """There is no store of that name."""


class StoreError(ApplianceError):
    """Something that was asked of a store did not happen.

    Args:
        reason: why.
        store: its name.
        message: the same for people.
    """

    def __init__(self, reason: StoreFailure, store: str, message: str) -> None:
        super().__init__(f"store {store!r}: {message}")
        self.reason = reason
        self.store = store
        self.text = message


class StoreRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What is asked of a store."""

    operation: Operation
    key: bytes = b""
    value: bytes = b""
    """What is put, added or removed; of ``index`` the index, of ``insert`` into a table the value."""
    index: bytes = b""
    """``insert``: the index in a table; empty: into a set."""
    expiry_ns: int | None = None
    """Lifetime from now on; None: as the store has it by default."""
    limit: int = MAX_LISTED
    """``keys`` and ``entries``: so many at most."""
    timeout_s: float = TIMEOUT_S
    after: bytes | None = None
    """``keys`` and ``entries``: in the order of the keys' bytes, only those behind this one; None: in no order."""


class StoreEntry(msgspec.Struct, frozen=True, array_like=True):
    """A key and what it has."""

    key: bytes
    value: bytes = b""
    """Empty where only keys were asked for."""
    expiry_ns: int | None = None
    """When it is over, nanoseconds since the epoch; only a master knows."""


class StoreReply(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What a store has to say."""

    has_effect: bool = True
    """``exists``: whether it does; ``put_unique``: whether it was inserted; ``erase`` and what takes something away:
    whether there was such a key, as far as a clone knows."""
    value: bytes | None = None
    """``get`` and ``index``."""
    size: int = 0
    """``size``, ``keys`` and ``entries``: how many there are."""
    entries: tuple[StoreEntry, ...] = ()
    expiry_ns: int | None = None
    """``get``: as in `StoreEntry`."""
    next_after: bytes | None = None
    """``keys`` and ``entries`` in their order: the `StoreRequest.after` of those that follow; None: nothing does."""


class DataStore(Protocol):
    """One store."""

    async def perform(self, request: StoreRequest) -> StoreReply:
        """Do what is asked.

        Raises:
            StoreError: why not.

        Cancellation: what changes something may come to pass all the same.
        """
        ...


class Stores:
    """Every store of the appliance. Those that are announced are known before they are open."""

    def __init__(self) -> None:
        self._announced: dict[str, None] = {}
        self._open: dict[str, DataStore] = {}
        self._waiting: trio.lowlevel.ParkingLot | None = None

    def __contains__(self, name: object) -> bool:
        return name in self._announced or name in self._open

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._announced, *self._open)))

    def announce(self, names: Iterable[str]) -> None:
        """There are stores of these names, and will be none of other names that are not open."""
        self._announced = dict.fromkeys(names)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.unpark_all()

    @contextmanager
    def joined(self, name: str, store: DataStore) -> Iterator[None]:
        """A store is open as long as this lasts; the last one of a name counts."""
        self._open[name] = store
        self._wake()
        try:
            yield
        finally:
            if self._open.get(name) is store:
                del self._open[name]

    async def perform(self, name: str, request: StoreRequest) -> StoreReply:
        """Do what is asked of a store. One that is announced is waited for.

        Raises:
            StoreError: why not.
        """
        store = self._open.get(name) or await self._wait(name, request.timeout_s)
        return await store.perform(request)

    async def _wait(self, name: str, timeout_s: float) -> DataStore:
        import trio  # only in the appliance itself

        self._waiting = self._waiting or trio.lowlevel.ParkingLot()
        with trio.move_on_after(timeout_s):
            while name in self._announced:
                await self._waiting.park()
                if (store := self._open.get(name)) is not None:
                    return store
            raise StoreError(StoreFailure.NO_STORE, name, f"there is no store {name!r}")
        raise StoreError(StoreFailure.CLOSED, name, f"it is not open, and was not within {timeout_s:g} s")
