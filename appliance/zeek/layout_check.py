"""What is odd about a layout that can be read: Zeek would start with it, and do what nobody wants."""

from __future__ import annotations

from collections import defaultdict

from .layout import ClusterLayout, NodeType, Remark
from .version import Version

__all__ = ["check_layout"]


def check_layout(layout: ClusterLayout, version: Version) -> tuple[Remark, ...]:
    """Remarks without places, in the order of the nodes."""
    if not layout.nodes:
        return (Remark("no node"),)
    told = [*_check_roles(layout), *_check_places(layout), *_check_names(layout), *_check_age(layout, version)]
    return tuple(Remark(text) for text in told)


def _check_roles(layout: ClusterLayout) -> list[str]:
    managers, loggers = layout.of_type(NodeType.MANAGER), layout.of_type(NodeType.LOGGER)
    told = []
    if not managers:
        told.append("no node is a manager")
    if layout.is_manager_logging and loggers:
        told.append(f"manager_is_logger is true beside the logger {loggers[0].name!r}: logs are split between them")
    if not layout.is_manager_logging and not loggers:
        told.append("manager_is_logger is false and there is no logger: nobody takes the logs")
    return told


def _check_places(layout: ClusterLayout) -> list[str]:
    places: dict[tuple[str, int], list[str]] = defaultdict(list)
    for node in layout.nodes:
        for port in {node.port, node.metrics_port} - {None, 0}:
            if node.ip and port is not None:
                places[node.ip, port].append(node.name)
    return [
        f"{' and '.join(repr(name) for name in names)} have the same address and port, {ip} {port}"
        for (ip, port), names in places.items()
        if len(names) > 1
    ]


def _check_names(layout: ClusterLayout) -> list[str]:
    kinds = {node.name: node.type for node in layout.nodes}
    told = []
    for node in layout.nodes:
        for name, kind in ((node.manager, NodeType.MANAGER), (node.time_machine, NodeType.TIME_MACHINE)):
            if name and kinds.get(name) is not kind:
                what = "does not exist" if name not in kinds else f"is of another type, {kinds[name].value}"
                told.append(f"the {kind.value} of {node.name!r}, {name!r}, {what}: Zeek ignores it")
    return told


def _check_age(layout: ClusterLayout, version: Version) -> list[str]:
    told = []
    for node in layout.nodes:
        if node.type is NodeType.TIME_MACHINE and version >= (7, 1):
            told.append(f"{node.name!r} is a time machine, which Zeek {version} does not know")
        unknown = [field for field in ("interface", "time_machine") if version >= (7, 1) and getattr(node, field)]
        if node.metrics_port is not None and version < (7, 0):
            unknown.append("metrics_port")
        told += [f"{field} of {node.name!r} is left out: Zeek {version} does not know it" for field in unknown]
        told += [
            f"${field} of {node.name!r} is from before Bro 2.6; Zeek {version} refuses it"
            for field, _ in node.extra
            if field in _BEFORE_2_6
        ]
    return told


_BEFORE_2_6 = frozenset({"logger", "proxy", "workers"})
