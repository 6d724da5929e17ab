"""Layouts: what a real Zeek makes of those that we write, and of those that its own tools have written.

INTEROP_LAYOUTS in the environment names scripts that zeekctl or ``zeek-cluster-layout-generator`` wrote, with colons in
between; without it there is what zeekctl has installed beside the Zeek on the PATH.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.layout_script import parse_layout_script
from appliance.zeek.layout_write import render_addition, render_layout
from appliance.zeek.version import parse_version

from .zeek_process import require_zeek

pytestmark = pytest.mark.slow

VERSION = parse_version("8.0")
INSTALLED = "spool/installed-scripts-do-not-touch/auto/cluster-layout.zeek"
OURS = (
    LayoutNode(name="manager", type=NodeType.MANAGER, ip="192.0.2.1", port=27761, metrics_port=9991),
    LayoutNode(name="logger-1", type=NodeType.LOGGER, ip="2001:db8::1", port=27762),
    LayoutNode(name="worker-1", type=NodeType.WORKER, ip="192.0.2.3", manager="manager"),
    LayoutNode(name='odd "name"', type=NodeType.PROXY, ip="192.0.2.4", port=27763, zone_id="eth0", manager="manager"),
)


def ask_zeek(folder: Path, *scripts: Path) -> dict[str, dict[str, Any]]:
    """``Cluster::nodes`` as a Zeek understands it."""
    env = {name: value for name, value in os.environ.items() if name != "CLUSTER_NODE"} | {
        "ZEEKCTL_DISABLE_LISTEN": "1"
    }
    show = "event zeek_init() &priority=-100 { print to_json(Cluster::nodes); terminate(); }"
    done = subprocess.run(
        [require_zeek(), "-b", "base/frameworks/cluster", *map(os.fspath, scripts), "-e", show],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    nodes: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return nodes


def in_short(nodes: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        name: (node["node_type"], node["ip"], _number(node.get("p")), node.get("manager", ""))
        for name, node in nodes.items()
    }


def _number(port: Any) -> int:
    """Some versions write a port as a record, others as text; one that is not there is 0."""
    return int(port["port"] if isinstance(port, dict) else str(port or 0).partition("/")[0])


def as_zeek(layout: ClusterLayout) -> dict[str, tuple[Any, ...]]:
    return {
        node.name: (f"Cluster::{node.type.value.upper()}", node.ip, node.port or 0, node.manager)
        for node in layout.nodes
    }


def test_zeek_reads_what_we_write(tmp_path: Path) -> None:
    """A whole layout, and a node that is added to it."""
    require_zeek()
    added = LayoutNode(name="recorder-1", type=NodeType.LOGGER, ip="192.0.2.9", port=27770)
    whole, more = tmp_path / "cluster-layout.zeek", tmp_path / "more.zeek"
    whole.write_text(render_layout(ClusterLayout(nodes=OURS), VERSION))
    more.write_text(render_addition([added], VERSION))
    assert in_short(ask_zeek(tmp_path, whole, more)) == as_zeek(ClusterLayout(nodes=(*OURS, added)))


def test_we_read_what_the_tools_write(tmp_path: Path) -> None:
    """As Zeek itself does, but for addresses of hosts that it has looked up."""
    zeek = Path(require_zeek()).resolve()
    named = os.environ.get("INTEROP_LAYOUTS", "")
    scripts = [Path(each) for each in named.split(":") if each] or [zeek.parents[1] / INSTALLED]
    scripts = [each for each in scripts if named or each.exists()]
    if not scripts:
        pytest.skip("zeekctl has written no layout, and INTEROP_LAYOUTS names none")
    for script in scripts:
        parsed = parse_layout_script(script.read_bytes(), script.name)
        theirs = in_short(ask_zeek(tmp_path, script))
        for name, ours in as_zeek(parsed.layout).items():
            kind, address, *rest = theirs.pop(name)
            expected = address if re.search("[g-z]", ours[1]) else ours[1]
            assert (kind, expected, *rest) == (ours[0], address, *ours[2:]), f"{script}: {name}"
        assert theirs == {}, script
