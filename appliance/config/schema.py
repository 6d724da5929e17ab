"""JSON Schema of the file, for editors: generated from the tables, the one source of names and descriptions."""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from appliance.config.shape import toml_fields
from appliance.config.tables import Config, Table
from appliance.units import DURATION_PATTERN, SIZE_PATTERN, Duration, Limit, Secret, Size

__all__ = ["json_schema"]

_DURATION = Annotated[str, Meta(pattern=DURATION_PATTERN, examples=["250ms", "10s", "7d"])]
_SIZE = Annotated[str, Meta(pattern=SIZE_PATTERN, examples=["64KiB", "2GiB"])] | Annotated[int, Meta(ge=0)]
_LIMIT = Annotated[str, Meta(pattern=f"{SIZE_PATTERN}|^none$", examples=["1MiB", "none"])] | Annotated[int, Meta(ge=0)]
_AS_WRITTEN: dict[Any, Any] = {Duration: _DURATION, Size: _SIZE, Limit: _LIMIT, Secret: str}
_INCLUDE = {
    "type": "array",
    "items": {"type": "string"},
    "description": "further files, as globs relative to this one; arrays of tables are appended",
    "default": [],
}


def json_schema() -> dict[str, Any]:
    """The schema of a configuration file, JSON Schema 2020-12.

    Keys are in the order of the tables, and each carries its rank as ``x-order``, for tools that lose the order.
    """
    schema: dict[str, Any] = msgspec.json.schema(_twin(Config))
    definitions = schema["$defs"]
    root = definitions.pop("Config")
    root["properties"] = {"include": dict(_INCLUDE), **root["properties"]}
    for table in (root, *definitions.values()):
        for rank, value in enumerate(table["properties"].values()):
            value["x-order"] = rank
            _as_written(value)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "broappliance configuration",
        **{name: value for name, value in root.items() if name != "title"},
        "$defs": definitions,
    }


@functools.cache
def _twin(table: type[Table]) -> type[msgspec.Struct]:
    """The same table as users write it: durations and sizes are strings.

    msgspec writes defaults into the schema by itself, and cannot be told how to write one of a foreign type.
    """
    fields: list[Any] = []
    for name, info in toml_fields(table).items():
        given: dict[str, Any] = {"default": info.default, "default_factory": info.default_factory}
        if isinstance(info.default, (Duration, Size)):
            given["default"] = str(info.default)
        fields.append((info.name, _twin_type(info.type), field(name=name, **given)))
    doc = {"__doc__": table.__doc__}
    return msgspec.defstruct(table.__name__, fields, namespace=doc, kw_only=True, forbid_unknown_fields=True)


def _twin_type(kind: Any) -> Any:
    if isinstance(kind, type) and kind in _AS_WRITTEN:
        return _AS_WRITTEN[kind]
    if isinstance(kind, type) and issubclass(kind, Table):
        return _twin(kind)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return Annotated[(_twin_type(args[0]), *args[1:])]
    if origin in (types.UnionType, typing.Union):
        return _twin_type(args[0]) | None
    if origin is tuple:
        return tuple[tuple(each if each is Ellipsis else _twin_type(each) for each in args)]  # type: ignore[misc]
    if origin is dict:
        return dict[_twin_type(args[0]), _twin_type(args[1])]  # type: ignore[misc]
    return kind


def _as_written(value: dict[str, Any]) -> None:
    """Say what only the file knows: no null, and ``${NAME}`` in place of a string of a certain form."""
    if "pattern" in value:
        value["pattern"] += r"|\$\{"
    if "default" in value and value["default"] is None:
        del value["default"]
    if isinstance(value.get("default"), tuple):
        value["default"] = list(value["default"])
    if "anyOf" in value:
        value["anyOf"] = [each for each in value["anyOf"] if each != {"type": "null"}]
        for each in value["anyOf"]:
            _as_written(each)
