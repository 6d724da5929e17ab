"""Finding a hook's callable, and what it is called with."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import msgspec

from appliance.logfile.naming import log_path_of
from appliance.model import FileReady, FolderReady, Item
from appliance.runtime.asking import PacketRequest, Packets
from appliance.runtime.imports import import_attribute

from .data_store import Asker, AsyncDataStore, DataStore
from .effects import Effects
from .extract import make_request
from .steer import ExtractError
from .store import AsyncStore, Reader, Store

__all__ = ["Context", "HookCallable", "load_callable"]


Extract = Callable[[PacketRequest], Packets | Awaitable[Packets]]


class Context:
    """What a hook is told besides the record.

    Attributes:
        item: the typed item that the record came in, e.g. `LogBatch`.
        attempt: 1 for the first call with this record.
        deadline: when the call must have ended, on the clock of `time.monotonic`, in seconds.
        log: a logger that carries the hook's name.
        config: the hook's own table ``[hook.options]``.
        publish_event: sends an event to the cluster, see `EventPublisher.publish_event`.
    """

    __slots__ = (
        "_effects", "_extract", "_find_store", "_is_async", "_publish_to_pool", "_reader", "_records",
        "attempt", "config", "deadline", "item", "log", "publish_event",
    )  # fmt: skip

    def __init__(
        self,
        *,
        item: Item,
        attempt: int,
        deadline: float,
        log: Any,
        config: Mapping[str, Any],
        publish_event: Callable[..., int],
        effects: Effects | None = None,
        reader: Reader | None = None,
        is_async: bool = False,
        find_store: Callable[[str], Asker | None] | None = None,
        records: Sequence[Any] = (),
        extract: Extract | None = None,
        publish_to_pool: Callable[..., int] | None = None,
    ) -> None:
        self.item = item
        self.attempt = attempt
        self.deadline = deadline
        self.log = log
        self.config = config
        self.publish_event = publish_event
        self._effects = effects or Effects()
        self._reader = reader
        self._is_async = is_async
        self._find_store = find_store
        self._records = records
        self._extract = extract
        self._publish_to_pool = publish_to_pool

    def publish_rr(self, pool: str, key: object, name: str, *args: object) -> int:
        """Publish an event for the member of a pool whose turn it is, as ``Cluster::publish_rr``; each key has turns of
        its own. See `EventPublisher.publish_to_pool`.
        """
        return self._to_pool(pool, key, name, args, by_hash=False)

    def publish_hrw(self, pool: str, key: object, name: str, *args: object) -> int:
        """Publish an event for the member of a pool that a key belongs to, as ``Cluster::publish_hrw``; likewise."""
        return self._to_pool(pool, key, name, args, by_hash=True)

    def _to_pool(self, pool: str, key: object, name: str, args: tuple[object, ...], *, by_hash: bool) -> int:
        if self._publish_to_pool is None:
            raise ValueError("there is no door into a cluster to publish with")
        return self._publish_to_pool(pool, key, name, args, by_hash=by_hash)

    def store(self, name: str) -> Any:
        """The ``[[store]]`` of that name: a `DataStore`, in an asynchronous hook an `AsyncDataStore`.

        If there is none, a memory of that name, shared by all hooks: a `Store` or `AsyncStore`. What the call changes
        there is written together with the record's acknowledgement if it ends well, else not at all.

        Raises:
            ValueError: no name.
        """
        ask = None if self._find_store is None else self._find_store(name)
        if ask is not None:
            return (AsyncDataStore if self._is_async else DataStore)(name, ask)
        if self._reader is None:
            raise ValueError("there is no journal to keep a store in")
        return (AsyncStore if self._is_async else Store)(name, self._effects, self._reader)

    def emit(self, path: str, record: Mapping[str, Any]) -> None:
        """See `Effects.emit`."""
        self._effects.emit(path, record)

    def extract(self, record: Any = None, **wanted: Any) -> Any:
        """Have packets that a recorder has written to a PCAP; in an asynchronous hook to be awaited.

        Args:
            record: of the call, whose packets they are; may be left out if it has one only.
            wanted: which ones, if not those of the record's connection; from when to when; where they go. See
                docs/hooks.md and `make_request`.

        Returns:
            `Packets`.

        Raises:
            TypeError, ValueError: an argument is wrong, or the record names nobody.
            ExtractError: they cannot be had.
        """
        request = make_request(self._records, record, **wanted)
        if self._extract is None:
            raise ExtractError("there is no recorder")
        return self._extract(request)

    def produce(self, folder: FolderReady) -> None:
        """Hand on a finished folder as an item; when, as for `emit`."""
        self._effects.produced.append(folder)

    def logs(self, path: str) -> Iterator[dict[str, Any]]:
        """The records of one log in the folder, or of the log file, that the item is: see `LogFolder.read`. Blocks on
        the disk.

        Raises:
            TypeError: the item is no file or folder.
            OSError, RemoteProtocolError: as there.
        """
        from appliance.logfile.folder import LogFolder, read_log  # it is slow to import, and most hooks need it not

        if isinstance(self.item, FolderReady):
            return LogFolder(self.item.path).read(path)
        if isinstance(self.item, FileReady):
            is_it = log_path_of(PurePath(self.item.path).name) == path
            return read_log(self.item.path) if is_it else iter(())
        raise TypeError(f"{self.item.kind}: items have no logs")

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline - time.monotonic())


class HookCallable(msgspec.Struct, frozen=True, kw_only=True):
    """A callable and how to call it."""

    function: Callable[..., Any]
    is_async: bool
    takes_context: bool

    def call(self, record: dict[str, Any] | Sequence[dict[str, Any]], context: Context | None) -> Any:
        """Call it; an async one returns its awaitable. Without `takes_context`, `context` is not looked at.

        Raises:
            TypeError: it is not async and has only begun its work: it returned a coroutine or generator.
        """
        result = self.function(record, context) if self.takes_context else self.function(record)
        if result is not None and not self.is_async and (inspect.isawaitable(result) or inspect.isgenerator(result)):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"the hook returned a {type(result).__name__} and has done nothing; use 'async def'")
        return result


def load_callable(name: str) -> HookCallable:
    """Import ``package.module:attribute``.

    Raises:
        ValueError: the module or attribute does not exist, fails to import, or cannot be called with one or two
            arguments; the text says which.
    """
    target = import_attribute(name)
    if isinstance(target, type) or not callable(target):
        what = "a class" if isinstance(target, type) else f"of type {type(target).__name__}"
        raise ValueError(f"{name!r} is {what}; a hook is a function, a method or an object with __call__")
    functions = (target, getattr(target, "__call__", None))  # noqa: B004 - an object may have an async __call__
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in functions):
        raise ValueError(f"{name!r} is a generator; a hook returns nothing, use no 'yield'")
    is_async = any(map(inspect.iscoroutinefunction, functions))
    return HookCallable(function=target, is_async=is_async, takes_context=_takes_context(target, name))


def _takes_context(function: Callable[..., Any], name: str) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell
        return False
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise ValueError(f"{name!r} takes {signature}; a hook is called with the record and, if it has room, the context")
