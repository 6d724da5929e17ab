"""Print a configuration as TOML: what is in effect, with defaults, absolute paths and secrets masked.

Reading the text again gives an equal configuration, unless something was masked.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from appliance.config import environment
from appliance.config.lines import Key
from appliance.config.shape import toml_fields
from appliance.config.tables import Config, Evidence, Hook, Sink, Store, Table
from appliance.units import MASK, Duration, Secret, Size

__all__ = ["render", "show"]

_SECRET_NAME = re.compile(r"password|passphrase|secret|token|key", re.IGNORECASE)


_NO_SECRET = re.compile(r"_(file|path|dir|directory)$", re.IGNORECASE)
"""Ends of names that say where a secret is."""
Taken = Mapping[Key, Mapping[str, str]]
"""Key path of a string → the environment variables that are in it, and their values."""


def render(config: Config, taken: Taken | None = None) -> str:
    """Write a configuration as users would.

    Every key is written but those without a value; durations and sizes carry units; nested tables such as
    ``[[capture.handler]]`` have headers. Secrets, and values in a hook's ``options`` whose name looks like one, are
    written as ``"********"``. What came from the environment is written as ``${NAME}`` again.

    Args:
        config: valid.
        taken: what came from the environment, see `Loaded.taken`.
    """
    write = _Writer(taken or {})
    chunks = []
    for name, field in toml_fields(Config).items():
        value = getattr(config, field.name)
        tables = value if isinstance(value, tuple) else (value,) if value is not None else ()
        header = f"[[{name}]]" if isinstance(value, tuple) else f"[{name}]"
        for number, table in enumerate(tables):
            key = (name, number) if isinstance(value, tuple) else (name,)
            chunks += write.table(table, name, header, key)
    return "\n".join(chunks)


def show(config: Config, taken: Taken | None = None) -> dict[str, Any]:
    """A configuration for programs and people: ``toml``, what `render` makes of it, and ``config``, the same as a
    document. Strings are as the file would have them: ``$${`` is a literal ``${``.
    """
    text = render(config, taken)
    return {"toml": text, "config": tomllib.loads(text)}


class _Writer:
    """Makes what tomli-w can write; see `render`."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    def table(self, table: Table, path: str, header: str, key: Key) -> list[str]:
        """A table under its header, and those in it."""
        # tomli-w writes a short array of tables as one line of inline tables, so the headers are written here.
        plain: dict[str, Any] = {}
        after: list[str] = []
        for name, field in toml_fields(type(table)).items():
            if isinstance(table, Hook | Sink | Evidence | Store) and name in table.foreign_keys:
                continue
            value, here = getattr(table, field.name), (*key, name)
            if isinstance(value, tuple) and value and isinstance(value[0], Table):
                for number, each in enumerate(value):
                    after += self.table(each, f"{path}.{name}", f"[[{path}.{name}]]", (*here, number))
            elif isinstance(value, Table):
                after += self.table(value, f"{path}.{name}", f"[{path}.{name}]", here)
            elif isinstance(value, dict):
                if value:
                    shown = _mask(value) if isinstance(table, Hook) else value
                    after.append(tomli_w.dumps(_nest(path, {name: self.plain(shown, here)})))
            elif value is not None:
                plain[name] = self.plain(value, here)
        return [f"{header}\n{tomli_w.dumps(plain)}", *after]

    def plain(self, value: Any, key: Key) -> Any:
        """A value as users write it."""
        if isinstance(value, Table):
            fields = {name: getattr(value, field.name) for name, field in toml_fields(type(value)).items()}
            return {name: self.plain(each, (*key, name)) for name, each in fields.items() if each is not None}
        if isinstance(value, dict):
            return {name: self.plain(each, (*key, name)) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(each, (*key, number)) for number, each in enumerate(value)]
        if isinstance(value, Secret):
            return MASK
        if isinstance(value, (Duration, Size)):
            return str(value)
        return self._text(value, key) if isinstance(value, str) else value

    def _text(self, value: str, key: Key) -> str:
        text = environment.escape(value)
        for name, given in self._taken.get(key, {}).items():
            written = environment.escape(given)
            if written and value != MASK:
                text = text.replace(written, f"${{{name}}}") if written in text else MASK
        return text


def _nest(path: str, value: dict[str, Any]) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: MASK if _SECRET_NAME.search(name) and not _NO_SECRET.search(name) else _mask(each)
            for name, each in value.items()
        }
    return [_mask(each) for each in value] if isinstance(value, list) else value
