"""What becomes of a bsc.yaml: tables, warnings, mistakes; and that the appliance takes what comes out."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ait.convert import Converted, convert
from appliance.ait.document import Document, parse_document
from appliance.ait.render import render_captures
from appliance.cli import main
from appliance.errors import ConfigError

UDP = "name: a, conn_type: udp, address: ['', 8500]"
SHIPPED = """
capture_manager:
    root_log_directory: /tmp/captures
    manager_server: {host: localhost, port: 8080}
handlers:
    - name: one
      conn_type: udp
      address: ['', 8500]
      path: here/%Y
      file_name_pattern: '%Y-%m-%d-udp-{name}.pcap'
      rotate_log: True
      rotate_log_index: day
    - name: two
      conn_type: udp
      address: ['', 8500]
    - name: three
      conn_type: tcp
      address: ['127.0.0.1', 8125]
    - name: four
      conn_type: ethernet
      address: ['eth0', 0]
"""


def run(text: str) -> Converted:
    return convert(parse_document("bsc.yaml", text.encode()), home="/home/me")


def one(text: str) -> dict[str, Any]:
    """The only handler of a file whose handler has these keys."""
    handler: dict[str, Any] = run(f"capture_manager: {{root_log_directory: /r}}\nhandlers: [{{{text}}}]").captures[0][
        "handler"
    ][0]
    return handler


def warned(text: str) -> list[str]:
    """The warnings that such a handler has and others have not."""
    found = run(f"capture_manager: {{root_log_directory: /r}}\nhandlers:\n  - {{{text}}}")
    return [str(each) for each in found.warnings if each.key.startswith("handlers")]


def refused(text: str) -> list[str]:
    told: list[str] = []
    try:
        run(text)
    except* ConfigError as group:
        told = [str(each) for each in group.exceptions]
    assert told, "it was taken"
    return told


def test_a_shipped_file_becomes_captures() -> None:
    """Handlers of one address share a socket."""
    captures = run(SHIPPED).captures
    assert [(capture["name"], capture["conn_type"], capture["address"]) for capture in captures] == [
        ("udp-8500", "udp", ["", 8500]),
        ("tcp-127.0.0.1-8125", "tcp", ["127.0.0.1", 8125]),
        ("ethernet-eth0-0", "ethernet", ["eth0", 0]),
    ]
    first, second = captures[0]["handler"]
    assert first == {
        "name": "one", "log_dir": "/tmp/captures/here/%Y", "file_name_pattern": "%Y-%m-%d-udp-{name}.pcap",
        "rotate_log": True, "rotate_log_index": "day", "rotate_log_delta": 1,
    }  # fmt: skip
    assert (second["log_dir"], second["file_name_pattern"]) == ("/tmp/captures", "%Y-%m-%d-%H-%M-%S-{name}.pcap")


def test_what_is_printed_is_what_was_converted() -> None:
    """As TOML."""
    captures = run(SHIPPED).captures
    assert tomllib.loads(render_captures(captures, "odd\nname\udc80"))["capture"] == captures


def test_the_program_takes_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file passes the check; the warnings are on standard error only."""
    source, target = tmp_path / "bsc.yaml", tmp_path / "site.toml"
    source.write_text(SHIPPED)
    assert main(["import", str(source)]) == 0
    told = capsys.readouterr()
    assert main(["import", str(source), "--output", str(target)]) == 0
    assert target.read_text() == told.out
    assert capsys.readouterr().err == told.err
    assert f"{source}:4: capture_manager.manager_server: the web server is replaced" in told.err
    check = [sys.executable, "-m", "appliance", "--config", str(target), "--check"]
    assert subprocess.run(check, capture_output=True, timeout=60).returncode == 0
    assert main(["import", str(source), "--output", str(target)]) == 1
    assert "exists, nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "log_dir", "name"),
    [
        ("", "/r", "%Y-%m-%d-%H-%M-%S-{name}.pcap"),
        ("path: sub", "/r/sub", "%Y-%m-%d-%H-%M-%S-{name}.pcap"),
        ("path: /abs, file_name_pattern: x.pcap", "/abs", "x.pcap"),
        ("file_name_pattern: /abs/%F/x.pcap", "/abs/%Y-%m-%d", "x.pcap"),
        ("path: a/b, file_name_pattern: ../x.pcap", "/r/a", "x.pcap"),
        ("file_name_pattern: 'd/%T-{site}.pcap', site: 5%", "/r/d", "%H:%M:%S-5%%.pcap"),
        ("file_name_pattern: '%D.pcap'", "/r/%m/%d", "%y.pcap"),
        ("file_name_pattern: '{{x}}%%{conn_type}-{rotate_log}.pcap'", "/r", "{{x}}%%udp-True.pcap"),
    ],
)
def test_files_go_where_ait_put_them(keys: str, log_dir: str, name: str) -> None:
    """Path and pattern are one path there; fields of the handler are written in."""
    handler = one(f"{UDP}, {keys}")
    assert (handler["log_dir"], handler["file_name_pattern"]) == (log_dir, name)


