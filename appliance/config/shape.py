"""From what tomllib read to the tables: every mistake in names and types at once, in the user's words.

msgspec stops at the first mistake, so the tables are walked here, key by key; the limits of a value are still judged by
msgspec. What is wrong is reported once and left out as a hole, and later stages pass over holes.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from appliance.config import planned
from appliance.config.lines import Key
from appliance.config.report import Report, describe, nearest, one_of, quote
from appliance.config.tables import Table
from appliance.units import Duration, Limit, Secret, Size

__all__ = ["EACH", "HOLE", "Each", "build", "select", "toml_fields"]

HOLE: Any = msgspec.UNSET
"""Stands where a value was refused."""

_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "a table"}


class Each:
    """A step of `select`: every element of an array."""


EACH = Each()


@functools.cache
def toml_fields(table: type[Table]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a table by the names they have in the file."""
    return {field.encode_name: field for field in msgspec.structs.fields(table)}


def select(node: Any, *steps: str | Each) -> Iterator[tuple[Key, Any]]:
    """Walk to values through tables and arrays, passing over holes.

    Args:
        node: a table, tuple or value.
        steps: names as in the file; `EACH` for every element.

    Returns:
        The key path from `node` and the value, for each that is there.
    """
    if node is HOLE:
        return
    if not steps:
        yield (), node
        return
    step, *rest = steps
    if isinstance(step, Each):
        children: Any = enumerate(node)
    else:
        table: type[Table] = type(node)
        children = [(step, getattr(node, toml_fields(table)[step].name))]
    for name, child in children:
        for key, value in select(child, *rest):
            yield (name, *key), value


def build(value: Any, kind: Any, key: Key, report: Report) -> Any:
    """Convert one value.

    Args:
        value: what tomllib read.
        kind: the annotation of the field.
        key: where it is written.
        report: takes the mistakes.

    Returns:
        The converted value; `HOLE` in place of it, or inside it, where it was wrong.
    """
    if value is HOLE:
        return HOLE
    metas: list[Meta] = []
    if typing.get_origin(kind) is Annotated:
        kind, *metas = typing.get_args(kind)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # only ever `X | None`, and TOML has no None
        return build(value, args[0], key, report)
    if isinstance(kind, type) and issubclass(kind, Table):
        return _build_table(value, kind, key, report)
    if origin is tuple:
        return _build_tuple(value, args, metas, key, report)
    if origin is dict:
        if not isinstance(value, dict):
            report.add(key, f"expected a table, got {describe(value)}")
            return HOLE
        return {name: build(each, args[1], (*key, name), report) for name, each in value.items()}
    return _build_plain(value, kind, metas, key, report)


def _path(key: Key) -> str:
    """The key path without numbers, as the tables of planned.py name it."""
    return ".".join(part for part in key if isinstance(part, str))


def _build_table(value: Any, table: type[Table], key: Key, report: Report) -> Any:
    if not isinstance(value, dict):
        name = f", write [{_path(key)}]" if isinstance(value, list) else ""
        report.add(key, f"expected a table, got {describe(value)}{name}")
        return HOLE
    fields = toml_fields(table)
    excused = {_refuse(name, fields, key, report) for name in value if name not in fields}
    void: set[str] = set()
    made: dict[str, Any] = {}
    for name, field in fields.items():
        if name in void:
            made[field.name] = HOLE
        elif name in value:
            made[field.name] = build(value[name], field.type, (*key, name), report)
            if made[field.name] is HOLE:
                void.update(planned.VOID.get(_path((*key, name)), ()))
        elif name in excused:
            made[field.name] = HOLE
        elif field.required:
            made[field.name] = HOLE
            report.add((*key, name), "missing")
    return table(**made)


