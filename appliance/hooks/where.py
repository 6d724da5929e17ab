"""`where`: which records a hook gets, by a rule-engine expression over the record's fields.

Evaluating an expression costs microseconds, and most records do not match. So strings that every match must contain
are looked for in the encoded block first; a block or row without them is never decoded. Of a batch of events the fields
that they have in common are looked at first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rule_engine
from rule_engine import ast

from appliance.model import EventBatch, Item, LogBatch, StoreEvent
from appliance.zeek.events import StoreRecord, plain_args, plain_store_record

from .filter import Match, decode, records

__all__ = ["Where"]

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-+,; @#$%*()[]{}<>=!?|~^")
"""Characters that have no escape of their own in JSON (RFC 8259 §7); `_ESCAPE` catches one written as \\uXXXX."""
_ESCAPE = b"\\u"
_DEMANDING = frozenset({"eq", "ge", "gt", "le", "lt", "eq_fzm", "eq_fzs"})
"""Comparisons of a field with a literal that null never satisfies."""
_SHARED = frozenset({"name", "topic", "peer"})
"""Fields in which all events of a batch agree."""


class _Context(rule_engine.Context):  # type: ignore[misc]  # the engine is not typed
    """Fields of a record. Zeek's JSON is flat: ``id.orig_h`` is the name of one field, and ``id`` stands for a mapping
    of all fields below it. What is not there is null.
    """

    def __init__(self) -> None:
        super().__init__(resolver=self._find, default_value=None, default_timezone="utc")

    @staticmethod
    def _find(record: Any, name: str) -> Any:
        if not isinstance(record, Mapping):
            return None
        if name in record:
            return record[name]
        prefix = name + "."
        nested = {key[len(prefix) :]: value for key, value in record.items() if key.startswith(prefix)}
        return nested or None

    def resolve_attribute(self, thing: Any, object_: Any, name: str) -> Any:
        """A field comes before the engine's own attribute of that name, e.g. ``length``."""
        value = self._find(object_, name)
        # The engine is not asked in vain: it would look for similar names to suggest, which takes 100 µs.
        if value is not None or object_ is None or not self.is_attribute(name):
            return value
        try:
            return super().resolve_attribute(thing, object_, name)
        except rule_engine.errors.AttributeResolutionError:
            return None

    @functools.cache  # noqa: B019 - the names are those in the expression
    def is_attribute(self, name: str) -> bool:
        """Whether a value of some type has this attribute, so that ``x.name`` need not be a field."""
        for kind in map(rule_engine.DataType.from_name, rule_engine.DataType):
            try:
                self.resolve_attribute_type(kind, name)
            except rule_engine.errors.EngineError:
                continue
            return True
        return False


def _names(node: Any) -> tuple[str, ...]:
    """``a.b.c`` as its names; nothing if `node` does not begin with a field."""
    if isinstance(node, ast.SymbolExpression):
        return (node.name,) if node.scope is None else ()
    if isinstance(node, ast.GetAttributeExpression):
        parent = _names(node.object)
        return (*parent, node.name) if parent else ()
    return ()


def _conjuncts(node: Any) -> Iterator[Any]:
    """The parts of an expression of which every match fulfils each."""
    if isinstance(node, ast.LogicExpression) and node.type == "and":
        yield from _conjuncts(node.left)
        yield from _conjuncts(node.right)
    else:
        yield node


def _needles(node: Any, context: _Context) -> Iterator[str]:
    """Strings that the JSON text of every record contains that fulfils `node`, unless it holds an escape.

    Only what a comparison with a literal demands.
    """
    if isinstance(node, ast.ComparisonExpression) and node.type in _DEMANDING:
        for this, other in ((node.left, node.right), (node.right, node.left)):
            names = _names(this)
            if not names or not isinstance(other, ast.LiteralExpressionBase) or isinstance(other, ast.NullExpression):
                continue
            if any(map(context.is_attribute, names[1:])):
                yield f'"{names[0]}'
                continue
            # Flat or nested, in whatever combination, the field's own key ends in the last name.
            yield f'"{names[0]}"' if len(names) == 1 else f'{names[-1]}"'
            if node.type == "eq" and isinstance(other, ast.StringExpression) and _SAFE.issuperset(other.value):
                yield f'"{other.value}"'


