"""Long lists by the page: ``limit``, and a ``cursor`` from the answer before. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from .exchange import RefusedError, problem

__all__ = ["MAX_LISTED", "Page", "cursor_of", "page", "read_cursor"]

MAX_LISTED = 1000
T = TypeVar("T")
K = TypeVar("K", int, str, bytes)


class Page(msgspec.Struct, frozen=True):
    """What a query says of the page that is wanted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100
    cursor: Annotated[
        str, msgspec.Meta(description="the answer's `next`: the page behind it", pattern="^[A-Za-z0-9_-]*$")
    ] = ""


def cursor_of(last: int | str | bytes) -> str:
    """The cursor that stands behind an entry; opaque to clients."""
    return base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[K], first: K) -> K:
    """The entry behind which a page begins; `first` without a cursor.

    Raises:
        RefusedError: that is no cursor.
    """
    if not cursor:
        return first
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (binascii.Error, ValueError):
        raise RefusedError(problem(400, "this makes no sense", where="cursor", detail="that is no cursor")) from None


def page(entries: Iterable[T], key: Callable[[T], str], wanted: Page) -> tuple[list[T], str | None]:
    """A page of a list in the order of its keys, and the cursor of the next one; None: it was the last.

    An entry that comes or goes between two pages makes others neither come twice nor be left out.
    """
    after = read_cursor(wanted.cursor, str, "")
    found: list[Any] = sorted((each for each in entries if key(each) > after), key=key)
    chosen = found[: wanted.limit]
    return chosen, cursor_of(key(chosen[-1])) if len(found) > len(chosen) else None
