"""Nodes of a cluster under test."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from appliance.config import Membership
from appliance.model import LogBatch, NodeStatus
from appliance.wire.presence import HELLO
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.topics import cluster_topics
from appliance.zeek.version import parse_version

from .harness import House

__all__ = ["LAYOUT", "free_ports", "hello", "layout", "member", "news", "notes", "open_node"]


def layout(kinds: Mapping[str, str], ports: Mapping[str, int] | None = None) -> ClusterLayout:
    """Nodes by name and type; workers and proxies have the manager."""
    nodes = [
        LayoutNode(
            name=name,
            type=NodeType(kind),
            ip="127.0.0.1",
            port=(ports or {}).get(name),
            manager="manager" if kind in ("worker", "proxy") else "",
        )
        for name, kind in kinds.items()
    ]
    return ClusterLayout(nodes=tuple(nodes))


LAYOUT = layout({"manager": "manager", "logger-1": "logger", "proxy-1": "proxy", "worker-1": "worker"})


def member(name: str, nodes: ClusterLayout = LAYOUT, *, version: str = "8.0", **more: Any) -> Membership:
    """Who a node of that name is."""
    me = nodes.node(name)
    plain = Membership(
        name=name,
        role=me.type if me is not None else NodeType.NONE,
        layout=nodes,
        topics=cluster_topics(parse_version(version)),
        announce=True,
        says_connected=False,
    )
    return replace(plain, **more)


def open_node(folder: Path, name: str, nodes: ClusterLayout = LAYOUT, **keys: Any) -> House:
    """An endpoint that is that node."""
    return House(folder, member=member(name, nodes), **({"subscribe": ()} | keys))


def hello(name: str, node_id: str) -> bytes:
    """A node's hello."""
    return encode_message(Event.make(HELLO, name.encode(), node_id.encode()))


async def news(house: House) -> list[str]:
    """``up NAME`` and ``down NAME``, in their order."""
    return [f"{item.status} {item.node}" for item in await house.take() if isinstance(item, NodeStatus)]


async def notes(house: House) -> list[LogBatch]:
    """Our own lines of ``cluster.log``."""
    return [item for item in await house.logs() if item.source == "cluster"]


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A TCP port on loopback for each name, below those that the kernel gives out: nobody gets it by chance while its
    node is away.
    """
    found: dict[str, int] = {}
    for name in names:
        while name not in found:
            port = random.randrange(10_240, 32_000)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    if port not in found.values():
                        found[name] = port
    return found
