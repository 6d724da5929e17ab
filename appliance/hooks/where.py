"""`where`: which records a hook gets, by a rule-engine expression over the record's fields.

Evaluating an expression costs microseconds, and most records do not match. So strings that every match must contain
are looked for in the encoded block first; a block or row without them is never decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import rule_engine
from rule_engine import ast

from appliance.model import Item, LogBatch

from .filter import Match, decode

__all__ = ["Where"]

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-+,; @#$%*()[]{}<>=!?|~^")
"""Characters that JSON writers have no reason to escape; `_ESCAPE` catches one that writes \\uXXXX anyway."""
_ESCAPE = b"\\u"


def _resolve(record: Mapping[str, Any], name: str) -> Any:
    """A field, or for ``id.orig_h`` (Zeek's JSON is flat) the mapping of all fields below ``id``."""
    if name in record:
        return record[name]
    prefix = name + "."
    nested = {key[len(prefix) :]: value for key, value in record.items() if key.startswith(prefix)}
    return nested or None


def _field(node: Any) -> str | None:
    """The field that `node` names, dotted, or None if it is no plain field."""
    if isinstance(node, ast.SymbolExpression):
        return str(node.name)
    if isinstance(node, ast.GetAttributeExpression):
        parent = _field(node.object)
        return f"{parent}.{node.name}" if parent else None
    return None


def _needles(node: Any) -> Iterator[bytes]:
    """Strings that the JSON text of every matching record contains, unless it holds an escape.

    Only what a conjunction of comparisons demands: a comparison with a missing field never matches.
    """
    if isinstance(node, ast.LogicExpression) and node.type == "and":
        yield from _needles(node.left)
        yield from _needles(node.right)
    elif isinstance(node, ast.ComparisonExpression):
        sides = ((node.left, node.right), (node.right, node.left))
        for this, other in sides:
            name = _field(this)
            if name and isinstance(other, ast.StringExpression | ast.FloatExpression) and node.type != "ne":
                yield f'"{name}"'.encode() if _SAFE.issuperset(name) else b'"'
                if node.type == "eq" and isinstance(other, ast.StringExpression) and _SAFE.issuperset(other.value):
                    yield f'"{other.value}"'.encode()


class Where:
    """A compiled expression.

    Args:
        expression: rule-engine syntax, e.g. ``status_code >= 400 and host =~ ".*\\.example"``.

    Raises:
        ValueError: a syntax error, with its place in the expression.

    An expression that cannot be evaluated for a record, because a field is missing or has another type, does not
    match that record.
    """

    def __init__(self, expression: str) -> None:
        context = rule_engine.Context(resolver=_resolve, default_value=None)
        try:
            self._rule = rule_engine.Rule(expression, context=context)
        except rule_engine.errors.EngineError as exc:
            raise ValueError(exc.message) from exc
        self._needles = tuple(dict.fromkeys(_needles(self._rule.statement.expression)))

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Does the expression hold for a decoded record?"""
        try:
            return bool(self._rule.matches(record))
        except rule_engine.errors.EvaluationError:
            return False

    def _may_match(self, text: bytes) -> bool:
        return all(needle in text for needle in self._needles) or _ESCAPE in text

    def select(self, item: Item) -> Iterator[Match]:
        """See `appliance.hooks.filter.Filter.select`."""
        if not isinstance(item, LogBatch):
            record = msgspec.to_builtins(item)
            if self.matches(record):
                yield 0, record
        elif self._may_match(item.data):
            for i, row in enumerate(item.rows()):
                if self._may_match(row):
                    record = decode(row)
                    if record is None or self.matches(record):
                        yield i, record
