"""``zeek.conf`` of Zeek's systemd generator: the nodes that it would write into the layout.

Source: Zeek, ``tools/systemd-generator/src/zeek-cluster-config.cc`` and ``zeek-cluster-layout-generator.cc``; Zeek's
manual, chapter systemd.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

import msgspec

from .address import Address
from .layout import ClusterLayout, LayoutError, LayoutNode, NodeType, ParsedLayout, Remark
from .layout_ini import Section, parse_ini

__all__ = ["ConfFile", "host_of", "parse_zeek_conf"]

_MAX_NODES = 1024
"""Of one kind on one host."""
_INTERFACE = re.compile(r"interface\s+([_a-z0-9]+)")
_HOST = re.compile(r"([-_a-z0-9]+)\.zeek\.conf")
_OF_KINDS = frozenset(
    f"{kind}_{what}"
    for kind in ("manager", "logger", "proxy")
    for what in ("args", "env", "memory_max", "nice", "cpu_set")
)
_KNOWN = _OF_KINDS | {
    *("manager", "loggers", "proxies", "port", "cluster_port", "address", "cluster_address", "metrics_port"),
    *("metrics_address", "cluster_node_prefix", "cluster_layout", "cluster_backend_args", "args", "env", "user"),
    *("group", "path", "ext_path", "ext_zeek_path", "base_dir", "archiver", "archiver_args", "archiver_dir"),
    "restart_interval_sec",
}
_OF_INTERFACES = frozenset(
    {"interface", "workers", "workers_cpu_list", "workers_numa_policy"}
    | {f"worker_{what}" for what in ("args", "env", "memory_max", "nice", "numa_policy")}
)


class ConfFile(msgspec.Struct, frozen=True):
    """One file."""

    file: str
    """Its name, for messages."""
    data: bytes
    host: str = ""
    """Of a cluster of several hosts, see `host_of`; empty for a single one."""


def host_of(file_name: str) -> str:
    """The host that a file below ``etc/zeek/cluster`` is for, by its name; empty if it is for none."""
    found = _HOST.fullmatch(file_name)
    return found[1] if found else ""


def parse_zeek_conf(files: Iterable[ConfFile]) -> ParsedLayout:
    """Read the cluster of one file, or of one file for each host.

    Raises:
        LayoutError: the generator would refuse a file, it names a layout instead of describing one, or it is too large.
    """
    remarks: list[Remark] = []
    nodes: list[LayoutNode] = []
    for each in sorted(files, key=lambda each: each.host):
        for node in _Host(each, remarks).nodes():
            if any(node.name == other.name for other in nodes):
                raise LayoutError(f"a second node {node.name!r}", file=each.file, line=1, column=1)
            nodes.append(node)
    has_manager = any(node.type is NodeType.MANAGER for node in nodes)
    if not has_manager:
        nodes = [msgspec.structs.replace(node, manager="") for node in nodes]
    has_logger = any(node.type is NodeType.LOGGER for node in nodes)
    is_logger = not has_logger if has_manager or has_logger else None
    return ParsedLayout(ClusterLayout(nodes=tuple(nodes), manager_is_logger=is_logger), tuple(remarks))


class _Host:
    def __init__(self, conf: ConfFile, remarks: list[Remark]) -> None:
        self._file, self._host, self._remarks = conf.file, conf.host, remarks
        sections = parse_ini(conf.data, conf.file)
        self._main = next((each for each in sections if each.name in ("", "zeek")), Section("", 1, {}))
        if self._main.name == "" and self._main.options and len(sections) > 1:
            raise self._error("options outside a section beside sections", self._main.line)
        self._interfaces: list[tuple[str, Section]] = []
        for section in sections:
            self._sort(section)

    def _error(self, message: str, line: int, hint: str = "") -> LayoutError:
        return LayoutError(message, file=self._file, line=line, column=1, hint=hint)

    def _sort(self, section: Section) -> None:
        known: frozenset[str] = _KNOWN if section is self._main else frozenset()
        if section is not self._main or section.name == "":
            known |= _OF_INTERFACES
        for key, option in section.options.items():
            if key not in known:
                self._remarks.append(Remark(f"{key!r} is not a key that we know", self._file, option.line))
        if section.name == "" and self._text("interface"):
            self._interfaces.append(("", section))
        elif section is not self._main:
            found = _INTERFACE.fullmatch(section.name)
            if found is None:
                raise self._error(f"the section {section.name[:40]!r} is neither zeek nor an interface", section.line)
            self._interfaces.append((found[1], section))

    def _number(self, section: Section, key: str, default: int, highest: int) -> int:
        option = section.options.get(key)
        if option is None or not option.value:
            return default
        text = option.value
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= highest):
            raise self._error(f"{key} is not a number up to {highest}", option.line)
        return int(text)

    def _text(self, *keys: str) -> str:
        return next((self._main.options[key].value for key in keys if key in self._main.options), "")

    def nodes(self) -> list[LayoutNode]:
        """The nodes on this host, in the order of the generator."""
        layout = self._main.options.get("cluster_layout")
        if layout is not None and layout.value:
            raise self._error(
                "the layout is written by hand", layout.line, f"read {layout.value!r} instead of this file"
            )
        if not self._host and self._main.name == "" and not self._text("interface"):
            self._remarks.append(Remark("no interface: Zeek is switched off", self._file))
            return []
        port_key = "cluster_port" if "cluster_port" in self._main.options else "port"
        ports = count(self._number(self._main, port_key, 27760, 65535))
        first = self._number(self._main, "metrics_port", 9991, 65535)
        metrics = count(first) if first else None
        made = []
        for number, (name, kind) in enumerate(self._names()):
            port = None if kind is NodeType.WORKER else next(ports)
            metrics_port = 0 if metrics is None else next(metrics)
            if max(port or 0, metrics_port) > 65535:
                raise self._error(f"no port is left for node {number + 1}", 1)
            made.append(
                LayoutNode(
                    name=name,
                    type=kind,
                    ip=self._address(),
                    port=port,
                    manager="" if kind is NodeType.MANAGER else "manager",
                    metrics_port=metrics_port,
                )
            )
        return made

    def _address(self) -> str:
        text = self._text("cluster_address", "address") or self._host or "127.0.0.1"
        try:
            return str(Address.parse(text.strip("[]")))
        except ValueError:
            return text

    def _names(self) -> list[tuple[str, NodeType]]:
        prefix = self._text("cluster_node_prefix") or self._host
        prefix = f"{prefix}-" if prefix else ""
        names: list[tuple[str, NodeType]] = []
        if self._number(self._main, "manager", 1, 1):
            names.append(("manager", NodeType.MANAGER))
        for key, base, kind in (("loggers", "logger", NodeType.LOGGER), ("proxies", "proxy", NodeType.PROXY)):
            wanted = self._number(self._main, key, 1, _MAX_NODES)
            names += [(f"{prefix}{base}-{number}", kind) for number in range(1, wanted + 1)]
        for tag, section in self._interfaces:
            workers = self._number(section, "workers", 1 if not tag else 0, _MAX_NODES)
            if not workers and tag:
                raise self._error("an interface without workers", section.line)
            base = f"{prefix}worker-{tag}-" if tag else f"{prefix}worker-"
            names += [(f"{base}{number}", NodeType.WORKER) for number in range(1, max(workers, 1) + 1)]
        return names
