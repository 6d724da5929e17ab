"""What presence has to tell, as items: nodes that come and go, and lines of ``cluster.log``."""

from __future__ import annotations

import msgspec

from appliance.model import LogBatch, NodeStatus
from appliance.zeek.convert import to_text

from .presence import NodeDown, NodeUp

__all__ = ["SOURCE", "cluster_line", "node_status"]

SOURCE = "cluster"
"""The door of all of it, whichever backend the cluster has."""
_COLUMNS = (("ts", "time"), ("node", "string"), ("message", "string"))
"""``Cluster::Info``."""


def node_status(news: NodeUp | NodeDown, now_ns: int) -> NodeStatus:
    """A node has come or gone; `now_ns` is wall time."""
    return NodeStatus(
        node=news.node.name,
        status="up" if isinstance(news, NodeUp) else "down",
        type=news.node.type.value,
        id=news.id,
        source=SOURCE,
        received_ns=now_ns,
    )


def cluster_line(name: str, message: str, now_ns: int) -> LogBatch:
    """A record of the log ``cluster`` that a node of that name writes."""
    node = to_text(name)
    record = {"ts": now_ns // 1000 / 1e6, "node": node, "message": message}
    return LogBatch(
        path="cluster",
        stream="Cluster::LOG",
        node=node,
        source=SOURCE,
        data=msgspec.json.encode(record) + b"\n",
        count=1,
        columns=_COLUMNS,
    )
