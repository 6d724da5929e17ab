"""What goes out: access control, events as frames, and what is announced again and again."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config import Websocket
from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Published
from appliance.wire.filters import PrefixSet
from appliance.wire.names import LOCAL_PREFIX
from appliance.zeek.messages import Event, decode_message
from appliance.zeek.schema import as_bytes

from .link import Link

__all__ = ["WayOut", "is_text"]

_MAX_KEYS = 10_000
_LONGEST_TOPIC = (1 << 16) - 1


class WayOut:
    """See the module.

    Args:
        account: books each message that is to be sent.
    """

    def __init__(self, table: Websocket, account: Account) -> None:
        self._account = account
        self._announced: dict[str, tuple[str, bytes]] = {}
        self.configure(table)

    def configure(self, table: Websocket) -> None:
        """Take over another table."""
        allowed = table.publish
        self._max_message = int(table.max_message)
        self._exact = None if allowed is None else frozenset(allowed)
        self._below = PrefixSet(topic for topic in allowed or () if topic.endswith(("/", ".")))

    def publish(self, link: Link | None, topic: str, messages: Sequence[bytes]) -> Published:
        """Queue messages for a server; with no link nobody is there."""
        if refused := self._objection_to(topic, messages):
            return Published(0, refused)
        if link is None or not link.is_ready:
            return Published(0, "no_peer")
        frames: list[bytes] = []
        reasons: list[str] = []
        for message in messages:
            frame = self._render(link, topic, message)
            if isinstance(frame, str):
                reasons.append(frame)
            else:
                frames.append(frame)
        if not frames:
            return Published(0, reasons[0] if reasons else "")
        link.queue.put(frames)
        self._account.received += len(reasons)
        for reason in reasons:
            self._account.drop(reason, 1)
        return Published(1)

    def announce(self, link: Link | None, key: str, topic: str, message: bytes) -> Published:
        """`publish`, now and after each acknowledgement, in place of what had that key before."""
        outcome = self.publish(link, topic, [message])
        if outcome.refused in ("", "no_peer"):
            self._announced.pop(key, None)
            self._announced[key] = (topic, message)
            if len(self._announced) > _MAX_KEYS:
                del self._announced[next(iter(self._announced))]
        return outcome

    def announce_again(self, link: Link) -> None:
        """Tell a new connection what was announced."""
        for topic, message in self._announced.values():
            self.publish(link, topic, [message])

    def _objection_to(self, topic: str, messages: Sequence[bytes]) -> str:
        """Why messages cannot go out at all; empty if they can."""
        if not is_text(topic) or not 0 < len(as_bytes(topic)) <= _LONGEST_TOPIC or topic.startswith(LOCAL_PREFIX):
            return "bad_topic"
        if self._exact is not None and topic not in self._exact and not self._below.matches(topic):
            return "not_allowed"
        return "too_large" if any(len(message) > self._max_message for message in messages) else ""

    def _render(self, link: Link, topic: str, message: bytes) -> bytes | str:
        """A message as a frame, or the reason why it cannot be one."""
        try:
            event = decode_message(message)
        except RemoteProtocolError:
            return "events_only"
        if not isinstance(event, Event):
            return "events_only"
        try:
            frame = link.render(topic, event)
        except LocalProtocolError:
            return "no_json"
        return frame if len(frame) <= self._max_message else "too_large"


def is_text(topic: str) -> bool:
    """Whether a WebSocket can carry it."""
    try:
        topic.encode()
    except UnicodeEncodeError:
        return False
    return True
