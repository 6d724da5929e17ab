"""Every metric that there is, from the tables."""

from __future__ import annotations

from collections.abc import Iterator

from . import cluster, consumers, disk, doors, operation, process
from .exposition import PREFIX, Metric
from .spec import Each, Field, Inside, Keyed, States, Table, Text, metric_of

__all__ = ["BUILD_INFO", "TABLES", "all_metrics", "labels_of"]

TABLES: dict[str, Table] = {**doors.TABLES, **cluster.TABLES, **consumers.TABLES, **operation.TABLES}
"""By room and name of the struct."""

BUILD_INFO = Metric(f"{PREFIX}build_info", "gauge", "What runs: always 1.")

_OF_ALL = {
    "status.Status": (),
    "runtime.ReloadOutcome": (),
    "runtime.JournalFigures": (),
    "runtime.AccountFigures": ("account", "unit"),
}
"""Tables that are of no service → their labels."""

_Found = dict[str, tuple[Metric, tuple[str, ...]]]


def all_metrics() -> list[Metric]:
    """Every metric, by name."""
    return [metric for metric, _ in _find().values()]


def labels_of() -> dict[str, tuple[str, ...]]:
    """The labels of every metric beside ``node``, by its name."""
    return {name: labels for name, (_, labels) in _find().items()}


def _find() -> _Found:
    found: _Found = {metric.name: (metric, ()) for metric in process.METRICS}
    found |= {metric.name: (metric, ("directory",)) for metric in disk.METRICS}
    found[BUILD_INFO.name] = (BUILD_INFO, ("version", "python"))
    inner = {part.of for table in TABLES.values() for part in table.fields.values() if isinstance(part, Inside | Each)}
    for name, table in TABLES.items():
        if name not in inner:
            _add(found, table, table.prefix, _OF_ALL.get(name, ("service",)))
    return {name: found[name] for name in sorted(found)}


def _add(found: _Found, table: Table, prefix: str, labels: tuple[str, ...]) -> None:
    texts = tuple(each.label for each in table.fields.values() if isinstance(each, Text))
    if texts:
        info = table.info(prefix)
        found[info.name] = (info, (*labels, *texts))
    for each in table.fields.values():
        if (metric := metric_of(each, prefix)) is not None:
            found[metric.name] = (metric, (*labels, *_own_labels(each)))
        if isinstance(each, Inside | Each):
            more = each.all_labels if isinstance(each, Each) else ()
            _add(found, TABLES[each.of], each.prefix, (*labels, *more))


def _own_labels(field: Field) -> Iterator[str]:
    if isinstance(field, Keyed):
        yield field.label
    elif isinstance(field, States):
        yield "state"
