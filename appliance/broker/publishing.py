"""What may be published, as frames: the checks before anything is queued, and what is announced again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from appliance.wire.names import CONTROL_TOPIC
from appliance.zeek.schema import as_bytes

from .topics import Topics

__all__ = ["Announcements", "objection_to"]

_MAX_KEYS = 10_000
_LONGEST_TOPIC = (1 << 16) - 1


def objection_to(topic: str, messages: Sequence[bytes], *, topics: Topics, max_message: int) -> str:
    """Why messages cannot go out at all, as a reason of the ledger; empty if they can."""
    try:
        size = len(as_bytes(topic))
    except ValueError:
        return "bad_topic"
    if not 0 < size <= _LONGEST_TOPIC or topic.startswith(CONTROL_TOPIC):
        return "bad_topic"
    if not topics.may_publish(topic):
        return "not_allowed"
    return "too_large" if any(len(message) > max_message for message in messages) else ""


class Announcements:
    """Messages for each peer that ever wants their topic, by key; the oldest is forgotten when there are too many."""

    def __init__(self) -> None:
        self._messages: dict[str, tuple[str, bytes, bool]] = {}

    def put(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> None:
        """Add one, in place of the one of that key."""
        self._messages.pop(key, None)
        self._messages[key] = (topic, message, unsolicited)
        if len(self._messages) > _MAX_KEYS:
            del self._messages[next(iter(self._messages))]

    def news_for(self, heard: dict[str, bytes]) -> Iterator[tuple[str, str, bytes, bool]]:
        """All that are not among those which somebody has heard: key, topic, message, and whether it is unsolicited."""
        for key, (topic, message, unsolicited) in self._messages.items():
            if heard.get(key) is not message:
                yield key, topic, message, unsolicited