def _is_about(node: Any, fields: frozenset[str]) -> bool:
    """Whether `node` compares one of `fields` with a literal."""
    if not isinstance(node, ast.ComparisonExpression):
        return False
    sides = (node.left, node.right), (node.right, node.left)
    return any(
        fields.issuperset(_names(this)) and len(_names(this)) == 1 and isinstance(other, ast.LiteralExpressionBase)
        for this, other in sides
    )


def _holds(part: Any, record: Mapping[str, Any]) -> bool:
    try:
        return bool(part.evaluate(record))
    except Exception:  # noqa: BLE001 - as in `Where.matches`
        return False


class Where:
    """A compiled expression.

    Args:
        expression: rule-engine syntax, e.g. ``status_code >= 400 and host =~ ".*\\.example"``.

    Raises:
        ValueError: a mistake in the expression.

    A field that a record does not have is null there. An expression that cannot be evaluated for a record, because a
    field has another type than it needs, does not match that record. The arguments of events, and keys and
    values of stores, are plain values here, see `appliance.zeek.convert`; whoever gets the record gets them typed.
    """

    def __init__(self, expression: str) -> None:
        context = _Context()
        try:
            self._rule = rule_engine.Rule(expression, context=context)
        except rule_engine.errors.EngineError as exc:
            raise ValueError(exc.message) from exc
        except Exception as exc:  # constants are computed here: whatever that raises is a mistake, too
            raise ValueError(f"{type(exc).__name__}: {exc}") from exc
        parts = list(_conjuncts(self._rule.statement.expression))
        needles = dict.fromkeys(needle for part in parts for needle in _needles(part, context))
        self._needles = tuple(needle.encode() for needle in needles)
        self._shared = tuple(part for part in parts if _is_about(part, _SHARED))
        self._needs_each = not _SHARED.issuperset(context.symbols)

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Does the expression hold for a decoded record?"""
        try:
            return bool(self._rule.matches(record))
        except Exception:  # noqa: BLE001 - the engine lets TypeError, OverflowError and others through
            return False

    def _may_match(self, text: bytes) -> bool:
        return all(needle in text for needle in self._needles) or _ESCAPE in text

    def select(self, item: Item) -> Iterator[Match]:
        """See `appliance.hooks.filter.Filter.select`."""
        if isinstance(item, EventBatch):
            yield from self._select_events(item)
        elif isinstance(item, StoreEvent):
            yield from (
                (i, record)
                for i, record in enumerate(records(item))
                if not isinstance(record, StoreRecord) or self.matches(plain_store_record(record))
            )
        elif not isinstance(item, LogBatch):
            yield from ((i, record) for i, record in enumerate(records(item)) if record and self.matches(record))
        elif self._may_match(item.data):
            for i, row in enumerate(item.rows()):
                if self._may_match(row):
                    record = decode(row)
                    if record is None or self.matches(record):
                        yield i, record

    def positions(self, item: Item) -> Sequence[int]:
        """See `appliance.hooks.filter.Filter.positions`."""
        return [position for position, _ in self.select(item)]

    def _select_events(self, batch: EventBatch) -> Iterator[Match]:
        shared = {"name": batch.name, "topic": batch.topic, "peer": batch.peer}
        if not (all(_holds(part, shared) for part in self._shared) if self._needs_each else self.matches(shared)):
            return
        for i, record in enumerate(records(batch)):
            if record is None or not self._needs_each or self.matches(plain_args(record)):
                yield i, record
