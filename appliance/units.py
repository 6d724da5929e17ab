"""Durations and sizes as users write them (``"250ms"``, ``"64KiB"``) and as the code counts them; secrets.

Both numbers are exact: what a user wrote is a whole number of nanoseconds or bytes, or it is refused.
"""

from __future__ import annotations

import re

__all__ = ["DURATION_PATTERN", "MASK", "SIZE_PATTERN", "Duration", "Limit", "Secret", "Size"]

MASK = "********"

_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_BYTES |= {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

_LIMIT = (1 << 63) - 1  # what C code and SQLite can hold: 292 years, 8 EiB
_NUMBER = r"([0-9]{1,19})(?:\.([0-9]{1,19}))?"

# Also for JSON Schema, whose patterns are ECMA-262 and are not anchored by themselves.
DURATION_PATTERN = rf"^{_NUMBER} ?({'|'.join(_NS)})$"
SIZE_PATTERN = rf"^{_NUMBER} ?({'|'.join(_BYTES)})$"


def _scale(text: str, pattern: str, units: dict[str, int], what: str) -> int:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise ValueError(f"{text!r} is not a {what}, write a number and a unit ({' '.join(units)})")
    whole, fraction, unit = found[1], found[2] or "", found[3]
    exact, rest = divmod(int(whole + fraction) * units[unit], int(10 ** len(fraction)))
    if rest:
        raise ValueError(f"{text!r} is finer than one {next(iter(units))}")
    if exact > _LIMIT:
        raise ValueError(f"{text!r} is too large")
    return exact


class Duration(int):
    """A length of time in integer nanoseconds."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``"250ms"``, ``"1.5s"``, ``"7d"``.

        Raises:
            ValueError: not a number with one of the units ns us ms s m h d, or beyond 292 years; the text says so.
        """
        return cls(_scale(text, DURATION_PATTERN, _NS, "duration"))

    @property
    def seconds(self) -> float:
        """The same in seconds, for clocks that count so."""
        return int(self) / 1e9

    def __str__(self) -> str:
        unit = next((u for u in ("d", "h", "m", "s", "ms", "us") if self and self % _NS[u] == 0), "")
        return f"{int(self) // _NS[unit]}{unit}" if unit else f"{int(self)}ns" if self else "0s"


class Size(int):
    """A number of bytes."""

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``"64KiB"``, ``"1.5GiB"``, ``"10MB"``.

        Raises:
            ValueError: not a number with one of the units B KiB MiB GiB TiB kB KB MB GB TB, or beyond 8 EiB; the text
                says so.
        """
        return cls(_scale(text, SIZE_PATTERN, _BYTES, "size"))

    @classmethod
    def count(cls, number: int) -> Size:
        """Take a plain number of bytes.

        Raises:
            ValueError: negative or beyond 8 EiB; the text says so.
        """
        if not 0 <= number <= _LIMIT:
            raise ValueError(f"{number} is not a number of bytes")
        return cls(number)

    def __str__(self) -> str:
        unit = next((u for u in ("TiB", "GiB", "MiB", "KiB") if self and self % _BYTES[u] == 0), "B")
        return f"{int(self) // _BYTES[unit]}{unit}"


class Limit(Size):
    """A number of bytes, or ``"none"``: no limit."""

    @classmethod
    def parse(cls, text: str) -> Limit:
        """As `Size.parse`."""
        return cls(_LIMIT) if text == "none" else cls(super().parse(text))

    @property
    def bytes(self) -> int | None:
        """None: no limit."""
        return None if self == _LIMIT else int(self)

    def __str__(self) -> str:
        return "none" if self.bytes is None else super().__str__()


class Secret(str):
    """A text that the configuration never prints; ``str`` operations still see it, ``repr`` does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"
