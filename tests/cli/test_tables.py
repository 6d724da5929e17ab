"""The status document as tables: every kind of service that there is, and kinds that there are not yet."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import msgspec
import pytest

from appliance.cli import details
from appliance.cli.tables import make_console, make_status
from tests.metrics.figures import KINDS, fill
from tests.metrics.figures import make_status as make_document

_NAMES = {
    "cluster": "cluster.logger", "cluster_node": "cluster.node", "broker_sink": "sink.again", "zmq_sink": "sink.bro",
}  # fmt: skip
"""What services are called where the name alone does not tell what their figures are."""


def render(status: dict[str, Any]) -> str:
    text = io.StringIO()
    make_console(text).print(make_status(status))
    return text.getvalue()


def a_line(kind: str) -> dict[str, Any]:
    """A service of that kind as the endpoint tells of it, with a figure of its own in every field."""
    figures = json.loads(msgspec.json.encode(fill(KINDS[kind], itertools.count(1_000_003, 7))))
    return {"service": {"name": _NAMES.get(kind, kind)}, "figures": figures, "queue": None}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_service_has_words_of_its_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And shows some of its figures; nothing falls back to plain ones."""
    monkeypatch.delattr(details, "_plain")
    assert details.describe(a_line(kind))


def test_a_document_with_everything_is_shown() -> None:
    """Every service is in the table, whatever its figures are."""
    status = json.loads(msgspec.json.encode(make_document()))
    text = render(status)
    assert all(line["service"]["name"] in text for line in status["services"])


def test_services_that_are_not_known_are_shown_with_plain_figures() -> None:
    """A service of another version, one whose figures have changed, and one that has none."""
    status = json.loads(msgspec.json.encode(make_document()))
    first, second, third, *_ = status["services"]
    first["service"]["name"], first["figures"] = "radio", {"waves": 17, "antennas": ["north", "south"], "noise": 0}
    second["service"]["name"], second["figures"] = "broker", {"peers": 3, "listening": None}
    third["figures"] = None
    text = render(status)
    assert "waves=17, antennas=2, queue" in text
    assert "peers=3" in text


def test_nodes_of_every_backend_are_in_one_table() -> None:
    """Broker's and ZeroMQ's tell of them alike; who keeps silent knows of nobody."""
    status = json.loads(msgspec.json.encode(make_document()))
    views = {line["service"]["name"]: line["figures"]["cluster"] for line in status["services"]
             if "cluster" in (line["figures"] or {})}  # fmt: skip
    assert set(views) == {"broker.x", "cluster_node.x"}
    assert all(node["id"] in render(status) for view in views.values() for node in view["nodes"])
    views["broker.x"]["announced"] = False
    text = render(status)
    assert not any(node["id"] in text for node in views["broker.x"]["nodes"])
