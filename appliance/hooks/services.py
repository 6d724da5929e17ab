"""What the worker processes of a hook may tell and ask the appliance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from appliance.runtime.stores import StoreError, StoreRequest
from appliance.zeek.messages import decode_message

from .around import Around
from .extracts import Extracts
from .process import Services
from .publish import EventPublisher
from .store import Pairs, checked_space

__all__ = ["make_services"]

_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def make_services(publisher: EventPublisher, log: Any, around: Around | None, extracts: Extracts) -> Services:
    """For one lane of a hook.

    Args:
        publisher: the hook's.
        log: with its name.
        around: reads stores; None: there are none.
        extracts: the lane's.
    """

    def write_log(level: str, event: str, fields: dict[str, Any]) -> None:
        if level not in _LEVELS:
            raise ValueError(f"{level!r} is no level")
        fields.pop("event", None)
        getattr(log, level)(event, **fields)

    async def publish(topic: bytes, message: bytes) -> tuple[int, str]:
        decode_message(message)  # what is none would cost us our peers
        return await publisher.answer(topic, message)

    async def publish_to_pool(pool: str, key: bytes | int, message: bytes, by_hash: bool) -> tuple[int, str]:
        decode_message(message)
        return await publisher.answer_pool(pool, key, message, by_hash)

    async def value(space: str, key: bytes) -> bytes | None:
        return await _there(around).value(checked_space(space), key)

    async def values(space: str, after: bytes | None, limit: int) -> tuple[Pairs, bytes | None]:
        return await _there(around).some(checked_space(space), after, limit)

    async def has_store(name: str) -> bool:
        return around is not None and name in around.stores

    async def store(name: str, request: list[Any]) -> tuple[str, Any]:
        """A store's reply, or why there is none."""
        try:
            reply = await _there(around).stores.perform(name, msgspec.convert(request, StoreRequest))
        except StoreError as exc:
            return exc.reason, exc.text
        return "", reply

    ask: dict[str, Callable[..., Awaitable[Any]]] = {
        "publish": publish,
        "publish_to_pool": publish_to_pool,
        "value": value,
        "values": values,
        "has_store": has_store,
        "store": store,
        "extract": extracts.answer,
    }
    return Services(tell={"log": write_log}, ask=ask)


def _there(around: Around | None) -> Around:
    if around is None:
        raise ValueError("there is no journal to keep a store in")
    return around
