"""The way out to the cluster: how consumers, hooks and the API publish without knowing who carries it.

An `Outlet` stands between them and the doors, because a reload may put others, or none, behind it. What is published
goes out through every door that is open, unless who publishes names some: then through those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

__all__ = ["Chooser", "Outlet", "PoolKey", "Published", "Publisher", "WayOut"]

PoolKey: TypeAlias = "str | bytes | int"
"""A string, or a number for a count of Zeek's."""


class Published(NamedTuple):
    """What became of messages that were to be published."""

    peers: int
    """For how many peers they were queued."""
    refused: str = ""
    """Why for none at all, as a reason of the ledger: ``no_broker`` (no door is open), ``no_peer`` (nobody is
    connected), ``no_subscriber`` (nobody asked for the topic), ``not_allowed`` (access control), ``bad_topic``,
    ``too_large``, ``no_json`` (a value that JSON does not have), ``events_only`` (the door carries nothing else)."""


_CLOSEST = ("no_subscriber", "no_peer", "too_large", "no_json", "bad_topic", "not_allowed", "events_only")
"""Of several refusals the first one of these is told: that of the door that came closest."""


class Publisher(Protocol):
    """Carries messages to peers. Nothing waits: what does not fit into a peer's queue is dropped and booked there."""

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        """Queue messages for every peer that asked for `topic`.

        Args:
            topic: bytes that are not UTF-8 as surrogates.
            messages: each one value in Broker's binary format.
            unsolicited: for every peer, whether it asked or not.
        """
        ...

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        """Publish a message now, and again to each peer that connects or asks for `topic` later, before anything else
        that is published on `topic`. A later announcement of the same `key` takes its place. At most 10,000 keys.
        With `unsolicited` peers need not ask.
        """
        ...

    def subscribed(self, prefixes: Sequence[str]) -> AbstractContextManager[None]:
        """Ask the peers for more topics as long as the context lasts."""
        ...


@runtime_checkable
class Chooser(Protocol):
    """A node of a cluster, which knows who of a pool is up."""

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """The topic of the member that a message is for; empty if none is alive.

        Args:
            pool: ``worker``, ``proxy`` or ``logger``.
            key: what has the same key goes to the same member, or has turns of its own.
            by_hash: by rendezvous hashing, else by turns.

        Raises:
            ValueError: no such pool.
            TypeError: a key that cannot be hashed as Zeek does.
        """
        ...


class WayOut(Publisher, Protocol):
    """A `Publisher` through any number of doors."""

    def publish_to_pool(self, pool: str, key: PoolKey, messages: Sequence[bytes], *, by_hash: bool) -> Published:
        """Queue messages for one member of a pool, as ``Cluster::publish_hrw`` and ``publish_rr``; see `Chooser`. That
        none is alive is ``no_subscriber``.
        """
        ...