@pytest.mark.parametrize(
    ("keys", "rotation", "told"),
    [
        ("rotate_log: false", {"rotate_log": False}, []),
        ("rotate_log: 0", {"rotate_log": False}, ["rotate_log: 0 is taken as False, as in AIT"]),
        ("rotate_log_index: tm_mon", {"rotate_log_index": "tm_mon"}, []),
        ("rotate_log_index: weeks", {"rotate_log_index": "day"}, ["'weeks' is no unit: as in AIT it means \"day\""]),
        ("rotate_log_index: [1]", {"rotate_log_index": "day"}, ["a list is no unit"]),
        ("rotate_log_delta: 90", {"rotate_log_delta": 90}, ["90 is real elapsed time"]),
        ("rotate_log_delta: '1'", {"rotate_log_delta": 1}, ["'1' is taken as a number; AIT fails"]),
        ("rotate_log_delta: 0", {"rotate_log": False, "rotate_packets": 1}, ["a new file for each packet, as in AIT"]),
        ("rotate_log_delta: 1.5", {"rotate_log_delta": 2}, ["1.5 is rounded up to 2", "2 is real elapsed time"]),
    ],
)
def test_rotation_is_taken_over(keys: str, rotation: dict[str, Any], told: list[str]) -> None:
    """Whatever means something else is said."""
    assert rotation.items() <= one(f"{UDP}, {keys}").items()
    found = warned(f"{UDP}, {keys}")
    assert len(found) == len(told)
    assert all(text in line for text, line in zip(told, found, strict=True))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("pre_write_transforms: [identity_transform]", "identity_transform changes nothing and is left out"),
        ("pre_write_transforms: sys", 'write pre_write_transforms = ["your_module:function"]'),
        ("path: /abs", "is absolute and not below root_log_directory"),
        ("site: x", "site: means nothing to AIT and is left out"),
        ("site: x, path: '{site}'", "site: its value is written into the paths"),
    ],
)
def test_other_changes_are_said(keys: str, told: str) -> None:
    """With the line of the handler."""
    (line,) = warned(f"{UDP}, {keys}")
    assert line.startswith("bsc.yaml:3: handlers[0].")
    assert told in line


def test_names_become_unique_and_paths_stay() -> None:
    """AIT does not mind equal names; files must not be mixed, though."""
    text = f"handlers:\n- {{{UDP}, path: x}}\n- {{{UDP}, path: y}}\n- {{{UDP}, path: x}}\n"
    text += "- {name: ü b, conn_type: udp, address: ['', 8501]}"
    converted = run(text)
    handlers = [handler for capture in converted.captures for handler in capture["handler"]]
    assert [handler["name"] for handler in handlers] == ["a", "a-2", "a-3", "b"]
    assert [handler["file_name_pattern"].partition("%S-")[2] for handler in handlers] == [
        "{name}.pcap", "a.pcap", "a.pcap", "ü b.pcap",
    ]  # fmt: skip
    assert handlers[2]["file_name_pattern"] == "{name}-%Y-%m-%d-%H-%M-%S-a.pcap"


