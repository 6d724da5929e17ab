"""Which topics we take, which of them peers are told of, and what we may publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from appliance.config import Broker
from appliance.wire.filters import PrefixSet, minimal

__all__ = ["Topics"]


class Topics:
    """Subscriptions of the file and of whoever asks for more for a while.

    What a peer sends on a topic that it was not told of is taken as well, if it is subscribed to: access control is
    about what is asked for.
    """

    def __init__(self, table: Broker) -> None:
        self._asked: Counter[str] = Counter()
        self._configure(table)

    def configure(self, table: Broker) -> bool:
        """Take over another table; returns whether peers are to be told."""
        before = self.advertised
        self._configure(table)
        return self.advertised != before

    def ask(self, prefixes: Iterable[str]) -> bool:
        """Subscribe to more, and tell of it; returns whether peers are to be told."""
        self._asked.update(prefixes)
        return self.configure(self._table)

    def forgo(self, prefixes: Iterable[str]) -> bool:
        """The end of an `ask`."""
        self._asked -= Counter(prefixes)
        return self.configure(self._table)

    def _configure(self, table: Broker) -> None:
        self._table = table
        self.wanted = PrefixSet((*table.subscribe, *self._asked))
        """What we take."""
        self.advertised: tuple[str, ...] = minimal((*_told(table), *self._asked))
        """Our filter: what peers are asked for."""
        publish = table.publish
        self._exact = None if publish is None else frozenset(publish)
        self._below = PrefixSet(topic for topic in publish or () if topic.endswith("/"))

    def may_publish(self, topic: str) -> bool:
        """Whether access control lets a topic out, whoever asks and however urgently."""
        return self._exact is None or topic in self._exact or self._below.matches(topic)


def _told(table: Broker) -> list[str]:
    """The part of the subscriptions that lies within what may be advertised."""
    if table.advertise is None:
        return list(table.subscribe)
    told = []
    for wanted in table.subscribe:
        for open_ in table.advertise:
            if wanted.startswith(open_):
                told.append(wanted)
            elif open_.startswith(wanted):
                told.append(open_)
    return told
