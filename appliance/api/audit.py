"""What a request asks for, in few words, for the line that the log has about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

__all__ = ["LONGEST", "summarize"]

LONGEST = 100
"""Characters of each member; identifiers are shorter, and whoever changes things must not fill the log."""
_MAX_FIELDS = 64


def summarize(body: bytes, members: Sequence[str], *, is_form: bool = False) -> dict[str, str]:
    """Those members of a body that say what is meant, as text; what cannot be read has none.

    Args:
        body: as it came, good or not.
        members: names; of others, as the values of a store, the log has nothing.
        is_form: it is a form, and no JSON.
    """
    found = _read(body, is_form=is_form)
    return {name: _shorten(found[name]) for name in members if name in found}


def _read(body: bytes, *, is_form: bool) -> Mapping[str, Any]:
    try:
        if is_form:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
