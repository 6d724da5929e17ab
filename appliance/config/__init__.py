"""The TOML file: its tables, reading and checking it, printing it, its schema, and what a reload changes.

This room is pure: it knows no event loop and no socket, and only `load` reads files.
"""

from __future__ import annotations

from appliance.config.checks import mistakes_in_captures
from appliance.config.diff import Difference, diff
from appliance.config.loader import Loaded, load
from appliance.config.membership import Membership, first_manager, node_name, plan_membership, plan_peering
from appliance.config.metrics_plan import METRICS_LISTEN, plan_metrics
from appliance.config.render import render, show
from appliance.config.schema import json_schema
from appliance.config.sockets import SOCKET_KEYS, CaptureGroup, address_of, group_captures, parse_group
from appliance.config.store_tables import StorePlan, plan_store
from appliance.config.table_parts import Consumer
from appliance.config.tables import (
    Api,
    Appliance,
    Broker,
    Capture,
    Cluster,
    ClusterNode,
    ClusterStores,
    ClusterTopicNames,
    ClusterZeromq,
    Config,
    Evidence,
    Handler,
    Hook,
    Journal,
    Keep,
    Log,
    Metrics,
    Peering,
    Policy,
    Recorder,
    Sink,
    Store,
    Table,
    Tail,
    Uids,
    Watch,
    Websocket,
    Zmq,
)
from appliance.config.zeromq_plan import NodePlan, ProxyPlan, plan_node, plan_proxy
from appliance.errors import ConfigError
from appliance.units import Duration, Limit, Secret, Size

__all__ = [
    "METRICS_LISTEN",
    "SOCKET_KEYS",
    "Api",
    "Appliance",
    "Broker",
    "Capture",
    "CaptureGroup",
    "Cluster",
    "ClusterNode",
    "ClusterStores",
    "ClusterTopicNames",
    "ClusterZeromq",
    "Config",
    "ConfigError",
    "Consumer",
    "Difference",
    "Duration",
    "Evidence",
    "Handler",
    "Hook",
    "Journal",
    "Keep",
    "Limit",
    "Loaded",
    "Log",
    "Membership",
    "Metrics",
    "NodePlan",
    "Peering",
    "Policy",
    "ProxyPlan",
    "Recorder",
    "Secret",
    "Sink",
    "Size",
    "Store",
    "StorePlan",
    "Table",
    "Tail",
    "Uids",
    "Watch",
    "Websocket",
    "Zmq",
    "address_of",
    "diff",
    "first_manager",
    "group_captures",
    "json_schema",
    "load",
    "mistakes_in_captures",
    "node_name",
    "parse_group",
    "plan_membership",
    "plan_metrics",
    "plan_node",
    "plan_peering",
    "plan_proxy",
    "plan_store",
    "render",
    "show",
]
