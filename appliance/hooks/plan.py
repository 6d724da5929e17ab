"""From what was leased to the calls to be made with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from appliance.model import Item

from .effects import Effects
from .filter import Filter

__all__ = ["Call", "Job", "needed", "plan_by_key", "plan_calls"]

_Match = tuple[int, Item, Any]
"""Position of a record in the parcel, the item that it is in, and what it is; None if it cannot be decoded."""


class Call(msgspec.Struct, kw_only=True):
    """One call to be made."""

    positions: Sequence[int]
    """Of its records in the parcel, rising, at least one."""
    records: Sequence[Any] = ()
    """Decoded, without those that cannot be; empty if they are decoded where the call is made."""
    items: Sequence[Item] = ()
    """That they are in."""


class Job(msgspec.Struct, kw_only=True):
    """Calls to be made one after the other."""

    items: Sequence[Item]
    """All of the parcel."""
    attempt: int
    calls: Sequence[Call]
    undecodable: set[int]
    """Positions of records that are none; whoever decodes adds to them."""
    effects: dict[int, Effects] = msgspec.field(default_factory=dict)
    """Of each call that has some, by its number in `calls`; lanes add to them."""


def plan_calls(
    items: Sequence[Item], where: Filter, *, batch: int, is_decoded: bool, undecodable: set[int]
) -> list[Call]:
    """Calls for the matches in `items`, in their order.

    Args:
        items: all of a parcel.
        where: which records match.
        batch: records for each call.
        is_decoded: the calls have their records.
        undecodable: hears the positions of records that are none, if they are decoded.
    """
    if is_decoded:
        found = _matches(items, where, undecodable)
        return [_make_call(found[at : at + batch]) for at in range(0, len(found), batch)]
    positions = _positions(items, where)
    return [Call(positions=positions[at : at + batch]) for at in range(0, len(positions), batch)]


def plan_by_key(
    items: Sequence[Item], where: Filter, field: str, lanes: int, *, batch: int, undecodable: set[int]
) -> dict[int, list[Call]]:
    """The same for each of `lanes` that gets something: records with the same value of `field` go to the same."""
    shares: dict[int, list[_Match]] = {}
    for match in _matches(items, where, undecodable):
        shares.setdefault(_hash(match[2], field) % lanes, []).append(match)
    return {
        lane: [_make_call(found[at : at + batch]) for at in range(0, len(found), batch)]
        for lane, found in shares.items()
    }


def needed(items: Sequence[Item], positions: Sequence[int]) -> tuple[list[Item], list[int] | None]:
    """Those of `items` that `positions`, rising, are in, and the positions in these alone; None: all of them."""
    if len(positions) == sum(item.count for item in items):
        return list(items), None
    kept: list[Item] = []
    moved: list[int] = []
    at = begin = shift = 0
    for item in items:
        end, before = begin + item.count, len(moved)
        while at < len(positions) and positions[at] < end:
            moved.append(positions[at] - shift)
            at += 1
        if len(moved) > before:
            kept.append(item)
        else:
            shift += item.count
        begin = end
    return kept, moved


def _matches(items: Iterable[Item], where: Filter, undecodable: set[int]) -> list[_Match]:
    found: list[_Match] = []
    offset = 0
    for item in items:
        found += [(offset + position, item, record) for position, record in where.select(item)]
        offset += item.count
    undecodable.update(position for position, _, record in found if record is None)
    return found


def _positions(items: Iterable[Item], where: Filter) -> Sequence[int]:
    """Where the matches are; a range if they are all there is."""
    found: list[int] = []
    offset = 0
    for item in items:
        found += [offset + position for position in where.positions(item)]
        offset += item.count
    return range(offset) if len(found) == offset else found


def _make_call(found: Sequence[_Match]) -> Call:
    kept = [each for each in found if each[2] is not None]
    return Call(
        positions=[position for position, _, _ in found],
        records=[record for _, _, record in kept],
        items=[item for _, item, _ in kept],
    )


def _hash(record: Any, field: str) -> int:
    value = None if record is None else record.get(field)
    try:
        return hash(value)
    except TypeError:  # a list, a mapping
        return hash(repr(value))
