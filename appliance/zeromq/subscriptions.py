"""Which topics a node takes, and which the others do. Pure.

Everybody's subscriptions are one filter, at the proxy: what a node publishes and nobody has subscribed to does not
leave it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from appliance.wire.filters import PrefixSet

__all__ = ["MAX_HEARD", "Heard", "Wanted"]

MAX_HEARD = 65_536
"""Topics of others that are remembered; a cluster has a few for each node."""


class Wanted:
    """Our topics, with how many want each: whoever comes second asks for nothing new."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._prefixes = PrefixSet(())

    def ask(self, topics: Iterable[str]) -> list[str]:
        """Want more topics; returns those to subscribe to."""
        news = []
        for topic in topics:
            self._count[topic] += 1
            if self._count[topic] == 1:
                news.append(topic)
        self._rebuild(news)
        return news

    def forgo(self, topics: Iterable[str]) -> list[str]:
        """The end of an `ask`; returns those whose subscriptions are to be ended."""
        ended = []
        for topic in topics:
            self._count[topic] -= 1
            if self._count[topic] <= 0:
                del self._count[topic]
                ended.append(topic)
        self._rebuild(ended)
        return ended

    def _rebuild(self, changed: list[str]) -> None:
        if changed:
            self._prefixes = PrefixSet(self._count)

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(self._count)

    def has(self, topic: str) -> bool:
        """Whether exactly this topic is subscribed to."""
        return topic in self._count

    def matches(self, topic: str) -> bool:
        """Whether what is published on a topic is for us."""
        return self._prefixes.matches(topic)


class Heard:
    """The subscriptions of all nodes, as the proxy tells them.

    Of how many nodes a topic is cannot be known: the proxy tells of every beginning, and of the last end only. To a new
    connection it tells of each topic once, whoever has subscribed to it. So a topic of ours is nobody else's if it was
    told of exactly once, provided that we subscribed to it after the first connection and there was no second one.

    Args:
        own: ours.
    """

    def __init__(self, own: Wanted) -> None:
        self._own = own
        self._told: Counter[str] = Counter()
        self._is_exact = True
        self._others: PrefixSet | None = None

    def __len__(self) -> int:
        return len(self._told)

    def begin(self, topic: str) -> None:
        """Somebody has subscribed."""
        if topic in self._told or len(self._told) < MAX_HEARD:
            self._told[topic] += 1
            if self._told[topic] <= 2:
                self._others = None

    def end(self, topic: str) -> None:
        """The last one has ended his subscription."""
        if self._told.pop(topic, 0):
            self._others = None

    def reconnect(self) -> None:
        """The connection to the proxy is another one."""
        self._is_exact = False
        self._others = None

    def matches(self, topic: str) -> bool:
        """Whether somebody else takes what is published on a topic."""
        if self._others is None:
            self._others = PrefixSet(
                each for each, count in self._told.items() if count > 1 or not self._is_exact or not self._own.has(each)
            )
        return self._others.matches(topic)