class _Asked:
    """Topics that somebody wants, whoever carries them."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._held: dict[str, ExitStack] = {}

    def begin(self, door: str, publisher: Publisher) -> None:
        self._held[door] = stack = ExitStack()
        stack.enter_context(publisher.subscribed(self._prefixes))

    def end(self, door: str) -> None:
        self._held.pop(door).close()

    def end_all(self) -> None:
        for door in list(self._held):
            self.end(door)


class Outlet:
    """See the module. A `Publisher` itself, through all doors."""

    def __init__(self) -> None:
        self._doors: dict[str, Publisher] = {}
        self._asked: list[_Asked] = []
        self.generation = 0
        """Another number after each change of `doors`: whoever is behind them now was told nothing of before."""

    @property
    def doors(self) -> Mapping[str, Publisher]:
        """Those that are open, by name: ``broker``, ``cluster``, ``websocket.NAME``."""
        return MappingProxyType(self._doors)

    def open(self, door: str, publisher: Publisher) -> None:
        """Publish through a door from now on, in place of who carried it before; what was asked for is asked of it."""
        self.close(door)
        self._doors[door] = publisher
        self.generation += 1
        for asked in self._asked:
            asked.begin(door, publisher)

    def close(self, door: str, publisher: Publisher | None = None) -> None:
        """The end of `open`; with `publisher`, unless another one took its place."""
        if door not in self._doors or (publisher is not None and self._doors[door] is not publisher):
            return
        del self._doors[door]
        self.generation += 1
        for asked in self._asked:
            asked.end(door)

    def via(self, doors: Sequence[str]) -> WayOut:
        """The way out through some doors only.

        Args:
            doors: globs over their names; none: all of them.
        """
        return _Route(self, tuple(doors)) if doors else self

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        return self.publish_via((), topic, messages, unsolicited=unsolicited)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        return self.announce_via((), key, topic, message, unsolicited=unsolicited)

    def publish_via(
        self, doors: Sequence[str], topic: str, messages: Sequence[bytes], *, unsolicited: bool = False
    ) -> Published:
        """`publish` through some doors, as `via`."""
        return self._tell(doors, lambda each: each.publish(topic, messages, unsolicited=unsolicited))

    def announce_via(
        self, doors: Sequence[str], key: str, topic: str, message: bytes, *, unsolicited: bool = False
    ) -> Published:
        """`announce` through some doors, as `via`."""
        return self._tell(doors, lambda each: each.announce(key, topic, message, unsolicited=unsolicited))

    def publish_to_pool(self, pool: str, key: PoolKey, messages: Sequence[bytes], *, by_hash: bool) -> Published:
        return self.publish_to_pool_via((), pool, key, messages, by_hash=by_hash)

    def publish_to_pool_via(
        self, doors: Sequence[str], pool: str, key: PoolKey, messages: Sequence[bytes], *, by_hash: bool
    ) -> Published:
        """`publish_to_pool` through some doors, as `via`."""
        door, topic = self.choose(doors, pool, key, by_hash=by_hash)
        if topic:
            return self._doors[door].publish(topic, messages)
        return Published(0, "no_subscriber" if door else "no_broker")

    def choose(self, doors: Sequence[str], pool: str, key: PoolKey, *, by_hash: bool) -> tuple[str, str]:
        """The door through which a pool is reached, and the topic of the member whose turn it is; no door if we are no
        node of a cluster, no topic if nobody is alive.
        """
        for name, publisher in self._doors.items():
            if _is_meant(name, doors) and isinstance(publisher, Chooser):
                return name, publisher.pool_topic(pool, key, by_hash=by_hash)
        return "", ""

    def _tell(self, doors: Sequence[str], tell: Callable[[Publisher], Published]) -> Published:
        found = [tell(each) for name, each in self._doors.items() if _is_meant(name, doors)]
        if peers := sum(each.peers for each in found):
            return Published(peers)
        refused = [each.refused for each in found]
        return Published(0, min(refused, key=_distance, default="no_broker"))

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        asked = _Asked(tuple(prefixes))
        self._asked.append(asked)
        for door, publisher in self._doors.items():
            asked.begin(door, publisher)
        try:
            yield
        finally:
            self._asked.remove(asked)
            asked.end_all()


class _Route:
    """An `Outlet` with some doors only. What is asked for is asked of all."""

    def __init__(self, outlet: Outlet, doors: tuple[str, ...]) -> None:
        self._outlet, self._doors = outlet, doors

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        return self._outlet.publish_via(self._doors, topic, messages, unsolicited=unsolicited)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        return self._outlet.announce_via(self._doors, key, topic, message, unsolicited=unsolicited)

    def publish_to_pool(self, pool: str, key: PoolKey, messages: Sequence[bytes], *, by_hash: bool) -> Published:
        return self._outlet.publish_to_pool_via(self._doors, pool, key, messages, by_hash=by_hash)

    def subscribed(self, prefixes: Sequence[str]) -> AbstractContextManager[None]:
        return self._outlet.subscribed(prefixes)


def _is_meant(door: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(door, glob) for glob in globs)


def _distance(refused: str) -> int:
    return _CLOSEST.index(refused) if refused in _CLOSEST else len(_CLOSEST)
