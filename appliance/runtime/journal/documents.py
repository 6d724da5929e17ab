"""Dead letters as people and programs get them; the same from a running appliance and from a journal at rest."""

from __future__ import annotations

from typing import Any

import msgspec

from .entries import Letter

__all__ = ["full_document", "short_document"]


def short_document(letter: Letter) -> dict[str, Any]:
    """What fits into a line of a list. Times are nanoseconds since the epoch."""
    item = letter.item
    return {
        "id": letter.id,
        "hook": letter.hook,
        "kind": item.kind,
        "name": item.name,
        "source": item.source,
        "attempts": letter.attempts,
        "first_ns": letter.first_ns,
        "last_ns": letter.history[-1].at_ns if letter.history else letter.first_ns,
        "reason": letter.reason,
        "error": letter.error,
    }


def full_document(letter: Letter, record: dict[str, Any] | None) -> dict[str, Any]:
    """The same with the traceback, the attempts and the record itself.

    Args:
        letter: what is described.
        record: of its item, in plain values; None if it cannot be decoded.
    """
    return {
        **short_document(letter),
        "trace": letter.trace,
        "history": msgspec.to_builtins(letter.history),
        "record": record,
    }
