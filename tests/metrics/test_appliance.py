"""An appliance with everything that needs no privilege, and Prometheus' view of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.app import Appliance
from appliance.cli import details
from appliance.cli.tables import make_console, make_status
from appliance.config import load
from appliance.metrics.names import all_metrics, labels_of
from appliance.metrics.source import Source
from appliance.parts import prepare
from appliance.status import Status

from ..api.harness import parse_response
from .readers import read_text
from .test_source import numbers_in

SITE = """
[appliance]
name = "n1"
state_dir = "state"
[api]
listen = ["unix:api.sock"]
[metrics]
listen = "127.0.0.1:0"
[broker]
listen = ["127.0.0.1:0"]
tls = "off"
[cluster]
backend = "zeromq"
[cluster.zeromq]
log_bind = "tcp://127.0.0.1:0"
[[store]]
name = "hosts"
role = "master"
[[zmq]]
name = "bro"
bind = ["tcp://127.0.0.1:0"]
[[websocket]]
name = "zeek"
url = "ws://127.0.0.1:9/v1/messages/json"
topics = ["zeek.event."]
[[tail]]
name = "current"
paths = ["spool/*.log"]
[[watch]]
name = "uploads"
directory = "up"
match = ["*.pcap"]
[[capture]]
name = "telemetry"
conn_type = "udp"
address = ["127.0.0.1", 0]
handler = [{ name = "raw", log_dir = "pcap" }]
[[hook]]
name = "enrich"
on = ["log:*"]
run = "appliance.demo.hooks:on_executable"
[[sink]]
name = "archive"
on = ["log:*"]
[[sink]]
name = "again"
kind = "broker"
on = ["event:*"]
topic = "zeek/event/out/"
"""


def show(status: Status) -> None:
    """As ``broappliance status`` does, which must have words for each of these services."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(details, "_plain")
        make_console(io.StringIO()).print(make_status(json.loads(msgspec.json.encode(status))))


async def scrape(stream: trio.SocketStream) -> str:
    async with stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join([part async for part in stream])
    response = parse_response(answer)
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return response.body.decode()


async def test_a_scrape_has_every_number_that_the_status_has(tmp_path: Path) -> None:
    """With the names, types and labels that are documented, and no other ones."""
    for folder in ("spool", "up"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        status = appliance.status()
        show(status)
        page = Source(appliance.status).page(status)
        address = next(each.figures.listening[0] for each in status.services if each.service.name == "metrics")
        scraped = read_text(await scrape(await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))))
        asked = read_text(await scrape(await trio.open_unix_socket(tmp_path / "state" / "api.sock")))
        appliance.stop()
    values = {sample.value for family in read_text(page.render().decode()) for sample in family.samples}
    assert [number for number in numbers_in(status) if number not in values] == []
    assert {family.name for family in asked} == {family.name for family in scraped}
    kinds = {metric.name: metric.kind for metric in all_metrics()}
    labels = labels_of()
    for family in scraped:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert family.type == kinds[name]
        assert all(set(sample.labels) - {"le"} == {"node", *labels[name]} for sample in family.samples)
    states = next(family for family in scraped if family.name == "broappliance_service_state")
    running = {each.labels["service"] for each in states.samples if each.labels["state"] == "running" and each.value}
    assert {each.partition(".")[0] for each in running} == {
        "api", "metrics", "broker", "cluster", "store", "zmq", "websocket", "tail", "watch", "capture", "hook", "sink",
    }  # fmt: skip
    up = next(family for family in scraped if family.name == "broappliance_uptime_seconds")
    assert up.samples[0].labels == {"node": "n1"}
