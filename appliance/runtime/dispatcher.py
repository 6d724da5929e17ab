"""The dispatcher: every item from a door to the queue of every consumer that asked for it.

A consumer says what it takes by patterns: ``on`` (``log:conn``, ``event:Notice::*``, ``print:bro/print/``) and ``from``
(``zmq.*``). Globs match the whole name, never a prefix; what follows ``print:`` is no glob but a prefix, as Broker's
subscriptions are. Which queues an item goes to is decided once for each (kind, name, door).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from appliance.model import Item

from .intake import ConsumerQueue
from .ledger import Account

__all__ = ["Dispatcher"]

ROUTES = 65_536
"""Bound on remembered routes: names come from the network."""


class _Subscription:
    def __init__(self, on: Sequence[str], sources: Sequence[str], queue: ConsumerQueue) -> None:
        self._on = [pattern.partition(":")[::2] for pattern in on]
        self._sources = tuple(sources)
        self.queue = queue

    def wants(self, kind: str, name: str, source: str) -> bool:
        matches = str.startswith if kind == "print" else fnmatchcase
        return any(kind == wanted and matches(name, pattern) for wanted, pattern in self._on) and (
            not self._sources or any(fnmatchcase(source, glob) for glob in self._sources)
        )


class Dispatcher:
    """See the module."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._routes: dict[tuple[str, str, str], tuple[ConsumerQueue, ...]] = {}

    def subscribe(self, consumer: str, queue: ConsumerQueue, *, on: Sequence[str], sources: Sequence[str]) -> None:
        """Route matching items to `queue` from now on; an older subscription of that consumer ends in the same step."""
        self._subscriptions[consumer] = _Subscription(on, sources, queue)
        self._routes.clear()

    def unsubscribe(self, consumer: str) -> None:
        """Nothing more for that consumer; what waits in its queue stays there."""
        self._subscriptions.pop(consumer, None)
        self._routes.clear()

    def route(self, item: Item) -> tuple[ConsumerQueue, ...]:
        """The queues of all who want `item`, and did not make it."""
        via = getattr(item, "via", ())
        if via:
            return tuple(queue for queue in self._route(item) if queue.account.name not in via)
        return self._route(item)

    def _route(self, item: Item) -> tuple[ConsumerQueue, ...]:
        key = (item.kind, item.name, item.source)
        queues = self._routes.get(key)
        if queues is None:
            if len(self._routes) >= ROUTES:
                self._routes.clear()
            queues = tuple(s.queue for s in self._subscriptions.values() if s.wants(*key))
            self._routes[key] = queues
        return queues

    async def dispatch(self, item: Item, account: Account, *, patience_s: float) -> None:
        """Hand `item` to every queue that wants it and book it in the door's `account`, which has received it.

        Waits only for consumers with policy ``block`` and, for one that does not move, at most `patience_s`; it is a
        checkpoint only then. An item that nobody wants is dropped for ``unwanted``.

        Cancellation: the item has been offered to all queues; what still waited is dropped there for ``shutdown``.
        """
        queues = self.route(item)
        if not queues:
            account.drop("unwanted", item.count)
            return
        account.delivered += item.count
        waiting = [(queue, rest) for queue in queues if (rest := queue.put_nowait(item)) is not None]
        for i, (queue, rest) in enumerate(waiting):
            try:
                await queue.wait_put(rest, patience_s=patience_s)
            except BaseException:
                for other, lost in waiting[i + 1 :]:
                    other.abandon(lost, "shutdown")
                raise
