"""From structs of figures to samples, as the tables say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from .exposition import PREFIX, Labels, Metric, Page, make_labels
from .spec import (
    Each,
    Field,
    Inside,
    Keyed,
    Left,
    Length,
    States,
    Table,
    Text,
    Timing,
    Value,
    metric_of,
    struct_name,
)

__all__ = ["Walker"]

Step = Callable[[Page, Labels, Any], None]
"""Adds the samples of one field; gets the labels of its struct, and the struct."""

_UNFIT = re.compile(r"[^a-zA-Z0-9_]")


class Walker:
    """Adds the figures of structs to pages.

    Args:
        tables: by the name of the struct.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._plans: dict[tuple[type, str | None], list[Step]] = {}

    def add(self, page: Page, figures: msgspec.Struct, labels: Labels, *, prefix: str | None = None) -> None:
        """Add everything that a struct holds.

        Args:
            page: takes the samples.
            figures: of a service, or of a part of one.
            labels: of every sample, complete.
            prefix: of the names; None: the table's own.
        """
        kind = type(figures)
        plan = self._plans.get((kind, prefix))
        if plan is None:
            plan = self._plans[kind, prefix] = self._plan(kind, prefix)
        for step in plan:
            step(page, labels, figures)

    def _plan(self, kind: type[msgspec.Struct], prefix: str | None) -> list[Step]:
        table = self._tables.get(struct_name(kind)) or Table(struct_name(kind).partition(".")[0], {})
        prefix = table.prefix if prefix is None else prefix
        texts = {each.label: name for name, each in table.fields.items() if isinstance(each, Text)}
        plan = [_info(table.info(prefix), texts)] if texts else []
        for name in kind.__struct_fields__:
            field = table.fields.get(name)
            if field is None:
                plan.append(self._unnamed(name, prefix))
            elif not isinstance(field, Left | Text):
                plan.append(self._step(name, field, prefix))
        return plan

    def _step(self, name: str, field: Field, prefix: str) -> Step:
        get, metric = attrgetter(name), metric_of(field, prefix)
        if isinstance(field, Inside):
            return self._inside(get, field.prefix)
        if isinstance(field, Each):
            return self._each(get, field, metric)
        assert metric is not None
        match field:
            case Value():
                return _value(get, field, metric)
            case Keyed():
                return _keyed(get, field.label, metric)
            case States():
                return _states(get, field.states, metric)
            case Length():
                return lambda page, labels, struct: page.add(metric, labels, len(get(struct)))
            case Timing():
                return _timing(get, metric)
        raise TypeError(field)

    def _inside(self, get: Callable[[Any], Any], prefix: str) -> Step:
        def step(page: Page, labels: Labels, struct: Any) -> None:
            if (inner := get(struct)) is not None:
                self.add(page, inner, labels, prefix=prefix)

        return step

    def _each(self, get: Callable[[Any], Any], field: Each, count: Metric | None) -> Step:
        def step(page: Page, labels: Labels, struct: Any) -> None:
            parts = get(struct)
            if count is not None:
                page.add(count, labels, len(parts))
            for number, part in enumerate(parts):
                own = {label: getattr(part, name) for label, name in field.labels.items()}
                if field.number:
                    own[field.number] = number
                self.add(page, part, make_labels(own, labels), prefix=field.prefix)

        return step

    def _unnamed(self, name: str, prefix: str) -> Step:
        """What no table names: by what it turns out to be."""
        get = attrgetter(name)
        full = f"{prefix}_{_UNFIT.sub('_', name)}"

        def step(page: Page, labels: Labels, struct: Any) -> None:
            self._add_unnamed(page, labels, get(struct), full)

        return step

    def _add_unnamed(self, page: Page, labels: Labels, value: Any, name: str) -> None:
        if isinstance(value, int | float):
            page.add(Metric(f"{PREFIX}{name}", "unknown", f"The figure {name}."), labels, value)
        elif isinstance(value, msgspec.Struct):
            self.add(page, value, labels, prefix=name)
        elif isinstance(value, dict):
            for key, each in value.items():
                self._add_unnamed(page, make_labels({"key": key}, labels), each, name)
        elif isinstance(value, tuple | list):
            for number, each in enumerate(value):
                self._add_unnamed(page, make_labels({"number": number}, labels), each, name)


def _info(metric: Metric, texts: Mapping[str, str]) -> Step:
    def step(page: Page, labels: Labels, struct: Any) -> None:
        own = {label: getattr(struct, name) for label, name in texts.items()}
        page.add(metric, make_labels(own, labels), 1)

    return step


def _value(get: Callable[[Any], Any], field: Value, metric: Metric) -> Step:
    scale, empty = field.scale, field.empty

    def step(page: Page, labels: Labels, struct: Any) -> None:
        value = get(struct)
        if value is not None and (empty is None or value != empty):
            page.add(metric, labels, value if scale == 1 else value / scale)

    return step


def _keyed(get: Callable[[Any], Any], label: str, metric: Metric) -> Step:
    def step(page: Page, labels: Labels, struct: Any) -> None:
        for key, value in get(struct).items():
            page.add(metric, make_labels({label: key}, labels), value)

    return step


def _states(get: Callable[[Any], Any], states: tuple[str, ...], metric: Metric) -> Step:
    def step(page: Page, labels: Labels, struct: Any) -> None:
        now = get(struct)
        for state in states if now in states else (*states, now):
            page.add(metric, make_labels({"state": state}, labels), state == now)

    return step


def _timing(get: Callable[[Any], Any], metric: Metric) -> Step:
    def step(page: Page, labels: Labels, struct: Any) -> None:
        found = get(struct)
        page.add_histogram(metric, labels, bounds=found.bounds_s, counts=found.counts, total=found.sum_s)

    return step