def _refuse(name: str, fields: dict[str, Any], key: Key, report: Report) -> str:
    """Report a key that does not exist; return the one it probably stands for."""
    path = _path(key)
    if not key and name in planned.TABLES:
        report.add((name,), f"{planned.TABLES[name]} is not available in this version")
        return ""
    if name in planned.KEYS.get(path, ()):
        report.add((*key, name), "not available in this version")
        return ""
    meant = nearest(name, [*fields, *planned.KEYS.get(path, ()), *(() if key else planned.TABLES)])
    what = "key" if key else "table"
    report.add((*key, name), f"unknown {what}", f"did you mean {quote(meant)}?" if meant else "")
    return meant or ""


def _build_tuple(value: Any, args: tuple[Any, ...], metas: list[Meta], key: Key, report: Report) -> Any:
    many = args[-1] is Ellipsis
    of_tables = isinstance(args[0], type) and issubclass(args[0], Table)
    if not isinstance(value, list):
        hint = f"write [[{_path(key)}]]" if of_tables else f"write [{quote(value)}]" if isinstance(value, str) else ""
        report.add(key, f"expected an array{' of tables' if of_tables else ''}, got {describe(value)}", hint)
        return HOLE
    if not many and len(value) != len(args):
        report.add(key, f"expected {len(args)} elements, got {len(value)}")
        return HOLE
    for meta in metas:
        if meta.min_length is not None and len(value) < meta.min_length:
            report.add(key, "must not be empty")
            return HOLE
        if meta.max_length is not None and len(value) > meta.max_length:
            report.add(key, f"more than {meta.max_length} are not available in this version")
            return HOLE
    kinds = [args[0]] * len(value) if many else list(args)
    return tuple(build(each, kinds[i], (*key, i), report) for i, each in enumerate(value))


def _build_plain(value: Any, kind: Any, metas: list[Meta], key: Key, report: Report) -> Any:
    try:
        if kind is Any:
            return value
        if kind in (Duration, Size, Limit):
            return _build_unit(value, kind)
        if typing.get_origin(kind) is Literal:
            return _build_literal(value, typing.get_args(kind), key, report)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not (str if kind is Secret else kind):
            raise ValueError(f"expected {_WORDS[str if kind is Secret else kind]}, got {describe(value)}")
        for meta in metas:
            _check_meta(value, kind, meta)
    except ValueError as exc:
        report.add(key, str(exc))
        return HOLE
    return Secret(value) if kind is Secret else value


def _build_unit(value: Any, kind: type[Duration | Size]) -> Duration | Size:
    if isinstance(value, str):
        return kind.parse(value)
    if type(value) is int and issubclass(kind, Size):
        return kind.count(value)
    what, example = ("size", "64KiB") if issubclass(kind, Size) else ("duration", "10s")
    if type(value) is int:
        raise ValueError(f'{value} has no unit, write a {what} like "{value}s"')
    raise ValueError(f'expected a {what} like "{example}", got {describe(value)}')


def _build_literal(value: Any, allowed: tuple[str, ...], key: Key, report: Report) -> Any:
    if value in allowed and isinstance(value, str):
        return value
    if not isinstance(value, str):
        report.add(key, f"expected {one_of(allowed)}, got {describe(value)}")
    elif value in planned.VALUES.get(_path(key), ()):
        report.add(key, f"{key[-1]} {quote(value)} is not available in this version", f"use {one_of(allowed)}")
    else:
        meant = nearest(value, allowed)
        hint = f"did you mean {quote(meant)}?" if meant else ""
        report.add(key, f"expected {one_of(allowed)}, got {quote(value)}", hint)
    return HOLE


def _check_meta(value: Any, kind: Any, meta: Meta) -> None:
    try:
        msgspec.convert(value, Annotated[kind, meta])
    except msgspec.ValidationError as exc:
        if meta.pattern is not None:
            raise ValueError(f"expected {meta.description}, got {quote(value)}") from exc
        if meta.ge is not None and meta.le is not None:
            raise ValueError(f"expected {meta.ge} to {meta.le}, got {value}") from exc
        if meta.ge is not None:
            raise ValueError(f"expected at least {meta.ge}, got {value}") from exc
        raise ValueError(str(exc)) from exc
