"""``broappliance evidence``: what it asks and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import evidence, main

PENDING = {
    "id": 7, "evidence": "notices", "state": "pending", "query": "host 10.0.0.1",
    "from": "2026-11-21T10:15:00.000000000Z",
    "to": "2026-11-21T10:16:00.000000000Z", "alarms": 1, "packets": 3, "bytes": 99, "failures": 0, "pcap": "/e/x.pcap",
}  # fmt: skip
FINISHED = {
    "id": 7, "evidence": "notices", "state": "finished", "pcap": "/e/x.pcap", "note": "/e/x.json", "packets": 3,
    "bytes": 99, "alarms": 1, "complete": True, "missing": [],
}  # fmt: skip


class FakeAppliance:
    """Answers in its order, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, _: Path, method: str, target: str, body: Any = None, **__: Any) -> tuple[int, Any]:
        self.asked.append((method, target, body))
        answer = self.answers.pop(0)
        return answer if isinstance(answer, tuple) else (200, answer)


def run(monkeypatch: pytest.MonkeyPatch, appliance: FakeAppliance, *arguments: str) -> int:
    monkeypatch.setattr(evidence, "ask", appliance)
    try:
        return main(["evidence", *arguments, "--socket", "/nowhere"])
    except SystemExit as exc:
        return int(exc.code or 0)


def test_request_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As long as it takes; the path is all that is printed."""
    appliance = FakeAppliance({"evidence": [{"name": "notices"}]}, PENDING, PENDING, FINISHED)
    code = run(monkeypatch, appliance, "request", "--host", "10.0.0.1", "--host", "10.0.0.2", "--at", "-5m", "--wait")
    assert (code, capsys.readouterr().out) == (0, "/e/x.pcap\n")
    body = {"host": ["10.0.0.1", "10.0.0.2"], "at": "-5m", "reason": ""}
    assert appliance.asked[1] == ("POST", "/v1/evidence/notices", body)
    assert [target for _, target, _ in appliance.asked[2:]] == ["/v1/evidence/notices/7?wait=30"] * 2


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, and by the exit code."""
    done = FINISHED | {"complete": False, "missing": ["kernel from 1 to 2"]}
    code = run(monkeypatch, FakeAppliance(PENDING, done), "request", "notices", "--all", "--wait")
    told = capsys.readouterr()
    assert (code, told.out, told.err) == (3, "/e/x.pcap\n", "missing: kernel from 1 to 2\n")
    done |= {"pcap": None}
    assert run(monkeypatch, FakeAppliance(PENDING, done), "request", "notices", "--all", "--wait", "--json") == 3
    assert json.loads(capsys.readouterr().out) == done


def test_without_waiting_the_place_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And until when."""
    assert run(monkeypatch, FakeAppliance(PENDING), "request", "notices", "--uid", "C1", "--before", "5m") == 0
    assert "/e/x.pcap will be there after 2026-11-21T10:16:00Z" in capsys.readouterr().out


def test_list_shows_what_is_pending_and_what_is_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As tables, or as it came."""
    note = FINISHED | {"pcap": None, "missing": ["kernel"]}
    document = {"evidence": [{"name": "notices", "recorder": "edge", "pending": [PENDING], "finished": [note]}]}
    assert run(monkeypatch, FakeAppliance(document), "list") == 0
    shown = capsys.readouterr().out
    assert "host 10.0.0.1" in shown
    assert "/e/x.json" in shown
    assert run(monkeypatch, FakeAppliance(document), "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    ("arguments", "answer", "code", "text"),
    [
        (["notices", "--conn", "x"], (400, {"title": "t", "where": "conn", "detail": "is none"}), 2, "is none"),
        (["notices", "--all"], (409, {"title": "not now", "detail": "refused: rate_limit"}), 1, "rate_limit"),
        (["notices", "--all"], (500, None), 1, "HTTP 500"),
        (["--all"], {"evidence": [{"name": "a"}, {"name": "b"}]}, 1, "a, b"),
        (["--all"], {"evidence": []}, 1, "no [[evidence]]"),
        ([], None, 2, "required"),
    ],
)
def test_refusals_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], answer: Any, code: int, text: str,
) -> None:  # fmt: skip
    """In the appliance's words."""
    assert run(monkeypatch, FakeAppliance(answer), "request", *arguments) == code
    assert text in capsys.readouterr().err
