"""Path patterns: strftime directives and ``{fields}``, nothing else, and never out of their folder.

Whoever renders a pattern reads ``%%`` as ``%``, ``{{`` as ``{`` and ``}}`` as ``}``.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from appliance.config.report import nearest

__all__ = ["DIRECTIVES", "escape", "mistakes_in", "substitute"]

DIRECTIVES = frozenset("aAbBdfGHjmMsSUVWyY%")
"""What may follow a ``%``: the directives of strftime whose text has a known form, without a ``/`` and in UTC."""

_PIECE = re.compile(r"\{\{|\}\}|%([^{}]?)|\{([^{}]*)\}|([{}])", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def escape(text: str) -> str:
    """Write a literal text as a pattern."""
    return text.replace("%", "%%").replace("{", "{{").replace("}", "}}")


def substitute(pattern: str, values: dict[str, str]) -> str:
    """Put values in place of some of the fields; the result is a pattern again."""

    def replace(found: re.Match[str]) -> str:
        return escape(values[found[2]]) if found[2] in values else found[0]

    return _PIECE.sub(replace, pattern)


def mistakes_in(pattern: str, fields: Collection[str]) -> list[tuple[str, str]]:
    """Find everything wrong with a path pattern.

    Args:
        pattern: as in the file.
        fields: the names that may stand in braces.

    Returns:
        A message and a hint (or an empty one) for each mistake.
    """
    mistakes = []
    if not pattern.strip():
        mistakes.append(("must not be empty", ""))
    if _UNPRINTABLE.search(pattern):
        mistakes.append(("contains a control character", ""))
    if ".." in pattern.split("/"):
        mistakes.append(('".." is not possible in a path pattern', ""))
    for found in _PIECE.finditer(pattern):
        directive, field, brace = found.groups()
        if directive is not None and directive not in DIRECTIVES | {""}:
            mistakes.append((f"unknown strftime directive %{directive}", "write %% for a literal %"))
        elif directive == "":
            mistakes.append(("a single %", "write %% for a literal %"))
        elif field is not None and field not in fields:
            mistakes.append(_wrong_field(field, fields))
        elif brace is not None:
            mistakes.append((f"a single {brace}", f"write {brace * 2} for a literal {brace}"))
    return mistakes


def _wrong_field(field: str, fields: Collection[str]) -> tuple[str, str]:
    allowed = " ".join(f"{{{name}}}" for name in fields)
    plain = _PLAIN.match(field)
    if plain and plain[0] != field and plain[0] in fields:
        return f"{{{field}}}: only the plain {{{plain[0]}}} is possible", ""
    meant = nearest(field, fields)
    return f"unknown field {{{field}}}", f"did you mean {{{meant}}}?" if meant else f"possible are {allowed}"
