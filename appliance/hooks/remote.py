"""What a hook in a worker process has of the appliance: its log, and the way to publish."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.runtime.asking import PacketRequest, Packets
from appliance.runtime.stores import StoreError, StoreFailure, StoreReply, StoreRequest

from .data_store import Asker
from .event import check_pool, check_published, make_event
from .link import AskError, Link
from .steer import ExtractError
from .store import Pairs, Reader

__all__ = ["RemoteLog", "RemotePublisher", "remote_extract", "remote_reader", "remote_stores"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
MAX_TEXT = 4096
"""Characters of one value."""


class RemoteLog:
    """A logger like structlog's; its lines appear in the appliance's own log.

    Args:
        link: to the appliance.
        level: lines below it are not sent.
        fields: what each line has.
    """

    def __init__(self, link: Link, level: int, fields: dict[str, Any] | None = None) -> None:
        self._link, self._level, self._fields = link, level, fields or {}

    def bind(self, **fields: Any) -> RemoteLog:
        """A logger whose lines have these fields, too."""
        return RemoteLog(self._link, self._level, self._fields | fields)

    def _log(self, level: str, event: object, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self._level:
            return
        text = str(event) % args if args else str(event)
        fields = self._fields | fields
        if fields.pop("exc_info", None):
            fields["traceback"] = traceback.format_exc()
        self._link.tell("log", level, _plain(text), {str(key): _plain(value) for key, value in fields.items()})

    def debug(self, event: object, *args: object, **fields: Any) -> None:
        self._log("debug", event, args, fields)

    def info(self, event: object, *args: object, **fields: Any) -> None:
        self._log("info", event, args, fields)

    def warning(self, event: object, *args: object, **fields: Any) -> None:
        self._log("warning", event, args, fields)

    warn = warning

    def error(self, event: object, *args: object, **fields: Any) -> None:
        self._log("error", event, args, fields)

    def critical(self, event: object, *args: object, **fields: Any) -> None:
        self._log("critical", event, args, fields)

    fatal = critical

    def exception(self, event: object, *args: object, **fields: Any) -> None:
        """An error, with the exception that is being handled."""
        self._log("error", event, args, {"exc_info": True, **fields})


def _plain(value: Any) -> Any:
    """What surely can be sent and shown."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return int(value)
    return str(value)[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()


class RemotePublisher:
    """Publishes for a hook, like `EventPublisher`.

    Args:
        link: to the appliance.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    def publish_event(self, topic: str, name: str, *args: object) -> int:
        """See `appliance.hooks.publish.EventPublisher.publish_event`."""
        message = make_event(name, args)
        peers, refused = self._link.ask("publish", topic.encode("utf-8", "surrogateescape"), message)
        return check_published(topic, peers, refused)

    def publish_to_pool(self, pool: str, key: object, name: str, args: tuple[object, ...], *, by_hash: bool) -> int:
        """See `appliance.hooks.publish.EventPublisher.publish_to_pool`."""
        checked = check_pool(pool, key)
        if isinstance(checked, str):
            checked = checked.encode("utf-8", "surrogateescape")
        peers, refused = self._link.ask("publish_to_pool", pool, checked, make_event(name, args), by_hash)
        return check_published(pool, peers, refused)


def remote_reader(link: Link) -> Reader:
    """Reads stores for a hook in a worker process.

    Args:
        link: to the appliance.
    """

    def value(space: str, key: bytes) -> bytes | None:
        found: bytes | None = link.ask("value", space, key)
        return found

    def some(space: str, after: bytes | None, limit: int) -> tuple[Pairs, bytes | None]:
        pairs, end = link.ask("values", space, after, limit)
        return [(key, value) for key, value in pairs], end

    return Reader(value, some)


def remote_extract(link: Link) -> Callable[[PacketRequest], Packets]:
    """Has files made for a hook in a worker process.

    Args:
        link: to the appliance.
    """

    def extract(request: PacketRequest) -> Packets:
        try:
            found = link.ask("extract", msgspec.to_builtins(request, builtin_types=(bytes,)))
        except AskError as exc:
            raise ExtractError(str(exc).removeprefix("ExtractError: ")) from None
        return msgspec.convert(found, Packets)

    return extract


def remote_stores(link: Link) -> Callable[[str], Asker | None]:
    """Finds data stores for a hook in a worker process.

    Args:
        link: to the appliance.
    """

    def ask(name: str, request: StoreRequest) -> StoreReply:
        reason, answer = link.ask("store", name, request)
        if reason:
            raise StoreError(StoreFailure(reason), name, answer)
        return msgspec.convert(answer, StoreReply)

    return lambda name: ask if link.ask("has_store", name) else None
