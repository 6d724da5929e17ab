"""What an operator should look at: the rule behind the headline, the exit code, the page and the metric."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from appliance.attention import find_concerns
from appliance.runtime.dialing import DialerFigures
from appliance.runtime.ledger import Ledger
from appliance.runtime.reloads import ReloadOutcome
from appliance.runtime.supervisor import ServiceFigures
from appliance.websocket.figures import ClientFigures
from appliance.zeromq.links import LinkState
from appliance.zeromq.writer import WriterFigures


def service(name: str, state: str = "running", figures: Any = None) -> Any:
    told = ServiceFigures(name=name, state=state, since_s=1.0, restarts=0, last_error="")
    return SimpleNamespace(service=told, figures=figures)


def account(*, lost: int = 0, ago_s: float | None = None, wrong: int = 0) -> Any:
    found = Ledger().account("sink.archive")
    found.received = lost + wrong
    found.drop("queue_full", lost)
    return SimpleNamespace(account=found.statistics(), lost_ago_s=ago_s)


def outcome(*errors: str) -> ReloadOutcome:
    return ReloadOutcome(number=1, ok=not errors, generation=1, at_ns=1, took_s=0.1, errors=errors)


def dialer(*, is_overdue: bool) -> DialerFigures:
    return DialerFigures(
        address="ws://192.0.2.1/",
        state="waiting",
        attempts=9,
        last_error="no route",
        down_s=99.0,
        is_overdue=is_overdue,
    )


def client(*, is_overdue: bool) -> ClientFigures:
    return ClientFigures(peers=(), dialers=(dialer(is_overdue=is_overdue),), refused=0, mended=0)


def writer(*, is_overdue: bool) -> WriterFigures:
    link = LinkState(
        endpoint="tcp://192.0.2.1:5555", is_connected=False, connects=0, attempts=9, last_error="nobody answers",
        down_s=99.0, is_overdue=is_overdue,
    )  # fmt: skip
    return WriterFigures(link=link, subscriptions=0, records=0)


def find(
    *services: Any, ledger: tuple[Any, ...] = (), reload: ReloadOutcome | None = None, is_running: bool = True
) -> list[tuple[str, str]]:
    return [(each.about, each.text) for each in find_concerns(services, ledger, reload, is_running=is_running)]


@pytest.mark.parametrize("state", ["backing-off", "failed", "stopped"])
def test_a_service_that_does_not_run(state: str) -> None:
    """Is named with its state; while the appliance starts, reloads or ends services come and go."""
    assert find(service("sink.archive", state)) == [("service", f"sink.archive is {state}")]
    assert find(service("sink.archive", state), is_running=False) == []


@pytest.mark.parametrize(("state", "is_told"), [("recording", False), ("starting", False), ("down", True)])
def test_a_recorder_that_runs_and_does_not_record(state: str, is_told: bool) -> None:
    """It waits for its interface: nobody else would tell."""
    found = find(service("recorder.edge", figures=SimpleNamespace(state=state)))
    assert found == ([("recorder", f"recorder.edge is {state}")] if is_told else [])


@pytest.mark.parametrize(
    ("make", "told"), [(client, "ws://192.0.2.1/: no route"), (writer, "tcp://192.0.2.1:5555: nobody answers")],
    ids=["websocket", "zmq"],
)  # fmt: skip
def test_an_address_that_is_not_reached_for_too_long(make: Any, told: str) -> None:
    """With the reason; as long as that is normal, all is well."""
    assert find(service("x", figures=make(is_overdue=True))) == [("connection", f"x does not reach {told}")]
    assert find(service("x", figures=make(is_overdue=False))) == []


def test_a_service_that_does_not_run_reaches_nobody() -> None:
    """Which goes without saying."""
    found = find(service("websocket.a", "backing-off", client(is_overdue=True)))
    assert found == [("service", "websocket.a is backing-off")]


@pytest.mark.parametrize(
    ("ago_s", "told"),
    [
        (None, ["sink.archive lost 3"]),
        (5.0, ["sink.archive lost 3"]),
        (600.0, ["sink.archive lost 3, the last 10 min ago"]),
        (3600.0, []),
    ],
    ids=["unknown", "now", "lately", "long-ago"],
)
def test_a_loss_needs_attention_for_an_hour(ago_s: float | None, told: list[str]) -> None:
    """Then it is in the table still, and the exit code is free to tell of the next one."""
    assert [text for _, text in find(ledger=(account(lost=3, ago_s=ago_s),))] == told


def test_books_that_do_not_balance() -> None:
    """By how much."""
    assert find(ledger=(account(wrong=2),)) == [("account", "the books of sink.archive do not balance by 2")]


def test_a_refused_reload() -> None:
    """With every reason; one that was applied is none."""
    assert find(reload=outcome("a.toml:1: x", "a.toml:2: y")) == [
        ("reload", "the last reload was refused: a.toml:1: x; a.toml:2: y")
    ]
    assert find(reload=outcome()) == []


def test_all_is_well() -> None:
    """Nothing needs attention."""
    assert find(service("websocket.a", figures=client(is_overdue=False)), service("sink.a"), ledger=(account(),)) == []


@pytest.mark.parametrize("retrying", [0, 2])
def test_evidence_that_cannot_be_written(retrying: int) -> None:
    """What is tried again is named with the reason; what merely waits for its time is not."""
    figures = SimpleNamespace(retrying=retrying, last_error="No space left on device")
    told = [("evidence", "evidence.notices waits with 2: No space left on device")]
    assert find(service("evidence.notices", figures=figures)) == (told if retrying else [])
