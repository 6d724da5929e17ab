"""Where Prometheus finds us: as ``[metrics]`` says, or as the cluster's layout says of our node."""

from __future__ import annotations

from msgspec.structs import replace

from appliance.config.membership import layout_of, node_name
from appliance.config.operation_tables import Metrics
from appliance.config.tables import Config

__all__ = ["METRICS_LISTEN", "plan_metrics"]

METRICS_LISTEN = "127.0.0.1:9991"


def plan_metrics(config: Config) -> Metrics | None:
    """The table with an address; None without the table.

    Zeek's manager tells Prometheus the address and port of every node with ``$metrics_port``, and so ours.

    Source: Zeek, ``scripts/base/frameworks/telemetry/main.zeek``, ``/services.json``.
    """
    table = config.metrics
    if table is None or table.listen:
        return table
    me = layout_of(config.cluster).node(node_name(config))
    if me is None or not me.metrics_port:
        return replace(table, listen=METRICS_LISTEN)
    host = me.ip or "127.0.0.1"
    return replace(table, listen=f"[{host}]:{me.metrics_port}" if ":" in host else f"{host}:{me.metrics_port}")
