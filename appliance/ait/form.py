"""The form of AIT's ``POST /<name>/start`` as arguments of `StreamCaptureManager.add_logger`. Pure."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.config import Handler

from .convert import INDEXES, MAX_DELTA

__all__ = ["Start", "parse_start"]

_OWN = frozenset({"port", "conn_type", "loc", "name", "log_dir_path", "pre_write_transforms"})
_PATHS = ("path", "file_name_pattern")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off", "none", ""})
_NO_TRANSFORMS = frozenset({"", "[]", "None", "identity_transform", "['identity_transform']", '["identity_transform"]'})


class Start(NamedTuple):
    """What is to be started."""

    name: str
    address: tuple[str, int]
    conn_type: str
    log_dir: str
    more: Mapping[str, Any]
    """AIT's further keys."""


def parse_start(name: str, form: Mapping[str, str], *, root: str) -> Start:
    """Read a form.

    Args:
        name: of the handler, from the path of the request.
        form: its fields. Those that AIT does not know are at hand for the paths, as there.
        root: folder of handlers that name none; absolute.

    Raises:
        ValueError: a field is missing or wrong; the text says which.
    """
    if form.get("name", name) != name:
        raise ValueError(f"name: the path says {name!r}, the form {form['name'][:100]!r}")
    if form.get("pre_write_transforms", "").strip() not in _NO_TRANSFORMS:
        raise ValueError("pre_write_transforms: transforms can only be named in the file")
    conn_type = form.get("conn_type", "")
    if conn_type not in ("udp", "tcp", "ethernet"):
        raise ValueError(f"conn_type: expected udp, tcp or ethernet, got {conn_type[:100]!r}")
    address = (form.get("loc", ""), _number("port", form.get("port", ""), 0, 65535))
    more: dict[str, Any] = {key: _pattern(form[key]) for key in _PATHS if form.get(key)}
    folder = form.get("log_dir_path", "")
    folder = folder if folder.startswith("~") else posixpath.join(root, folder)
    written = (folder, *more.values())
    fields = form.keys() - _OWN - frozenset(_PATHS) - frozenset(Handler.__struct_fields__)
    more |= {key: form[key] for key in fields if any(f"{{{key}}}" in text for text in written)}
    return Start(name, address, conn_type, folder, more | _rotation(form))


def _pattern(text: str) -> str:
    """AIT's own tool writes a backslash before each directive."""
    return text.replace("\\%", "%")


def _rotation(form: Mapping[str, str]) -> dict[str, Any]:
    rotate = form.get("rotate_log", "true").strip().lower()
    if rotate in _FALSE:
        return {"rotate_log": False}
    if rotate not in _TRUE:
        raise ValueError(f"rotate_log: expected true or false, got {rotate[:100]!r}")
    delta = _number("rotate_log_delta", form.get("rotate_log_delta", "1"), -MAX_DELTA, MAX_DELTA)
    if delta < 1:
        return {"rotate_log": False, "rotate_packets": 1}
    index = form.get("rotate_log_index", "day")
    return {"rotate_log_index": index if index in INDEXES else "day", "rotate_log_delta": delta}


def _number(key: str, text: str, lowest: int, highest: int) -> int:
    try:
        number = float(text[:20]) if key == "rotate_log_delta" else int(text[:20])
    except ValueError:
        number = math.nan
    if not lowest <= number <= highest:
        raise ValueError(f"{key}: expected a number from {lowest} to {highest}, got {text[:100]!r}")
    return math.ceil(number)
