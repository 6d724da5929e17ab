"""The way out to the cluster: how consumers, hooks and the API publish without knowing who carries it.

An `Outlet` stands between them and the endpoint, because a reload may put another endpoint, or none, behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

__all__ = ["Outlet", "Published", "Publisher"]


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

    def announce(self, key: str, topic: str, message: bytes) -> Published:
        """Publish a message now, and again to each peer that connects or asks for `topic` later, before anything else
        that is published on `topic`. A later announcement of the same `key` takes its place. At most 10,000 keys.
        """
        ...

    def subscribed(self, prefixes: Sequence[str]) -> AbstractContextManager[None]:
        """Ask the peers for more topics as long as the context lasts."""
        ...


class Outlet:
    """See the module. A `Publisher` itself."""

    def __init__(self) -> None:
        self.publisher: Publisher | None = None

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        if self.publisher is None:
            return Published(0, "no_broker")
        return self.publisher.publish(topic, messages, unsolicited=unsolicited)

    def announce(self, key: str, topic: str, message: bytes) -> Published:
        if self.publisher is None:
            return Published(0, "no_broker")
        return self.publisher.announce(key, topic, message)

    def subscribed(self, prefixes: Sequence[str]) -> AbstractContextManager[None]:
        return nullcontext() if self.publisher is None else self.publisher.subscribed(prefixes)
