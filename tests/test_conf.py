"""The files in conf/ are right, and the annotated one tells every key with its default."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from appliance.config import load
from appliance.config.shape import toml_fields
from appliance.config.tables import (
    Broker,
    Capture,
    Cluster,
    ClusterZeromq,
    Config,
    Handler,
    Hook,
    Sink,
    Table,
    Tail,
    Zmq,
)
from appliance.parts import prepare

CONF = Path(__file__).parents[1] / "conf"
ANNOTATED = CONF / "broappliance.toml"
TABLES: dict[str, type[Table]] = {
    "zmq": Zmq, "broker": Broker, "cluster": Cluster, "cluster.zeromq": ClusterZeromq, "tail": Tail, "capture": Capture,
    "capture.handler": Handler, "sink": Sink, "hook": Hook,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_file_has_no_mistakes(path: Path) -> None:
    """Hooks and expressions included."""
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
    nested = {key for key in toml_fields(TABLES[name]) if f"{name}.{key}" in TABLES} | {"options"}
    missing = {key for key in toml_fields(TABLES[name]) if not re.search(rf"(?m)^(# )?{key} = ", text)} - nested
    assert missing == set()


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
