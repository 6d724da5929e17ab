"""The Zeek scripts of the product and of these tests, read by a real Zeek."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .test_messages import write_layout
from .zeek_process import SCRIPTS, require_zeek

CONF = Path(__file__).parents[2] / "conf" / "zeek"
LOADED_BEFORE = {
    "broappliance-writer.zeek": "NCSA/ZeroMQWriter",
    "broappliance-logger.zeek": "frameworks/cluster/backend/zeromq",
}
"""What must be there when a script is read, and is not in every Zeek."""
FOR_A_CLUSTER = {"broappliance-layout.zeek", "broappliance-logger.zeek", "cluster-node.zeek"}

pytestmark = pytest.mark.slow


def parse(folder: Path, *what: str, is_cluster: bool = False) -> str:
    """What Zeek has against scripts, read one after the other."""
    zeek = require_zeek()
    env = {name: value for name, value in os.environ.items() if name != "CLUSTER_NODE"}
    if is_cluster:
        write_layout(folder, {"manager": 27761, "worker-1": 27762})
        env["CLUSTER_NODE"] = "manager"
    done = subprocess.run(
        [zeek, "--parse-only", *what], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("script", sorted(CONF.glob("*.zeek")), ids=lambda script: script.name)
def test_a_script_of_the_product_parses(tmp_path: Path, script: Path) -> None:
    """As a stand-alone Zeek or as a node of a cluster, whichever it is for."""
    require_zeek()
    before = [LOADED_BEFORE[script.name]] if script.name in LOADED_BEFORE else []
    if before and parse(tmp_path, *before):
        pytest.skip(f"this zeek has no {before[0]}")
    assert parse(tmp_path, *before, os.fspath(script), is_cluster=script.name in FOR_A_CLUSTER) == ""


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.zeek")), ids=lambda script: script.name)
def test_a_script_of_the_tests_parses(tmp_path: Path, script: Path) -> None:
    """Else nothing else here says anything."""
    assert parse(tmp_path, os.fspath(script), is_cluster=script.name in FOR_A_CLUSTER) == ""
