"""`ctx.publish_event`: how a hook sends events to the cluster, whichever thread it runs in."""

from __future__ import annotations

import trio

from appliance.errors import LocalProtocolError
from appliance.runtime.outlet import Publisher
from appliance.zeek.convert import to_value
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Value

__all__ = ["EventPublisher", "PublishError"]

_NOBODY = ("no_peer", "no_subscriber")
"""Refusals that are no mistake: there is nobody who would want it."""
_REASONS = {
    "no_broker": "there is no [broker] endpoint to publish with",
    "not_allowed": "[broker] publish does not allow this topic",
    "bad_topic": "no topic that can be published on",
    "too_large": "the event is larger than [broker] max_message",
}


class PublishError(Exception):
    """An event was not published, and would not be if it were tried again.

    Attributes:
        reason: as in the ledger: ``no_broker``, ``not_allowed``, ``bad_topic`` or ``too_large``.
    """

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"cannot publish on {topic!r}: {_REASONS.get(reason, reason)}")
        self.reason = reason


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
        message = _make_message(name, args)
        if trio.lowlevel.in_trio_run():
            published = self._outlet.publish(topic, [message])
        else:
            # With a token, which any thread may use, not only those that Trio has started.
            assert self._token is not None
            published = trio.from_thread.run_sync(self._outlet.publish, topic, [message], trio_token=self._token)
        if published.refused and published.refused not in _NOBODY:
            raise PublishError(topic, published.refused)
        return published.peers


def _make_message(name: str, args: tuple[object, ...]) -> bytes:
    if not name:
        raise ValueError("an event needs a name")
    values = [_make_argument(name, number, arg) for number, arg in enumerate(args, 1)]
    try:
        return encode_message(Event.make(name, *values))
    except LocalProtocolError as exc:
        raise ValueError(f"event {name}: {exc.message}") from exc


def _make_argument(name: str, number: int, arg: object) -> Value:
    try:
        return to_value(arg)
    except TypeError as exc:
        raise TypeError(f"argument {number} of {name}: {exc}") from exc
    except ValueError as exc:
        raise ValueError(f"argument {number} of {name}: {exc}") from exc
