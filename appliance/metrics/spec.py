"""How the figures of a service become metrics: what each field of a struct is, said once in a table.

A table is known by the room and the name of its struct, so that this room needs to know no other. A number that no
table names is exported all the same, under a name made from its field and without a type: a new service is never
invisible.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .exposition import PREFIX, Metric

__all__ = [
    "Each",
    "Field",
    "Inside",
    "Keyed",
    "Left",
    "Length",
    "States",
    "Table",
    "Text",
    "Timing",
    "Value",
    "counter",
    "gauge",
    "struct_name",
]


class Value(msgspec.Struct, frozen=True):
    """A number. None, and what `empty` is, stand for "there is none": no sample."""

    kind: str
    name: str
    help: str
    scale: float = 1
    """What it is divided by to be in base units."""
    empty: int | None = None


class Keyed(msgspec.Struct, frozen=True):
    """Numbers by something."""

    kind: str
    name: str
    help: str
    label: str


class Length(msgspec.Struct, frozen=True):
    """Of several texts, how many there are."""

    name: str
    help: str


class States(msgspec.Struct, frozen=True):
    """A text that is one of a few: 1 for the one that it is, 0 for the others."""

    name: str
    help: str
    states: tuple[str, ...]


class Text(msgspec.Struct, frozen=True):
    """What tells one from another, not what changes: a label of the table's ``_info``."""

    label: str


class Timing(msgspec.Struct, frozen=True):
    """A histogram of seconds."""

    name: str
    help: str


class Inside(msgspec.Struct, frozen=True):
    """A struct with a table of its own, or None."""

    prefix: str
    of: str
    """What it is, as in `struct_name`."""


class Each(msgspec.Struct, frozen=True):
    """Several structs, told apart by labels."""

    prefix: str
    of: str
    labels: Mapping[str, str]
    """Label → field."""
    name: str = ""
    """How many there are; empty: that is not told."""
    help: str = ""
    number: str = ""
    """A label for its place among them, for those that nothing else tells apart."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The names of its labels."""
        return (*self.labels, *([self.number] if self.number else []))


class Left(msgspec.Struct, frozen=True):
    """What is no metric."""

    why: str


Field = Value | Keyed | Length | States | Text | Timing | Inside | Each | Left


class Table(msgspec.Struct, frozen=True):
    """What the fields of a struct are."""

    prefix: str
    """Of names, unless the table is used within another one."""
    fields: Mapping[str, Field]
    help: str = ""
    """What ``_info`` is about; for tables with texts."""

    def info(self, prefix: str) -> Metric:
        return Metric(full_name(prefix, "info"), "gauge", self.help)


def metric_of(field: Field, prefix: str) -> Metric | None:
    """The metric of a field; None if it has none of its own."""
    match field:
        case Value() | Keyed():
            return Metric(full_name(prefix, field.name), field.kind, field.help)
        case Length() | States():
            return Metric(full_name(prefix, field.name), "gauge", field.help)
        case Timing():
            return Metric(full_name(prefix, field.name), "histogram", field.help)
        case Each() if field.name:
            return Metric(f"{PREFIX}{field.name}", "gauge", field.help)
    return None


def full_name(prefix: str, name: str) -> str:
    return PREFIX + "_".join(filter(None, (prefix, name)))


def counter(name: str, help: str, *, label: str = "", scale: float = 1) -> Value | Keyed:  # noqa: A002 - as it is called
    """What only grows, except when its service begins anew; `name` without ``_total``."""
    if label:
        return Keyed("counter", f"{name}_total", help, label)
    return Value("counter", f"{name}_total", help, scale)


def gauge(name: str, help: str, *, scale: float = 1, empty: int | None = None) -> Value:  # noqa: A002 - as it is called
    """What goes up and down."""
    return Value("gauge", name, help, scale, empty)


def struct_name(kind: type) -> str:
    """By what the table of a struct is known: ``broker.PeerFigures``."""
    return f"{kind.__module__.split('.')[1]}.{kind.__name__}"
