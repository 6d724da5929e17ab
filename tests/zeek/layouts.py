"""Samples of layouts, and random ones."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from appliance.zeek.address import Address
from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType, ParsedLayout
from appliance.zeek.layout_script import parse_layout_script

GOLDEN = Path(__file__).parents[1] / "golden" / "layouts"

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["manager", "worker-1", 'a"b', "a\\b", "#", "};"]
)
addresses = st.builds(
    lambda data: str(Address(data)), st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
)
ports = st.none() | st.integers(1, 65535)
texts = st.just("") | names
nodes = st.builds(
    LayoutNode,
    name=names,
    type=st.sampled_from(NodeType),
    ip=addresses,
    zone_id=texts,
    port=ports,
    interface=texts,
    manager=texts,
    time_machine=texts,
    metrics_port=st.none() | st.integers(0, 65535),
    extra=st.dictionaries(
        st.sampled_from(["lb_filter", "rack", "workers"]),
        st.sampled_from(['"x y"', "set( 1, 2 )", "[$a=1, $b=T]", "-1"]),
    ).map(lambda fields: tuple(fields.items())),
)
layouts = st.builds(
    ClusterLayout,
    nodes=st.lists(nodes, max_size=6, unique_by=lambda node: node.name).map(tuple),
    manager_is_logger=st.booleans(),
    retry_interval_ns=st.none() | st.integers(0, 10**15),
)


def load(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def read(name: str) -> ParsedLayout:
    return parse_layout_script(load(name), name, environ={})


def shown(parsed: ParsedLayout) -> list[str]:
    """One line for each node: name, type, address, port, metrics port, and what else there is."""
    return [
        " ".join(
            str(part)
            for part in (
                *(node.name, node.type, node.ip or "?", node.port, node.metrics_port),
                *filter(None, (node.manager, node.interface, node.zone_id, *(f"{k}={v}" for k, v in node.extra))),
            )
        )
        for node in parsed.layout.nodes
    ]
