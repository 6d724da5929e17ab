"""Making the event that a hook publishes, and what becomes of it."""

from __future__ import annotations

from appliance.errors import LocalProtocolError
from appliance.runtime.outlet import PoolKey
from appliance.zeek.convert import to_value
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.values import Count, Value

__all__ = ["PublishError", "check_pool", "check_published", "make_event"]

POOLS = ("worker", "proxy", "logger")

_NOBODY = ("no_peer", "no_subscriber")
"""Refusals that are no mistake: there is nobody who would want it."""
_REASONS = {
    "no_broker": "there is no door into a cluster to publish with",
    "not_allowed": "access control (the key publish of the door) does not allow this topic",
    "bad_topic": "no topic that can be published on",
    "too_large": "the event is larger than the max_message of the door",
    "no_json": "it holds a number that JSON does not have, or a text that is not UTF-8",
}


class PublishError(Exception):
    """An event was not published, and would not be if it were tried again.

    Attributes:
        reason: as in the ledger: ``no_broker``, ``not_allowed``, ``bad_topic``, ``too_large`` or ``no_json``.
    """

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"cannot publish on {topic!r}: {_REASONS.get(reason, reason)}")
        self.reason = reason


def check_published(topic: str, peers: int, refused: str) -> int:
    """For how many peers it was queued.

    Raises:
        PublishError: refused by the configuration.
    """
    if refused and refused not in _NOBODY:
        raise PublishError(topic, refused)
    return peers


def check_pool(pool: object, key: object) -> PoolKey:
    """What a message for a pool is chosen by.

    Raises:
        ValueError: no such pool.
        TypeError: a key that cannot be hashed as Zeek does.
    """
    if pool not in POOLS:
        raise ValueError(f"{pool!r} is no pool, there are {', '.join(POOLS)}")
    if isinstance(key, Count):
        key = key.value
    is_count = isinstance(key, int) and not isinstance(key, bool) and 0 <= key < 1 << 64
    if not is_count and not isinstance(key, str | bytes):
        raise TypeError(f"a key is a string or a count, not {key!r}")
    assert isinstance(key, str | bytes | int)
    return key


def make_event(name: str, args: tuple[object, ...]) -> bytes:
    """An event message; see `appliance.zeek.convert` for `args`.

    Raises:
        TypeError: an argument is of a type that Broker does not have.
        ValueError: an argument has a value that Broker does not have, or the event has no name.
    """
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
