"""`ctx.publish_event`: how a hook sends events to the cluster, whichever thread it runs in."""

from __future__ import annotations

import trio

from appliance.runtime.outlet import Publisher

from .event import PublishError, check_published, make_event

__all__ = ["EventPublisher", "PublishError"]


class EventPublisher:
    """Publishes for one hook.

    Args:
        outlet: the way out.
    """

    def __init__(self, outlet: Publisher) -> None:
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
        message = make_event(name, args)
        if trio.lowlevel.in_trio_run():
            published = self._outlet.publish(topic, [message])
        else:
            # With a token, which any thread may use, not only those that Trio has started.
            assert self._token is not None
            published = trio.from_thread.run_sync(self._outlet.publish, topic, [message], trio_token=self._token)
        return check_published(topic, published.peers, published.refused)

    async def answer(self, topic: bytes, message: bytes) -> tuple[int, str]:
        """Publish for a worker process: what it made with `make_event`.

        Returns:
            For how many peers, and why not if it was refused.
        """
        published = self._outlet.publish(topic.decode("utf-8", "surrogateescape"), [message])
        return published.peers, published.refused
