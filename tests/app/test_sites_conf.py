"""The example for packages of BroAPT's kind."""

from __future__ import annotations

import json
from pathlib import Path

import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare
from tests.app.test_sites import HTTP_LOG, until

CONF = Path(__file__).parents[2] / "conf"


async def test_the_example_for_sites_runs(tmp_path: Path) -> None:
    """A folder that is moved to where it looks is counted, and so is everything in the end."""
    text = (CONF / "broapt-sites.toml").read_text()
    for given, there in (
        ("../demo-data/sites", str(tmp_path / "state")),
        ('"sites"', f'"{CONF}/sites"'),
        ("5s", "100ms"),
    ):
        assert given in text
        text = text.replace(given, there)
    file = tmp_path / "site.toml"
    file.write_text(text)
    logs = tmp_path / "state" / "logs"
    logs.mkdir(parents=True)
    out = logs / "hosts.jsonl"
    (tmp_path / "capture-1").mkdir()
    (tmp_path / "capture-1" / "http.log").write_text(HTTP_LOG)
    appliance = Appliance(prepare(load(file, environ={})), file, {})
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            (tmp_path / "capture-1").rename(logs / "capture-1")
            await until(out.exists)
            await until(lambda: bool(out.read_text()))
            appliance.stop()
    hosts = {"x.example": 1}
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"capture": "capture-1", "hosts": hosts},
        {"capture": None, "hosts": hosts},
    ]