def test_a_second_conn_type_of_an_address_is_ignored_as_in_ait() -> None:
    """There the handler joins the socket that is open."""
    converted = run(f"handlers:\n- {{{UDP}}}\n- {{name: b, conn_type: tcp, address: ['', 8500]}}")
    (capture,) = converted.captures
    assert capture["conn_type"] == "udp"
    assert len(capture["handler"]) == 2
    assert any("AIT ignores it" in warning.text for warning in converted.warnings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "bsc.yaml: has no list of handlers: this is not a bsc.yaml"),
        ("bsc: {filename: bsc.yaml}", "bsc.yaml: has no list of handlers: this is not a bsc.yaml, AIT's main"),
        ("handlers:", "bsc.yaml: has no list"),
        ("handlers: [5]", "bsc.yaml:1: handlers[0]: expected a handler, got 5"),
        ("handlers: [{name: a, address: ['', 1]}]", "handlers[0].conn_type: missing"),
        ("handlers: [{name: a, type: udp, address: ['', 1]}]", 'conn_type: missing, is it what "type" says?'),
        ("handlers: [{name: a, conn_type: serial, address: ['', 1]}]", "'serial' is none of udp, tcp, ethernet"),
        ("handlers: [{conn_type: udp, address: ['', 1]}]", "handlers[0].name: missing"),
        ("handlers: [{name: a, conn_type: udp}]", "address: expected [host, port]"),
        ("handlers: [{name: a, conn_type: udp, address: ['', 99999]}]", "address: expected [host, port]"),
        ("handlers: [{name: a, conn_type: udp, address: ['', ETH_P_ALL]}]", "address: expected [host, port]"),
        ("handlers: [{name: a, conn_type: tcp, address: ['', 1]}]", "a TCP handler connects: its host is missing"),
        (f"handlers: [{{{UDP}, path: '{{log_rot_time}}'}}]", "'{log_rot_time}' names no key of the handler"),
        (f"handlers: [{{{UDP}, path: '{{name.__class__}}'}}]", "'{name.__class__}': only plain fields are possible"),
        (f"handlers: [{{{UDP}, path: '{{name:>9999999999}}'}}]", "only plain fields are possible"),
        (f"handlers: [{{{UDP}, path: 'a{{b'}}]", "has a single brace"),
        (f"handlers: [{{{UDP}, file_name_pattern: '%I%p.pcap'}}]", "'%I' is not available in paths"),
        (f"handlers: [{{{UDP}, file_name_pattern: 'x.part'}}]", 'must not end in ".part"'),
        (f"handlers: [{{{UDP}, rotate_log_delta: soon}}]", "expected a number up to 1000000, got 'soon'"),
    ],
)
def test_what_cannot_be_taken_over_is_told(text: str, told: str) -> None:
    """Each with its line; nothing is guessed."""
    (line,) = refused(text)
    assert told in line


def test_all_mistakes_are_told_at_once() -> None:
    """As everywhere."""
    assert len(refused("handlers: [5, {name: a}, {conn_type: udp, address: 7}]")) == 5


def test_huge_values_are_not_written_out() -> None:
    """A list of lists of lists may be larger than memory as a text."""
    bomb: Any = ["x"]
    for _ in range(40):
        bomb = [bomb] * 10
    handler = {"name": "a", "conn_type": "udp", "address": ["", 1], "extra": bomb, "rotate_log": bomb}
    converted = convert(Document("x", {"handlers": [handler], "other": bomb}, {}))
    assert max(len(str(warning)) for warning in converted.warnings) < 300


KEYS = st.sampled_from(
    ["name", "conn_type", "address", "path", "file_name_pattern", "rotate_log", "rotate_log_index", "rotate_log_delta",
     "pre_write_transforms", "site"]
)  # fmt: skip
TEXTS = st.text(alphabet="ab{}%./~ YmZ:!\0é", max_size=12) | st.sampled_from(
    ["udp", "tcp", "ethernet", "{name}", "{site}"]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS | st.integers(), max_size=3)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=10).map(
    lambda more: {"name": "a", "conn_type": "udp", "address": ["", 1], **more}
), max_size=3))  # fmt: skip
def test_any_values_become_toml_or_mistakes(handlers: list[dict[str, Any]]) -> None:
    """No other exception; and what is printed can be read."""
    try:
        converted = convert(Document("x", {"handlers": handlers}, {}))
    except ExceptionGroup as group:
        if group.split(ConfigError)[1] is not None:
            raise
        return
    assert tomllib.loads(render_captures(converted.captures, "x")).get("capture", []) == converted.captures
