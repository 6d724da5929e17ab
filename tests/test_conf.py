"""The files in conf/ are right, and the annotated one tells every key with its default."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.config.shape import toml_fields
from appliance.config.tables import (
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
    Metrics,
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
from appliance.parts import prepare

CONF = Path(__file__).parents[1] / "conf"
ANNOTATED = CONF / "broappliance.toml"
TABLES: dict[str, type[Table]] = {
    "zmq": Zmq, "broker": Broker, "cluster": Cluster, "cluster.zeromq": ClusterZeromq,
    "cluster.topics": ClusterTopicNames, "cluster.nodes.manager": ClusterNode,
    "cluster.stores": ClusterStores, "store": Store, "tail": Tail, "capture": Capture,
    "capture.handler": Handler, "recorder": Recorder, "evidence": Evidence, "uids": Uids,
    "sink": Sink, "hook": Hook, "watch": Watch, "websocket": Websocket, "metrics": Metrics,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_file_has_no_mistakes(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks and expressions included, where there is a Zeek."""
    (tmp_path / "zeek").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    prepare(load(path, environ={}))


def chapters() -> dict[str, str]:
    """The text of each table in the annotated file, by its name."""
    found: dict[str, str] = {}
    name = ""
    for line in ANNOTATED.read_text().splitlines():
        if header := re.match(r"(?:# )?\[\[?([a-z.]+)\]\]?", line):
            name = header[1]
        found[name] = found.get(name, "") + line + "\n"
    return found


@pytest.mark.parametrize("name", TABLES)
def test_annotated_file_tells_every_key(name: str) -> None:
    """Written with its default, or as a comment."""
    text = chapters()[name] + chapters().get(f"{name}.options", "")
    nested = {key for key in toml_fields(TABLES[name]) if f"{name}.{key}" in TABLES} | {"options", "nodes"}
    missing = {key for key in toml_fields(TABLES[name]) if not re.search(rf"(?m)^(# )?{key} = ", text)} - nested
    assert missing == set()


async def test_the_captures_of_the_example_run(tmp_path: Path) -> None:
    """Its sockets can be opened, with any ports, and what comes is in its files."""
    text = (CONF / "captures.toml").read_text()
    for given, there in (("../demo-data/sockets", str(tmp_path)), ("8510", "0"), ("8511", "0")):
        assert given in text
        text = text.replace(given, there)
    path = tmp_path / "site.toml"
    path.write_text(text)
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        figures = appliance.captures.statistics()
        port = int(figures["telemetry"].address.rpartition(":")[2])
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sender:
            await sender.sendto(b"one", ("127.0.0.1", port))
        async with await trio.open_tcp_stream("127.0.0.1", int(figures["lines"].address.rpartition(":")[2])) as client:
            await client.send_all(b"one\ntwo\n")
        while not appliance.ledger.account("capture.telemetry").delivered:
            await trio.lowlevel.checkpoint()
        while appliance.ledger.account("capture.lines").delivered < 2:
            await trio.lowlevel.checkpoint()
        appliance.stop()
    names = sorted(
        file.name.partition("-")[2].partition("-")[2].partition("-")[2] for file in tmp_path.rglob("*.pcap*")
    )
    assert [name for name in names if name] == names
    assert sorted(name.rpartition("-")[2] for name in names) == ["decoded.pcapng", "raw.pcap", "raw.pcap.zst"]
    hook = appliance.ledger.account("hook.segments")
    assert hook.received == hook.delivered == 3


def test_what_the_annotated_file_writes_is_the_default() -> None:
    """A key that is not a comment has the value that it has without the line."""
    config = load(ANNOTATED, environ={}).config
    plain = Config(
        appliance=msgspec.structs.replace(config.appliance),
        zmq=(Zmq(name="zeek", bind=("tcp://127.0.0.1:12345",)),),
        capture=(
            Capture(name="telemetry", conn_type="udp", address=("127.0.0.1", 8500), handler=(Handler(name="raw"),)),
        ),
        sink=(Sink(name="archive", on=("log:*",)),),
    )
    folder = config.appliance.state_dir
    handler = msgspec.structs.replace(plain.capture[0].handler[0], log_dir=f"{folder}/captures")
    assert config.appliance.state_dir == "/var/lib/broappliance"
    assert config == msgspec.structs.replace(
        plain,
        capture=(msgspec.structs.replace(plain.capture[0], handler=(handler,)),),
        sink=(msgspec.structs.replace(plain.sink[0], path=f"{folder}/{plain.sink[0].path}"),),
    )
