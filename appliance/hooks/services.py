"""What the worker processes of a hook may tell and ask the appliance."""

from __future__ import annotations

from typing import Any

from appliance.zeek.messages import decode_message

from .process import Services
from .publish import EventPublisher

__all__ = ["make_services"]

_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def make_services(publisher: EventPublisher, log: Any) -> Services:
    """For one hook.

    Args:
        publisher: the hook's.
        log: with its name.
    """

    def write_log(level: str, event: str, fields: dict[str, Any]) -> None:
        if level not in _LEVELS:
            raise ValueError(f"{level!r} is no level")
        fields.pop("event", None)
        getattr(log, level)(event, **fields)

    async def publish(topic: bytes, message: bytes) -> tuple[int, str]:
        decode_message(message)  # what is none would cost us our peers
        return await publisher.answer(topic, message)

    return Services(tell={"log": write_log}, ask={"publish": publish})
