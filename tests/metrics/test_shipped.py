"""What is shipped with the metrics speaks of metrics that there are: alerts, dashboard, documentation."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.metrics.names import all_metrics, labels_of
from appliance.metrics.source import Source

from .figures import make_status

ROOT = Path(__file__).parents[2]
RULES = ROOT / "conf" / "prometheus" / "broappliance.rules.yml"
DASHBOARD = ROOT / "conf" / "grafana" / "broappliance.json"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b((?:broappliance|process)_[a-z0-9_]+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')

with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (Debian: package prometheus)")


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"{panel['title']}-{target['refId']}", target["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for each in dashboard["annotations"]["list"]:
        yield each["name"], each["expr"]


@pytest.mark.parametrize(("name", "expression"), list(expressions()), ids=[name for name, _ in expressions()])
def test_expressions_name_metrics_and_labels_that_there_are(name: str, expression: str) -> None:
    """A metric that was renamed would leave an alert that never comes."""
    labels = labels_of()
    kinds = {metric.name: metric.kind for metric in all_metrics()}
    for metric, selector in NAME.findall(expression):
        if metric not in labels:
            metric = re.sub(r"_(bucket|sum|count)$", "", metric)
            assert kinds.get(metric) == "histogram", metric
        used = set(LABEL.findall(selector)) - {"job"}
        assert used <= {"node", *labels[metric]}
        if kinds[metric] == "counter":
            assert re.search(rf"(rate|increase)\({metric}", expression) or "> 0" in expression


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_say_what_is_the_matter(rule: dict[str, Any]) -> None:
    """By labels that the expression's metrics have."""
    assert rule["labels"]["severity"] in ("warning", "critical")
    metrics = {name for name, _ in NAME.findall(rule["expr"])}
    known = {"node", "instance"}.union(*(labels_of().get(name, ()) for name in metrics))
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    assert set(re.findall(r"\$labels\.([a-z_]+)", text)) <= known


def test_the_alerts_have_names_of_their_own() -> None:
    """And cover what an operator is to be woken for."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    wanted = {"ServiceDown", "ServiceRestarts", "Loss", "RecorderDrops", "DeadLetters", "DiskFull", "PeerDown",
              "ReloadFailed"}  # fmt: skip
    assert {f"Broappliance{each}" for each in wanted} <= set(names)


def test_panels_lie_side_by_side() -> None:
    """None is over another one, or beyond the edge."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_documentation_lists_every_metric() -> None:
    """As packaging/make_metrics.py writes it."""
    code = "import sys; sys.path.insert(0, 'packaging'); import make_metrics as m; print(m.make_list(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert made.stdout in text, "run packaging/make_metrics.py"
    for metric in set(NAME.findall(text.partition("<!--")[0])):
        assert metric[0] in labels_of()


@with_promtool
def test_promtool_finds_no_mistake_in_the_alerts() -> None:
    """Syntax, and what its linter knows."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@with_promtool
def test_promtool_finds_nothing_to_say_of_the_page() -> None:
    """Names, types and help, by the conventions of Prometheus."""
    assert PROMTOOL is not None
    status = make_status()
    page = Source(lambda: status).page(status).render()
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
