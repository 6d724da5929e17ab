"""AIT's path patterns as ours. Pure.

There a path goes through strftime and then, with every key of the handler, through `str.format`. Here the directives
are those whose text has a known form, and the fields are few; so the handler's own keys are put in as they are.
"""

from __future__ import annotations

import posixpath
import re
import string
from typing import Any

__all__ = ["convert_pattern", "split_pattern"]

OUR_FIELDS = frozenset({"name"})
_DIRECTIVES = frozenset("aAbBdfGHjmMsSUVWyY%")
_SAME = {"T": "%H:%M:%S", "R": "%H:%M", "F": "%Y-%m-%d", "D": "%m/%d/%y", "h": "%b"}
"""Directives that stand for others. Source: strftime(3)."""
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def _escape(text: str) -> str:
    return text.replace("%", "%%").replace("{", "{{").replace("}", "}}")


def convert_pattern(text: str, values: dict[str, Any]) -> str:
    """The pattern with our directives and fields.

    Args:
        text: as in the YAML file.
        values: what stands in place of fields; a field of ours that is missing here stays.

    Raises:
        ValueError: something that has no counterpart; the text says what.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(f"{text!r} has a single brace; write '{{{{' or '}}}}' for the character itself") from None
    pieces = []
    for literal, field, spec, conversion in parts:
        # The parser has made one brace of two; its literals end in one then.
        pieces.append(_DIRECTIVE.sub(_directive, literal).replace("{", "{{").replace("}", "}}"))
        if field is None:
            continue
        written = "{" + field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}"
        if spec or conversion or not field.isidentifier():
            raise ValueError(f"{written!r}: only plain fields are possible")
        if field in values:
            pieces.append(_escape(str(values[field])))
        elif field in OUR_FIELDS:
            pieces.append(written)
        else:
            raise ValueError(f"{written!r} names no key of the handler; AIT cannot open such a file either")
    return "".join(pieces)


def _directive(found: re.Match[str]) -> str:
    letter = found[1]
    if letter in _DIRECTIVES and letter:
        return found[0]
    if letter in _SAME:
        return _SAME[letter]
    allowed = " ".join(f"%{each}" for each in sorted(_DIRECTIVES | _SAME.keys()))
    raise ValueError(f"{found[0]!r} is not available in paths; possible are {allowed}")


def split_pattern(folder: str, name: str) -> tuple[str, str]:
    """Folder and file name of the path that AIT would use: an absolute name leaves the folder, ``..`` goes up.

    Raises:
        ValueError: the path leads out of everything, or names no file.
    """
    path = posixpath.normpath(posixpath.join(folder, name))
    folder, _, name = path.rpartition("/")
    if not name or name in (".", "..") or ".." in folder.split("/"):
        raise ValueError(f"{path!r} names no file")
    return folder or "/", name
