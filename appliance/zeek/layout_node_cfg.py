"""zeekctl's ``node.cfg``: the nodes, with the ports that zeekctl would give them.

Source: zeekctl, ``ZeekControl/config.py`` (which nodes), ``ZeekControl/install.py`` (their ports).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from .address import Address
from .layout import ClusterLayout, LayoutError, LayoutNode, NodeType, ParsedLayout, Remark
from .layout_ini import Section, parse_ini
from .version import Version

__all__ = ["parse_node_cfg"]

_KINDS = ("manager", "logger", "proxy", "worker", "standalone")
_KEYS = frozenset(
    {"type", "host", "interface", "aux_scripts", "zeekbase", "brobase", "ether", "zone_id", "count"}
    | {"lb_method", "lb_procs", "lb_interfaces", "pin_cpus", "env_vars"}
)
_MAX_PROCS = 1024
"""Workers of one section; no host has more processors."""


def parse_node_cfg(data: bytes, file: str = "", *, version: Version) -> ParsedLayout:
    """Read a cluster as zeekctl does.

    Args:
        data: the file, or the first `MAX_BYTES` + 1 bytes of it.
        file: its name, for messages.
        version: of Zeek; decides about ports.

    Raises:
        LayoutError: zeekctl would refuse it, or it is too large.
    """
    remarks: list[Remark] = []
    by_kind: dict[str, list[LayoutNode]] = {kind: [] for kind in _KINDS}
    seen: dict[str, int] = {}
    for section in parse_ini(data, file, signs="=:"):
        kind = _kind_of(section, file)
        for key, option in section.options.items():
            if key not in _KEYS:
                remarks.append(Remark(f"{key!r} is not a key that we know", file, option.line))
        for node in _make_nodes(section, kind, file):
            if node.name.lower() in seen:
                raise LayoutError(f"a second node {node.name!r}", file=file, line=section.line, column=1)
            seen[node.name.lower()] = section.line
            by_kind[kind].append(node)
    _check(by_kind, file)
    if by_kind["standalone"]:
        remarks.append(Remark("a standalone Zeek: there is no cluster", file))
        return ParsedLayout(ClusterLayout(), tuple(remarks))
    told = "ports are those that zeekctl gives to nodes by default; its own cluster-layout.zeek knows better"
    return ParsedLayout(_number(by_kind, version), (*remarks, Remark(told, file)))


def _kind_of(section: Section, file: str) -> str:
    option = section.options.get("type")
    kind = option.value.lower() if option else ""
    if not section.name or kind not in _KINDS:
        line = option.line if option else section.line
        told = f"a node needs a type: {', '.join(_KINDS)}" if section.name else "a key outside a section"
        raise LayoutError(told, file=file, line=line, column=1)
    if "host" not in section.options:
        raise LayoutError(f"{section.name!r} has no host", file=file, line=section.line, column=1)
    return kind


def _make_nodes(section: Section, kind: str, file: str) -> list[LayoutNode]:
    options = {key: option.value for key, option in section.options.items()}
    host = options["host"].strip("[]")
    with suppress(ValueError):
        host = str(Address.parse(host))
    names = [(section.name, options.get("interface", ""))]
    method = options.get("lb_method", "")
    if kind == "worker" and method == "interfaces":
        interfaces = [each.strip() for each in options.get("lb_interfaces", "").split(",") if each.strip()]
        names = [(f"{section.name}-{number}", each) for number, each in enumerate(interfaces, 1)]
    elif kind == "worker" and "lb_procs" in options:
        procs = options["lb_procs"]
        if not (procs.isascii() and procs.isdigit() and len(procs) <= 4 and 0 < int(procs) <= _MAX_PROCS):
            line = section.options["lb_procs"].line
            raise LayoutError(f"lb_procs is not a number from 1 to {_MAX_PROCS}", file=file, line=line, column=1)
        names = [(f"{section.name}-{number}", options.get("interface", "")) for number in range(1, int(procs) + 1)]
    return [
        LayoutNode(
            name=name,
            type=NodeType.NONE if kind == "standalone" else NodeType(kind),
            ip=host,
            zone_id=options.get("zone_id", ""),
            interface=interface if kind == "worker" else "",
        )
        for name, interface in names
    ]


def _check(by_kind: dict[str, list[LayoutNode]], file: str) -> None:
    nodes = [node for each in by_kind.values() for node in each]
    told = ""
    if by_kind["standalone"]:
        if len(nodes) > 1:
            told = "a standalone node tolerates no other"
    elif len(by_kind["manager"]) != 1:
        told = f"a cluster has one manager, this one {len(by_kind['manager'])}"
    elif not by_kind["proxy"]:
        told = "a cluster needs a proxy"
    elif by_kind["manager"][0].ip in ("127.0.0.1", "::1", "localhost"):
        away = [node.name for node in nodes if node.ip not in ("127.0.0.1", "::1", "localhost")]
        if away:
            told = f"the manager is on the loopback address, so every node must be, and {away[0]!r} is not"
    if told:
        raise LayoutError(told, file=file, line=1, column=1)


def _number(by_kind: dict[str, list[LayoutNode]], version: Version) -> ClusterLayout:
    """Give ports: the control node's first, then those of the nodes in the order in which zeekctl writes them."""
    first = 47760 if version < (5, 2) else 27762 if version >= (8, 1) else 27760
    ports = count(first)
    metrics = count(9991)
    manager = by_kind["manager"][0]
    control = LayoutNode(name="control", type=NodeType.CONTROL, ip=manager.ip, port=next(ports))
    order = ["logger", "manager"] if version < (6, 1) else ["manager", "logger"]
    nodes = [control]
    for kind in (*order, "proxy", "worker"):
        for node in by_kind[kind]:
            has_manager = kind in ("proxy", "worker")
            nodes.append(
                replace(
                    node,
                    port=next(ports),
                    manager=manager.name if has_manager else "",
                    metrics_port=next(metrics) if version >= (7, 0) else None,
                )
            )
    return ClusterLayout(nodes=tuple(nodes), manager_is_logger=not by_kind["logger"])
