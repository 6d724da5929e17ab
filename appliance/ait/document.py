"""A YAML file of AIT's, with the line of every key; bounded, whatever is in it.

Safe YAML only: no tags that make objects. Besides, aliases can make a short text mean a huge one, and nesting can
exhaust the stack, so both are limited.
"""

from __future__ import annotations

from typing import Any

import yaml

from appliance.errors import ConfigError

__all__ = ["MAX_BYTES", "Document", "parse_document"]

MAX_BYTES = 1 << 18
"""A configuration of a thousand handlers has 200 kB."""
_MAX_ALIASES = 1000
_MAX_DEPTH = 32
_MAX_KEYS = 1000
"""Of one mapping, with the merged ones."""

Key = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the library has no types
    """A safe loader with limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._aliases += self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > _MAX_DEPTH or self._aliases > _MAX_ALIASES:
            what = "nested too deeply" if self._depth > _MAX_DEPTH else f"more than {_MAX_ALIASES} aliases"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_KEYS:
            problem = f"a mapping of more than {_MAX_KEYS} keys"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


class Document:
    """What a file says, and where.

    Args:
        file: as the user named it.
        data: the values.
        lines: the 1-based line of each key down to those of a handler.
    """

    def __init__(self, file: str, data: Any, lines: dict[Key, int]) -> None:
        self.file = file
        self.data = data
        self._lines = lines

    def line(self, key: Key) -> int:
        """Of the key, or of what is around it."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 0)


def parse_document(file: str, content: bytes) -> Document:
    """Read YAML.

    Raises:
        ConfigError: it is too large, not YAML, or beyond a limit; with its line.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"has {len(content)} bytes, at most {MAX_BYTES} are read", file=file)
    try:
        loader = _Loader(content.decode())
        try:
            node = loader.get_single_node()
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        hint = "write it in quotes" if "'%'" in (exc.problem or "") else ""
        raise ConfigError(exc.problem or "is not YAML", file=file, line=line, hint=hint) from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:  # not UTF-8, a number of 5000 digits, a day 99
        raise ConfigError(f"is not YAML: {str(exc).splitlines()[0]}", file=file) from None
    return Document(file, data, {} if node is None else _index(node))


def _index(root: yaml.Node) -> dict[Key, int]:
    """Lines of the keys at the top, of the handlers, and of the handlers' keys; aliases are followed no further."""
    lines: dict[Key, int] = {}
    for name, (line, value) in _pairs(root).items():
        lines[name,] = line
        if isinstance(value, yaml.MappingNode):
            lines |= {(name, key): line for key, (line, _) in _pairs(value).items()}
        elif isinstance(value, yaml.SequenceNode) and name == "handlers":
            for number, handler in enumerate(value.value):
                lines[name, number] = handler.start_mark.line + 1
                lines |= {(name, number, key): line for key, (line, _) in _pairs(handler).items()}
    return lines


def _pairs(node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
    """Key → its line and its value."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: (key.start_mark.line + 1, value) for key, value in pairs if isinstance(key.value, str)}
