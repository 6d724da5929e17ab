"""conf/pcap-to-hooks.toml from a capture to the daily files, with a program that leaves recorded logs as Zeek would."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare

CONF = Path(__file__).parents[2] / "conf"
GOLDEN = Path(__file__).parents[1] / "golden" / "tsv"
ZEEK = """#!/bin/sh
test "$1 $2" = "-C -r" && test -r "$3" || exit 1
case "$3" in *broken*) echo "fatal error: not a capture" >&2; exit 1;; esac
cp '{logs}'/*.log .
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped file with folders of its own, and the stand-in on the PATH."""
    logs, programs = tmp_path / "recorded", tmp_path / "bin"
    for folder in (logs, programs, tmp_path / "captures"):
        folder.mkdir()
    for name in ("files", "http"):
        (logs / f"{name}.log").write_bytes((GOLDEN / f"{name}.log").read_bytes())
    (logs / "conn.log").write_bytes(gzip.decompress((GOLDEN / "conn.log.gz").read_bytes()))
    (programs / "zeek").write_text(ZEEK.format(logs=logs))
    (programs / "zeek").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    text = (CONF / "pcap-to-hooks.toml").read_text()
    for given, there in (
        ("../demo-data/pcap-to-hooks", tmp_path / "state"),
        ("../demo-data/captures", tmp_path / "captures"),
        ('["python"]', json.dumps([str(CONF / "python")])),
        ("concurrency = 2", 'concurrency = 2\nattempts = 2\nbackoff = "10ms"'),
    ):
        assert given in text
        text = text.replace(given, str(there))
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


async def test_captures_become_daily_files(site: Path) -> None:
    """Each once, also when there was a restart between; a capture that Zeek cannot read is a dead letter."""
    folder = site.parent
    for life in (1, 2):
        (folder / "captures" / f"c{life}.pcap").write_bytes(b"capture")
        (folder / "captures" / f"broken{life}.pcap").write_bytes(b"garbage")
        appliance = Appliance(prepare(load(site, environ={})), site, {})
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(appliance.run)
                await appliance.ready.wait()
                accounts = {name: appliance.ledger.account(f"hook.{name}") for name in ("zeek", "files", "http")}
                while (  # noqa: ASYNC110 - nobody tells
                    [each.delivered for each in accounts.values()] != [1, 1, 1] or not accounts["zeek"].dropped
                ):
                    await trio.sleep(0.02)
                appliance.stop()
        assert (accounts["zeek"].delivered, accounts["zeek"].dropped) == (1, {"hook_error": 1})
        assert {accounts[name].delivered for name in ("files", "http")} == {1}
        assert appliance.ledger.account("hook.zeek.out").statistics().imbalance == 0
    assert sorted(path.name for path in (folder / "state" / "zeek-logs").iterdir()) == ["c1.pcap", "c2.pcap"]
    daily = folder / "state" / "daily"
    lines = [line for path in daily.glob("files-*.jsonl") for line in path.read_text().splitlines()]
    files = [json.loads(line) for line in lines]
    expected = [json.loads(line) for line in gzip.decompress((GOLDEN / "files.json.gz").read_bytes()).splitlines()]
    assert sorted(file["fuid"] for file in files) == sorted(2 * [file["fuid"] for file in expected])
    assert {file["run"] for file in files} == {"c1.pcap", "c2.pcap"}
    joined = [file for file in files if file["connections"]]
    assert joined
    assert all(file["connections"][0]["uid"] == file["uid"] for file in joined)
    assert all(file["connections"][0]["id.orig_h"] for file in joined)
    tables = [path.read_text().splitlines() for path in daily.glob("http-*.tsv")]
    assert {table[0] for table in tables} == {"client\thost\trequests\tfailed\tbytes\trun"}
    requests = sum(int(row.split("\t")[2]) for table in tables for row in table[1:])
    assert requests == 2 * len(gzip.decompress((GOLDEN / "http.json.gz").read_bytes()).splitlines())
