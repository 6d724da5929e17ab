"""Commands that change something tell programs what they did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import main

from .answers import Answers

CAPTURES = {"captures": [{"name": "c", "handlers": [{"name": "raw"}, {"name": "other"}]}]}
SEGMENT = {"path": "/x.pcap", "packets": 5, "size": 1000}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Answers]:
    with Answers(tmp_path / "api.sock") as made:
        made.answers = {
            "GET /v1/captures": [(200, CAPTURES)],
            "POST /v1/captures": [(201, {"capture": "c", "handlers": []})],
            "POST /v1/captures/c/raw/rotate": [(200, {"segments": [SEGMENT]})],
            "DELETE /v1/captures/c/raw": [(200, {"stopped": 1})],
            "POST /v1/hooks/retry": [(200, {"count": 2})],
            "POST /v1/events": [(202, {"peers": 3})],
        }
        yield made


@pytest.mark.parametrize(
    ("words", "document", "text"),
    [
        ("capture start raw udp :8500", {"capture": "c", "handlers": []}, "started c/raw\n"),
        ("capture stop raw", {"stopped": ["c/raw"]}, "stopped c/raw\n"),
        ("capture rotate raw", {"segments": [SEGMENT]}, "/x.pcap: 5 packets, 1,000 bytes\n"),
        ("hooks retry --all", {"count": 2}, "2 dead letters to be tried again\n"),
        ("publish event zeek/event/x X::y 1", {"peers": 3}, "queued for 3 peers\n"),
    ],
)
def test_what_was_done_is_printed(
    served: Answers, capsys: pytest.CaptureFixture[str], words: str, document: dict[str, Any], text: str
) -> None:
    """As a line for people, or as one document for programs."""
    command = [*words.split(), "--socket", str(served.path)]
    assert main(command) == 0
    assert capsys.readouterr().out == text
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def test_the_exit_code_does_not_depend_on_the_form(served: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """Letters that are none any more are told with 1."""
    assert main(["hooks", "retry", "1", "2", "3", "--json", "--socket", str(served.path)]) == 1
    assert json.loads(capsys.readouterr().out) == {"count": 2}


def test_a_handler_that_is_not_there_is_told_with_those_that_are(
    served: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is done to the others that were named."""
    assert main(["capture", "stop", "raw", "rwa", "--socket", str(served.path)]) == 1
    assert capsys.readouterr().err == "broappliance: there is no handler 'rwa' (there are: c/raw, c/other)\n"
    assert served.asked == ["GET /v1/captures"]
