"""The way out to the cluster: how consumers, hooks and the API publish without knowing who carries it.

An `Outlet` stands between them and the endpoint, because a reload may put another endpoint, or none, behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["Outlet", "PoolKey", "Published", "Publisher"]


PoolKey: TypeAlias = "str | bytes | int"


class Published(NamedTuple):
    """What became of messages that were to be published."""

    peers: int
    """For how many peers they were queued."""
    refused: str = ""
    """Why for none at all, as a reason of the ledger: ``no_broker``, ``no_peer`` (nobody is connected),
    ``no_subscriber`` (nobody asked for the topic), ``not_allowed`` (access control), ``bad_topic``, ``too_large``."""


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

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """The topic of the node of a cluster that a message for a pool is for; empty if none is up.

        Args:
            pool: ``worker``, ``proxy`` or ``logger``.
            key: a string, or a number for a count of Zeek's.
            by_hash: by rendezvous hashing of the key, else by turns for each key.

        Raises:
            ValueError: no such pool.
            TypeError: no such key.
        """
        ...

    def subscribed(self, prefixes: Sequence[str]) -> AbstractContextManager[None]:
        """Ask the peers for more topics as long as the context lasts."""
        ...


class _Asked:
    """Topics that somebody wants, whoever carries them."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._held = ExitStack()

    def move_to(self, publisher: Publisher | None) -> None:
        self._held.close()
        if publisher is not None:
            self._held.enter_context(publisher.subscribed(self._prefixes))


class Outlet:
    """See the module. A `Publisher` itself."""

    def __init__(self) -> None:
        self._publisher: Publisher | None = None
        self._asked: list[_Asked] = []

    @property
    def publisher(self) -> Publisher | None:
        """Who carries it now. What was asked of the one before is asked of the next."""
        return self._publisher

    @publisher.setter
    def publisher(self, publisher: Publisher | None) -> None:
        self._publisher = publisher
        for asked in self._asked:
            asked.move_to(publisher)

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        if self.publisher is None:
            return Published(0, "no_broker")
        return self.publisher.publish(topic, messages, unsolicited=unsolicited)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        if self.publisher is None:
            return Published(0, "no_broker")
        return self.publisher.announce(key, topic, message, unsolicited=unsolicited)

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        return "" if self.publisher is None else self.publisher.pool_topic(pool, key, by_hash=by_hash)

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        asked = _Asked(tuple(prefixes))
        self._asked.append(asked)
        asked.move_to(self._publisher)
        try:
            yield
        finally:
            self._asked.remove(asked)
            asked.move_to(None)
