"""``broappliance reload`` and ``config``: what they print, and with which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import main

from .answers import Answers

CHANGES = [
    {"name": "log", "how": "applied", "keys": ["level"]},
    {"name": "zmq.a", "how": "unchanged", "keys": []},
    {"name": "sink.s", "how": "added", "keys": []},
    {"name": "sink.t", "how": "restarted", "keys": ["path", "on"]},
    {"name": "sink.u", "how": "removed", "keys": []},
]
DONE: dict[str, Any] = {
    "number": 3, "ok": True, "generation": 7, "at_ns": 1, "took_s": 0.25, "errors": [], "mistakes": [],
    "changes": CHANGES,
}  # fmt: skip
MISTAKE = {"message": "missing", "file": "site.toml", "line": 4, "key": "zmq[0].bind", "hint": ""}
REFUSED = {
    **DONE, "ok": False, "changes": [], "errors": ["site.toml:4: zmq[0].bind: missing"], "mistakes": [MISTAKE],
}  # fmt: skip
FAILED = {
    **REFUSED, "errors": ["cannot listen"], "mistakes": [{**MISTAKE, "file": "", "line": 0, "key": ""}],
}  # fmt: skip
RUNNING = {"number": 3, "state": "running", "outcome": None}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Answers]:
    with Answers(tmp_path / "api.sock") as made:
        made.answers["POST /v1/reload"] = [(202, {"number": 3, "state": "waiting", "outcome": None})]
        yield made


def done(outcome: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"number": 3, "state": "done", "outcome": outcome}


def test_without_waiting_it_only_asks(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """And says where the outcome is told."""
    assert main(["reload", "--socket", str(endpoint.path)]) == 0
    assert endpoint.asked == ["POST /v1/reload"]
    assert "reload 3 was asked for" in capsys.readouterr().out


def test_what_became_of_every_service(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """What weighs most first; what is unchanged in one line."""
    endpoint.answers["GET /v1/reload/3"] = [(200, RUNNING), (200, RUNNING), done(DONE)]
    assert main(["reload", "--wait", "--socket", str(endpoint.path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "changes",
        "service what became of it keys that differ",
        "sink.u removed",
        "sink.s added",
        "sink.t restarted path, on",
        "log applied live level",
        "unchanged: zmq.a",
        "generation 7: applied, 0.2 s",
    ]


@pytest.mark.parametrize(("outcome", "code"), [(DONE, 0), (REFUSED, 2), (FAILED, 1)])
def test_programs_get_the_outcome(
    endpoint: Answers, capsys: pytest.CaptureFixture[str], outcome: dict[str, Any], code: int
) -> None:
    """Whole, and nothing else, with the same exit code."""
    endpoint.answers["GET /v1/reload/3"] = [done(outcome)]
    assert main(["reload", "--wait", "--json", "--socket", str(endpoint.path)]) == code
    captured = capsys.readouterr()
    assert (json.loads(captured.out), captured.err) == (outcome, "")


@pytest.mark.parametrize(
    ("outcome", "code", "told"),
    [(REFUSED, 2, "site.toml:4: zmq[0].bind: missing"), (FAILED, 1, "broappliance: cannot listen")],
)
def test_a_refusal_is_told(
    endpoint: Answers, capsys: pytest.CaptureFixture[str], outcome: dict[str, Any], code: int, told: str
) -> None:
    """A mistake begins with its file, as compilers write it; and it is said what goes on."""
    endpoint.answers["GET /v1/reload/3"] = [done(outcome)]
    assert main(["reload", "--wait", "--socket", str(endpoint.path)]) == code
    assert capsys.readouterr().err.splitlines() == [
        told,
        "broappliance: reload 3 was refused, generation 7 goes on unchanged",
    ]


def test_an_endpoint_that_is_restarted_is_asked_again(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be among what the reload changes."""
    endpoint.answers["GET /v1/reload/3"] = [(0, None), (0, None), done(DONE)]
    assert main(["reload", "--wait", "--socket", str(endpoint.path)]) == 0
    assert "generation 7" in capsys.readouterr().out


def test_an_appliance_that_ends_is_told(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """The reload was not done: exit code 1."""
    endpoint.answers["GET /v1/reload/3"] = [(200, {**RUNNING, "state": "dropped"})]
    assert main(["reload", "--wait", "--socket", str(endpoint.path)]) == 1
    assert "reload 3 was not done: the appliance ends" in capsys.readouterr().err


def test_patience_has_an_end(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """The reload goes on without anybody waiting: exit code 1."""
    endpoint.answers["GET /v1/reload/3"] = [(200, RUNNING)]
    assert main(["reload", "--wait", "--timeout", "0.05", "--socket", str(endpoint.path)]) == 1
    assert "has not ended within 0.05 s" in capsys.readouterr().err


def test_the_configuration_is_toml(endpoint: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """Or JSON, for programs."""
    document = {"generation": 7, "files": ["a", "b"], "toml": "[log]\n", "config": {"log": {}}}
    endpoint.answers["GET /v1/config"] = [(200, document)]
    assert main(["config", "--socket", str(endpoint.path)]) == 0
    assert capsys.readouterr().out == "# generation 7 of a, b\n[log]\n"
    assert main(["config", "--json", "--socket", str(endpoint.path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"generation": 7, "files": ["a", "b"], "config": {"log": {}}}


@pytest.mark.parametrize("command", ["reload", "config"])
def test_an_older_appliance_says_that_it_cannot(
    endpoint: Answers, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """One line, exit code 1."""
    endpoint.answers |= {
        "POST /v1/reload": [(405, {"title": "only GET is served here"})],
        "GET /v1/config": [(404, {"title": "no such document"})],
    }
    assert main([command, "--socket", str(endpoint.path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
