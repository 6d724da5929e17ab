"""A cluster's layout: which nodes there are, as Zeek's ``Cluster::nodes`` says it.

All files that describe a cluster are read into this model, and layouts are written from it. What a file says of a node
and the model has no room for stays with the node as Zeek's own text (`LayoutNode.extra`); what it says besides is told
as a `Remark`. Nothing is dropped in silence.

Source: Zeek, ``scripts/base/frameworks/cluster/main.zeek``, records ``Node`` and enum ``NodeType``.
"""

from __future__ import annotations

import enum

import msgspec

from appliance.errors import ConfigError

__all__ = [
    "MAX_BYTES",
    "ClusterLayout",
    "LayoutError",
    "LayoutNode",
    "NodeType",
    "ParsedLayout",
    "Remark",
    "check_size",
    "decode_layout",
    "name_key",
]

MAX_BYTES = 2 << 20
"""Of any file that describes a cluster: room for more than 15,000 nodes, where Zeek's own limit is a few hundred."""


class NodeType(enum.StrEnum):
    """What a node does, by the names of our configuration; Zeek's are the same in capitals."""

    NONE = "none"
    CONTROL = "control"
    LOGGER = "logger"
    MANAGER = "manager"
    PROXY = "proxy"
    WORKER = "worker"
    TIME_MACHINE = "time_machine"
    """Up to Zeek 7.0; deprecated from 6.2 on."""


class LayoutNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node. Field names are those of our configuration."""

    name: str
    type: NodeType = NodeType.NONE
    ip: str = ""
    """An address, IPv6 without brackets, or the name of a host that nobody has looked up yet."""
    zone_id: str = ""
    port: int | None = None
    """TCP; None: it does not listen."""
    interface: str = ""
    manager: str = ""
    time_machine: str = ""
    metrics_port: int | None = None
    """TCP; 0: switched off."""
    extra: tuple[tuple[str, str], ...] = ()
    """Fields that have no place above, or whose value only Zeek can compute: name without ``$``, and Zeek's text."""


class ClusterLayout(msgspec.Struct, frozen=True, kw_only=True):
    """A whole cluster."""

    nodes: tuple[LayoutNode, ...] = ()
    """By distinct names, in the order of the file."""
    manager_is_logger: bool | None = None
    """None: not said. Zeek's default is true."""
    retry_interval_ns: int | None = None
    """None: not said."""

    def node(self, name: str) -> LayoutNode | None:
        """The node of a name."""
        return next((node for node in self.nodes if node.name == name), None)

    def of_type(self, kind: NodeType) -> tuple[LayoutNode, ...]:
        """All nodes of a type, by their names in the order of bytes, as Zeek counts them."""
        return tuple(sorted((node for node in self.nodes if node.type is kind), key=name_key))

    @property
    def is_manager_logging(self) -> bool:
        """`manager_is_logger`, or what a generator would write: true without loggers."""
        if self.manager_is_logger is not None:
            return self.manager_is_logger
        return not any(node.type is NodeType.LOGGER for node in self.nodes)


def name_key(node: LayoutNode) -> bytes:
    """What orders nodes as Zeek does."""
    return node.name.encode("utf-8", "surrogateescape")


class Remark(msgspec.Struct, frozen=True):
    """Something that a reader should know about a file that was read all the same."""

    message: str
    file: str = ""
    line: int = 0
    """From 1; 0: the file as a whole."""
    column: int = 0

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


class ParsedLayout(msgspec.Struct, frozen=True):
    """What a file says."""

    layout: ClusterLayout
    remarks: tuple[Remark, ...] = ()


class LayoutError(ConfigError):
    """A file cannot be read as what it should be.

    Args:
        message: what is wrong.
        file: as the user named it.
        line: from 1.
        column: in characters, from 1.
        hint: what to do.
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        super().__init__(message, file=file, line=line, hint=hint)
        self.column = column

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        hint = f", {self.hint}" if self.hint else ""
        return f"{place}: {self.message}{hint}" if place else f"{self.message}{hint}"


def check_size(data: bytes, file: str) -> None:
    """Refuse a file that is too large, at the place where it becomes so; read one byte more than `MAX_BYTES` of it.

    Raises:
        LayoutError: it is.
    """
    if len(data) <= MAX_BYTES:
        return
    before = data[:MAX_BYTES]
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    raise LayoutError(
        f"larger than {MAX_BYTES >> 20} MiB, which describes no cluster",
        file=file,
        line=before.count(b"\n") + 1,
        column=column,
    )


def decode_layout(data: bytes, file: str) -> str:
    """The text of a file: any bytes, those that are not UTF-8 as surrogates.

    Raises:
        LayoutError: too large.
    """
    check_size(data, file)
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")
