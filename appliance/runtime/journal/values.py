"""Reading the journal's store: what is written, and the changes that are on their way."""

from __future__ import annotations

from .journal import Journal
from .store import apply

__all__ = ["read_all", "read_some", "read_value"]

_PAGE = 4096
Pairs = list[tuple[bytes, bytes]]


async def read_value(journal: Journal, space: str, key: bytes) -> bytes | None:
    """A value with all changes until now; None: there is none.

    Raises: as `Journal.call`.
    """

    def with_changes(written: bytes | None) -> bytes | None:
        return apply(journal.changes.get((space, key)), written)

    return await journal.call(lambda keep: keep.value(space, key), with_changes)


async def read_some(journal: Journal, space: str, after: bytes | None, limit: int) -> tuple[Pairs, bytes | None]:
    """Keys and values of a space behind `after` in the order of the keys, about `limit` of them.

    Returns:
        Them, and the key to go on behind; None: there are no more.

    Raises: as `Journal.call`.
    """
    ends: list[bytes | None] = []

    def with_changes(written: Pairs) -> Pairs:
        end = written[-1][0] if len(written) == limit else None
        ends.append(end)
        found: dict[bytes, bytes | None] = dict(written)
        for (where, key), change in journal.changes.items():
            if where == space and (after is None or key > after) and (end is None or key <= end):
                found[key] = apply(change, found.get(key))
        return [(key, value) for key, value in sorted(found.items()) if value is not None]

    pairs = await journal.call(lambda keep: keep.values(space, after, limit), with_changes)
    return pairs, ends[0]


async def read_all(journal: Journal, space: str) -> Pairs:
    """A whole space.

    Raises: as `Journal.call`.
    """
    found: Pairs = []
    after: bytes | None = None
    while True:
        pairs, after = await read_some(journal, space, after, _PAGE)
        found += pairs
        if after is None:
            return found
