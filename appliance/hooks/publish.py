"""`ctx.publish_event`: how a hook sends events to the cluster, whichever thread it runs in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from appliance.runtime.outlet import PoolKey, Published, WayOut

from .event import PublishError, check_pool, check_published, make_event

__all__ = ["EventPublisher", "PublishError"]


class EventPublisher:
    """Publishes for one hook.

    Args:
        outlet: the way out.
    """

    def __init__(self, outlet: WayOut) -> None:
        self._outlet = outlet
        self._token: trio.lowlevel.TrioToken | None = None

    def attach(self) -> None:
        """Serve threads from now on; called in the loop that `outlet` belongs to."""
        self._token = trio.lowlevel.current_trio_token()

    def publish_event(self, topic: str, name: str, *args: object) -> int:
        """Publish an event for every peer that asked for `topic`; see `appliance.zeek.convert` for its arguments.

        Called in the loop, by an asynchronous hook, it returns at once. Called in a thread it waits for the loop, which
        takes some 40 µs. Nothing waits for a peer.

        Returns:
            For how many peers it was queued; 0 if none is connected or none asked for the topic.

        Raises:
            TypeError: an argument is of a type that Broker does not have.
            ValueError: an argument has a value that Broker does not have, or the event has no name.
            PublishError: refused by the configuration.
        """
        published = self._in_loop(partial(self._outlet.publish, topic, [make_event(name, args)]))
        return check_published(topic, published.peers, published.refused)

    def publish_to_pool(self, pool: str, key: object, name: str, args: tuple[object, ...], *, by_hash: bool) -> int:
        """Publish an event for one member of a pool of the cluster, the one that Zeek would choose.

        Args:
            pool: ``worker``, ``proxy`` or ``logger``.
            key: a string or a count.
            name: of the event.
            args: its arguments.
            by_hash: by the key's hash, else by turns.

        Returns:
            For how many peers it was queued; 0 if no member is up.

        Raises:
            TypeError: as `publish_event`, or the key is of another type.
            ValueError: likewise, or there is no such pool.
            PublishError: refused by the configuration.
        """
        checked = check_pool(pool, key)
        message = make_event(name, args)
        published = self._in_loop(partial(self._outlet.publish_to_pool, pool, checked, [message], by_hash=by_hash))
        return check_published(pool, published.peers, published.refused)

    def _in_loop(self, publish: Callable[[], Published]) -> Published:
        if trio.lowlevel.in_trio_run():
            return publish()
        # With a token, which any thread may use, not only those that Trio has started.
        assert self._token is not None
        return trio.from_thread.run_sync(publish, trio_token=self._token)

    async def answer(self, topic: bytes, message: bytes) -> tuple[int, str]:
        """Publish for a worker process: what it made with `make_event`.

        Returns:
            For how many peers, and why not if it was refused.
        """
        published = self._outlet.publish(topic.decode("utf-8", "surrogateescape"), [message])
        return published.peers, published.refused

    async def answer_pool(self, pool: str, key: PoolKey, message: bytes, by_hash: bool) -> tuple[int, str]:
        """The same for one member of a pool."""
        published = self._outlet.publish_to_pool(pool, check_pool(pool, key), [message], by_hash=by_hash)
        return published.peers, published.refused
