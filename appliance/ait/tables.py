"""AIT's arguments as our tables: an address, a connection type, a handler's dict."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appliance.config import Capture, ConfigError, Handler
from appliance.config.request import parse_capture
from appliance.runtime.imports import import_attribute

from .pattern import convert_pattern, split_pattern

__all__ = ["make_capture", "make_handler_table", "tell"]

DEFAULT_PATTERN = "%Y-%m-%d-%H-%M-%S-{name}.pcap"
_IGNORED = frozenset({"address", "conn_type", "logger", "log_rot_time", "reads", "data_read"})
"""What AIT itself puts into the dict."""
_PATHS = frozenset({"name", "log_dir", "path", "file_name_pattern"})
_OURS = frozenset(Handler.__struct_fields__) - _PATHS - {"pre_write_transforms"}


def make_capture(
    handlers: Sequence[Mapping[str, Any]], address: Sequence[Any], conn_type: str, *, name: str, root: str
) -> Capture:
    """A table for a socket and its handlers.

    Args:
        handlers: AIT's dicts; besides its keys those of ``[[capture.handler]]``.
        address: ``[host, port]``, or ``[interface, protocol]``.
        conn_type: ``udp``, ``tcp`` or ``ethernet``.
        name: of the table.
        root: folder of handlers that name none.

    Raises:
        ValueError: something is wrong; the text says everything that is.
    """
    data = {
        "name": name,
        "conn_type": conn_type,
        "address": [address[0] or "", *address[1:]] if address else [],
        "handler": [make_handler_table(handler, root, conn_type) for handler in handlers],
    }
    try:
        return parse_capture(data, state_dir=os.path.abspath(root))  # noqa: PTH100 - normalises, asks no disk
    except* ConfigError as group:
        told = tell(group)
    raise ValueError(told)


def tell(mistakes: BaseExceptionGroup[ConfigError]) -> str:
    """All mistakes on one line."""
    return "; ".join(f"{each.key}: {each.message}" if each.key else each.message for each in _leaves(mistakes))


def _leaves(exc: BaseException) -> list[ConfigError]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc] if isinstance(exc, ConfigError) else []


def make_handler_table(handler: Mapping[str, Any], root: str, conn_type: str) -> dict[str, Any]:
    """One handler as a plain table.

    A key that neither AIT nor we know may be used as a field of the paths; one that is not is a mistake.

    Raises:
        ValueError: see `make_capture`.
    """
    written = [str(handler.get(key) or "") for key in ("log_dir", "path", "file_name_pattern")]
    fields = {str(key): value for key, value in handler.items() if key not in _PATHS | _IGNORED}
    for key in fields.keys() - _OURS - {"pre_write_transforms"}:
        if not any(f"{{{key}}}" in text for text in written):
            raise ValueError(f"handler {handler.get('name')!r}: unknown key {key!r}")
    base, path, pattern = written
    folder = os.path.join(os.path.abspath(Path(base or root).expanduser()), path)  # noqa: PTH100, PTH118 - as AIT does
    values = {"rotate_log": True, "conn_type": conn_type, **fields}
    folder, name = split_pattern(convert_pattern(folder, values), convert_pattern(pattern or DEFAULT_PATTERN, values))
    table = {key: value for key, value in fields.items() if key in _OURS}
    transforms = [_name_of(each) for each in handler.get("pre_write_transforms") or ()]
    return {
        "name": handler.get("name"),
        "log_dir": folder,
        "file_name_pattern": name,
        **table,
        "pre_write_transforms": transforms,
    }


def _name_of(transform: str | Callable[[bytes], Any]) -> str:
    """The name that a transform can be imported by; AIT's own is known without its module."""
    if isinstance(transform, str):
        return f"{__package__}.transform:{transform}" if transform == "identity_transform" else transform
    name = f"{getattr(transform, '__module__', '')}:{getattr(transform, '__qualname__', '')}"
    if not callable(transform) or "<" in name or import_attribute(name) is not transform:
        raise ValueError(f"{transform!r} cannot be imported as {name!r}: define it at the top of a module")
    return name
