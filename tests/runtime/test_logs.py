"""The appliance's own log."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from trio.testing import MockClock

from appliance.runtime.logs import Throttle, configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The configuration of structlog is global."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(text)

    def flush(self) -> None:
        raise BrokenPipeError


def test_json_is_one_object_a_line() -> None:
    """With a stamp, a level and everything else as it is."""
    out = io.StringIO()
    configure_logs(level="info", style="auto", stream=out)
    structlog.get_logger("x").info("some\nthing", count=3, path=Path("/x"), text="ä")
    line = json.loads(out.getvalue())
    assert out.getvalue().count("\n") == 1
    assert line.pop("ts").endswith("Z")
    assert line == {"event": "some\nthing", "level": "info", "count": 3, "path": "/x", "text": "ä"}


@pytest.mark.parametrize("value", ["\udcff/file", 1 << 70, {1, 2}, float("nan"), b"\xff", object()])
def test_every_value_can_be_logged(value: object) -> None:
    """A file name that is no text costs no service its life."""
    out = io.StringIO()
    configure_logs(level="info", style="json", stream=out)
    structlog.get_logger("x").info("strange", value=value)
    assert json.loads(out.getvalue())["event"] == "strange"
    assert out.getvalue().encode()


def test_an_exception_is_data_in_json() -> None:
    """Not lines of text."""
    out = io.StringIO()
    configure_logs(level="info", style="json", stream=out)
    structlog.get_logger("x").warning("failed", exc_info=ValueError("because"))
    assert json.loads(out.getvalue())["exception"][0]["exc_value"] == "because"


def test_console_is_for_people() -> None:
    """Colours only on a terminal."""
    plain, coloured = io.StringIO(), Terminal()
    for style, out in (("console", plain), ("auto", coloured)):
        configure_logs(level="info", style=style, stream=out)
        structlog.get_logger("x").info("hello", name="n")
    assert "hello name=n" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()
    assert "\x1b" in coloured.getvalue()


def test_a_new_level_holds_for_loggers_that_exist() -> None:
    """A reload changes it."""
    out = io.StringIO()
    log = structlog.get_logger("x")
    for level, count in (("warning", 0), ("debug", 1), ("error", 1)):
        configure_logs(level=level, style="json", stream=out)
        log.debug("detail")
        assert out.getvalue().count("\n") == count


def test_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to commands."""
    configure_logs(level="info", style="json")
    structlog.get_logger("x").info("hello")
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err)["event"] == "hello"


def test_a_reader_that_has_gone_stops_nobody() -> None:
    """What is written then is lost."""
    configure_logs(level="info", style="json", stream=Gone())
    structlog.get_logger("x").info("hello")


def test_throttle_lets_one_through_and_counts_the_others() -> None:
    """For each key by itself."""
    now_s = 100.0
    throttle = Throttle(60.0, clock=lambda: now_s)
    assert [throttle.admit("a"), throttle.admit("a"), throttle.admit("b"), throttle.admit("a")] == [0, None, 0, None]
    now_s = 159.9
    assert throttle.admit("a") is None
    now_s = 160.0
    assert throttle.admit("a") == 3
    assert throttle.admit("a") is None


def test_throttle_forgets_the_oldest_key() -> None:
    """Keys come from the network."""
    throttle = Throttle(60.0, max_keys=2, clock=lambda: 0.0)
    assert [throttle.admit(key) for key in "abc"] == [0, 0, 0]
    assert throttle.admit("b") is None
    assert throttle.admit("a") == 0
    assert throttle.admit("b") == 0


async def test_throttle_keeps_to_the_time_of_the_loop(autojump_clock: MockClock) -> None:
    """By default."""
    throttle = Throttle()
    assert (throttle.admit("a"), throttle.admit("a")) == (0, None)
    autojump_clock.jump(61.0)
    assert throttle.admit("a") == 1


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_tells_no_local_variables(style: str) -> None:
    """Records and the options of hooks do not belong into the log."""
    out = io.StringIO()
    configure_logs(level="info", style=style, stream=out)

    def fail(secret: str) -> None:
        raise ValueError(f"{len(secret)} characters")

    try:
        fail("hun" + "ter2")
    except ValueError:
        structlog.get_logger().warning("it failed", exc_info=True)
    assert "7 characters" in out.getvalue()
    assert "hunter2" not in out.getvalue()
