"""Print a configuration as TOML: what is in effect, with defaults, absolute paths and secrets masked.

Reading the text again gives an equal configuration, unless something was masked.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import tomli_w

from appliance.config import environment
from appliance.config.shape import toml_fields
from appliance.config.tables import Config, Evidence, Hook, Sink, Store, Table
from appliance.units import MASK, Duration, Secret, Size

__all__ = ["render", "show"]

_SECRET_NAME = re.compile(r"password|passphrase|secret|token|key", re.IGNORECASE)


def render(config: Config) -> str:
    """Write a configuration as users would.

    Every key is written but those without a value; durations and sizes carry units; nested tables such as
    ``[[capture.handler]]`` have headers. Secrets, and values in a hook's ``options`` whose name looks like one, are
    written as ``"********"``.
    """
    chunks = []
    for name, field in toml_fields(Config).items():
        value = getattr(config, field.name)
        tables = value if isinstance(value, tuple) else (value,) if value is not None else ()
        header = f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
        chunks += [chunk for table in tables for chunk in _render_table(table, name, header)]
    return "\n".join(chunks)


def show(config: Config) -> dict[str, Any]:
    """A configuration for programs and people: ``toml``, what `render` makes of it, and ``config``, the same as a
    document. Strings are as the file would have them: ``$${`` is a literal ``${``.
    """
    text = render(config)
    return {"toml": text, "config": tomllib.loads(text)}


def _render_table(table: Table, path: str, header: str) -> list[str]:
    # tomli-w writes a short array of tables as one line of inline tables, so the headers are written here.
    plain: dict[str, Any] = {}
    after: list[str] = []
    for name, field in toml_fields(type(table)).items():
        if isinstance(table, Hook | Sink | Evidence | Store) and name in table.foreign_keys:
            continue
        value = getattr(table, field.name)
        if isinstance(value, tuple) and value and isinstance(value[0], Table):
            for each in value:
                after += _render_table(each, f"{path}.{name}", f"[[{path}.{name}]]")
        elif isinstance(value, Table):
            after += _render_table(value, f"{path}.{name}", f"[{path}.{name}]")
        elif isinstance(value, dict):
            if any(isinstance(each, Table) for each in value.values()):
                after.append(tomli_w.dumps(_nest(path, {name: {key: _plain(each) for key, each in value.items()}})))
            elif value:
                shown = _mask(value) if isinstance(table, Hook) else value
                after.append(tomli_w.dumps(_nest(path, {name: _plain(shown)})))
        elif value is not None:
            plain[name] = _plain(value)
    return [f"{header}\n{tomli_w.dumps(plain)}", *after]


def _nest(path: str, value: dict[str, Any]) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: MASK if _SECRET_NAME.search(name) else _mask(each) for name, each in value.items()}
    return [_mask(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """What tomli-w can write: as users write it."""
    if isinstance(value, Table):
        fields = {name: getattr(value, field.name) for name, field in toml_fields(type(value)).items()}
        return {name: _plain(each) for name, each in fields.items() if each is not None}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, (Duration, Size)):
        return str(value)
    return environment.escape(value) if isinstance(value, str) else value
