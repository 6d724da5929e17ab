"""Mistakes and their places: key paths as people read them, and a collector that sorts by file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from appliance.config.lines import Key
from appliance.errors import ConfigError

__all__ = ["Place", "Places", "Report", "nearest", "one_of", "parse_key", "quote", "show_key"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(r'\.?(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))|\[([0-9]+)\]')


class Place(NamedTuple):
    """Where something is written: the file as the user named it, and the 1-based line, 0 if there is none."""

    file: str
    line: int


Places = Mapping[Key, Place]


def quote(text: str) -> str:
    """The text as users write it in the file."""
    return json.dumps(text, ensure_ascii=False)


def show_key(key: Key) -> str:
    """Write a key path: ``capture[0].handler[1].name``; names that TOML would quote are quoted."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f"{'.' if text else ''}{part if _BARE.fullmatch(part) else quote(part)}"
    return text


def parse_key(text: str) -> Key:
    """Read a key path as `show_key` writes it.

    Raises:
        ValueError: it is not one.
    """
    key: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} is not a key path")
        bare, quoted, number = found.groups()
        key.append(bare if bare is not None else int(number) if number is not None else json.loads(quoted))
        at = found.end()
    return tuple(key)


def one_of(words: Iterable[str]) -> str:
    """``"a", "b" or "c"``."""
    *most, last = [quote(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant, if any is close enough."""
    import difflib  # twice as dear as the rest of this module, and only needed when something is wrong

    known = {other.lower(): other for other in words}
    found = difflib.get_close_matches(word.lower(), known, n=1)
    return known[found[0]] if found else None


class Report:
    """Collects mistakes and knows where each key stands.

    Args:
        main: the file named by the user; what has no place of its own is reported there.
    """

    def __init__(self, main: str) -> None:
        self.files = [main]
        self.places: dict[Key, Place] = {}
        self.taken: dict[Key, dict[str, str]] = {}
        self._mistakes: list[ConfigError] = []

    def place(self, key: Key) -> Place:
        """The line of the key, or if it is not written, of its table."""
        return find_place(self.places, key, self.files[0])

    def add(self, key: Key, message: str, hint: str = "", *, place: Place | None = None) -> None:
        """Note a mistake at a key; a missing one is placed at its table."""
        file, line = place or self.place(key)
        self._mistakes.append(ConfigError(message, file=file, line=line, key=show_key(key), hint=hint))

    def errors(self) -> list[ConfigError]:
        """All mistakes, in the order of files and lines."""
        order = {file: number for number, file in enumerate(self.files)}
        return sorted(self._mistakes, key=lambda e: (order[e.file], e.line))


def find_place(places: Places, key: Key, main: str) -> Place:
    """The place of a key or of the nearest table around it; the main file if none is written."""
    for length in range(len(key), 0, -1):
        place = places.get(key[:length])
        if place is not None:
            return place
    return Place(main, 0)


def describe(value: Any) -> str:
    """What a TOML value is, in words."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date or time")
