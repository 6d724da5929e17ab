"""Layouts as the tables of our configuration, ``[cluster]`` and ``[cluster.nodes.NAME]``, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .layout import ClusterLayout, LayoutError, LayoutNode, NodeType
from .layout_values import quote

__all__ = ["layout_from_table", "layout_to_table"]

_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_TEXTS = ("ip", "zone_id", "interface", "manager", "time_machine")
_PORTS = ("port", "metrics_port")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def layout_to_table(layout: ClusterLayout) -> dict[str, Any]:
    """What stands in ``[cluster]``: only what the layout says, nodes in its order."""
    table: dict[str, Any] = {}
    if layout.manager_is_logger is not None:
        table["manager_is_logger"] = layout.manager_is_logger
    if layout.retry_interval_ns is not None:
        table["retry_interval"] = _render_duration(layout.retry_interval_ns)
    table["nodes"] = {node.name: _node_to_table(node) for node in layout.nodes}
    return table


def _node_to_table(node: LayoutNode) -> dict[str, Any]:
    table: dict[str, Any] = {"type": node.type.value}
    for key in (*_TEXTS[:1], *_PORTS[:1], *_TEXTS[1:], *_PORTS[1:]):
        value = getattr(node, key)
        if value not in ("", None):
            table[key] = value
    if node.extra:
        table["extra"] = dict(node.extra)
    return table


def layout_from_table(table: Mapping[str, Any], file: str = "") -> ClusterLayout:
    """The layout that a ``[cluster]`` table describes; keys that have nothing to do with it are left alone.

    Raises:
        LayoutError: a node that is none; the text names the key.
    """
    try:
        nodes = table.get("nodes", {})
        _require(isinstance(nodes, Mapping), "cluster.nodes: not a table")
        is_logger = table.get("manager_is_logger")
        _require(is_logger is None or isinstance(is_logger, bool), "cluster.manager_is_logger: not true or false")
        retry = table.get("retry_interval")
        return ClusterLayout(
            nodes=tuple(_node_from_table(name, each) for name, each in nodes.items()),
            manager_is_logger=is_logger,
            retry_interval_ns=None if retry is None else _parse_duration(retry),
        )
    except ValueError as exc:
        raise LayoutError(str(exc), file=file) from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _node_from_table(name: str, table: Any) -> LayoutNode:
    key = f"cluster.nodes.{name}"
    _require(isinstance(table, Mapping), f"{key}: not a table")
    quote(name)
    kind = table.get("type")
    if kind is None or kind not in {each.value for each in NodeType}:
        raise ValueError(f"{key}.type: not one of {', '.join(each.value for each in NodeType)}")
    for text in _TEXTS:
        _require(isinstance(table.get(text, ""), str), f"{key}.{text}: not a text")
    for port in _PORTS:
        value = table.get(port)
        is_port = type(value) is int and (port == "metrics_port" or value > 0) and 0 <= value <= 0xFFFF
        _require(value is None or is_port, f"{key}.{port}: not a port")
    extra = table.get("extra", {})
    is_extra = isinstance(extra, Mapping) and all(
        _FIELD.fullmatch(field) and isinstance(text, str) and text and "\n" not in text for field, text in extra.items()
    )
    _require(is_extra, f"{key}.extra: not a table of fields and expressions of Zeek, each in one line")
    unknown = table.keys() - {"type", "extra", *_TEXTS, *_PORTS}
    _require(not unknown, f"{key}.{min(unknown, default='')}: unknown key")
    known = {each: table[each] for each in (*_TEXTS, *_PORTS) if each in table}
    return LayoutNode(name=name, type=NodeType(kind), extra=tuple(extra.items()), **known)


def _render_duration(ns: int) -> str:
    for unit in ("d", "h", "m", "s", "ms"):
        if ns and ns % _UNITS_NS[unit] == 0:
            return f"{ns // _UNITS_NS[unit]}{unit}"
    return f"{(Decimal(ns) / 10**9).normalize():f}s"


def _parse_duration(text: object) -> int:
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('cluster.retry_interval: not a duration like "1s"')
    return int(Decimal(found[1]) * _UNITS_NS[found[2]])
