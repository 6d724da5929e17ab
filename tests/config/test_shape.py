"""Names and types of keys: every mistake at once, in the user's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from appliance.config.report import Report
from appliance.config.shape import EACH, HOLE, build, select
from appliance.config.tables import Config, Zmq
from appliance.units import Secret

Mistakes = Callable[..., list[str]]

ZMQ = '[[zmq]]\nname = "bro"\nbind = ["tcp://*:0"]\n'
CAPTURE = '[[capture]]\nname = "c"\nconn_type = "udp"\naddress = ["", 0]\n[[capture.handler]]\nname = "raw"\n'
HOOK = '[[hook]]\nname = "h"\non = ["log:*"]\nrun = "a:b"\n'
NAME_TOLD = "site.toml:2: appliance.name: expected 1 to 64 letters, digits, '.', '_' and '-', got \"\""
SIZE_TOLD = (
    "site.toml:4: zmq[0].max_record: '1 byte' is not a size, write a number and a unit "
    "(B KiB MiB GiB TiB kB KB MB GB TB)"
)
SINK = '[[sink]]\nname = "s"\non = ["log:*"]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[capture]]\nname = 'c'\nconn_tipe = 'udp'\naddress = ['', 0]\n[[capture.handler]]\nname = 'raw'\n",
         'site.toml:3: capture[0].conn_tipe: unknown key, did you mean "conn_type"?'),
        ("[sinks]\n", 'site.toml:1: sinks: unknown table, did you mean "sink"?'),
        ("[recoder]\n", 'site.toml:1: recoder: unknown table, did you mean "recorder"?'),
        ("[xyzzy]\n", "site.toml:1: xyzzy: unknown table"),
        (HOOK + "bach = 1", 'site.toml:5: hook[0].bach: unknown key, did you mean "batch"?'),
        ("[log]\nqqqq = 1\n", "site.toml:2: log.qqqq: unknown key"),
        ("[[sink]]\nname = 's'\n", "site.toml:1: sink[0].on: missing"),
        ("\n[[zmq]]\nname = 'z'\n", "site.toml:2: zmq[0].bind: missing"),
        ("log = 5", "site.toml:1: log: expected a table, got an integer"),
        ("[[log]]", "site.toml:1: log: expected a table, got an array, write [log]"),
        ("[zmq]", "site.toml:1: zmq: expected an array of tables, got a table, write [[zmq]]"),
        ("zmq = [1]", "site.toml:1: zmq[0]: expected a table, got an integer"),
        ("[[zmq]]\nname = 'b'\nbind = 'tcp://*:0'",
         'site.toml:3: zmq[0].bind: expected an array, got a string, write ["tcp://*:0"]'),
        ("[api]\nlisten = 5", "site.toml:2: api.listen: expected an array, got an integer"),
        ("[api]\nlisten = [\n 5]", "site.toml:3: api.listen[0]: expected a string, got an integer"),
        ("[[zmq]]\nname = 'b'\nbind = []", "site.toml:3: zmq[0].bind: must not be empty"),
        ("[[capture]]\nname = 'c'\nconn_type = 'udp'\naddress = ['']\n[[capture.handler]]\nname = 'raw'\n",
         "site.toml:4: capture[0].address: expected 2 elements, got 1"),
        ("[[capture]]\nname = 'c'\nconn_type = 'udp'\naddress = ['', 65536]\n[[capture.handler]]\nname = 'raw'\n",
         "site.toml:4: capture[0].address[1]: expected 0 to 65535, got 65536"),
        (ZMQ + "rename = 1", "site.toml:4: zmq[0].rename: expected a table, got an integer"),
        (ZMQ + "rename = {'a.b' = 1}", 'site.toml:4: zmq[0].rename."a.b": expected a string, got an integer'),
        (ZMQ + "hwm = '1'", "site.toml:4: zmq[0].hwm: expected an integer, got a string"),
        (ZMQ + "hwm = true", "site.toml:4: zmq[0].hwm: expected an integer, got a boolean"),
        (ZMQ + "hwm = 0", "site.toml:4: zmq[0].hwm: expected 1 to 10000000, got 0"),
        (CAPTURE + "rotate_packets = -1",
         "site.toml:7: capture[0].handler[0].rotate_packets: expected at least 0, got -1"),
        (CAPTURE + "align = 1", "site.toml:7: capture[0].handler[0].align: expected true or false, got an integer"),
        ("[appliance]\nname = ''", NAME_TOLD),
        ("[appliance]\nname = 5.5", "site.toml:2: appliance.name: expected a string, got a float"),
        ("[appliance]\ndrain_timeout = 10",
         'site.toml:2: appliance.drain_timeout: 10 has no unit, write a duration like "10s"'),
        ("[appliance]\ndrain_timeout = 1.5",
         'site.toml:2: appliance.drain_timeout: expected a duration like "10s", got a float'),
        ("[appliance]\ndrain_timeout = '10'",
         "site.toml:2: appliance.drain_timeout: '10' is not a duration, write a number and a unit (ns us ms s m h d)"),
        (ZMQ + "max_record = true", 'site.toml:4: zmq[0].max_record: expected a size like "64KiB", got a boolean'),
        (ZMQ + "max_record = -1", "site.toml:4: zmq[0].max_record: -1 is not a number of bytes"),
        (ZMQ + "max_record = '1 byte'",
         SIZE_TOLD),
        ("[log]\nlevel = 'inof'",
         'site.toml:2: log.level: expected "debug", "info", "warning" or "error", got "inof", did you mean "info"?'),
        ("[log]\nlevel = 'x'", 'site.toml:2: log.level: expected "debug", "info", "warning" or "error", got "x"'),
        ("[log]\nlevel = 1", 'site.toml:2: log.level: expected "debug", "info", "warning" or "error", got an integer'),
        ("[log]\nlevel = []", 'site.toml:2: log.level: expected "debug", "info", "warning" or "error", got an array'),
    ],
)  # fmt: skip
def test_each_mistake_is_told_once_with_its_place(mistakes: Mistakes, text: str, told: str) -> None:
    """File, line, key path, what is wrong, and what to write instead: exactly one line for one mistake."""
    assert mistakes(text) == [told]


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    """Nobody has to start the program five times to find five mistakes."""
    assert mistakes("[log]\nlevel = 1\nformat = 2\n[[zmq]]\nhwm = 0\n[api]\nlisten = [1, 2]\n") == [
        'site.toml:2: log.level: expected "debug", "info", "warning" or "error", got an integer',
        'site.toml:3: log.format: expected "auto", "console" or "json", got an integer',
        "site.toml:4: zmq[0].name: missing",
        "site.toml:4: zmq[0].bind: missing",
        "site.toml:5: zmq[0].hwm: expected 1 to 10000000, got 0",
        "site.toml:7: api.listen[0]: expected a string, got an integer",
        "site.toml:7: api.listen[1]: expected a string, got an integer",
    ]


def test_a_hole_stays_a_hole() -> None:
    """What was refused before is not refused again."""
    report = Report("site.toml")
    assert build(HOLE, int, ("a",), report) is HOLE
    assert report.errors() == []


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        (1, float, 1.0),
        ("x", Secret, Secret("x")),
        ({"any": [1]}, Any, {"any": [1]}),
        ("a", Literal["a"], "a"),
    ],
)
def test_values_are_taken(value: Any, kind: Any, made: Any) -> None:
    """An integer is good for a float; a secret is a text; anything goes where anything is allowed."""
    report = Report("site.toml")
    got = build(value, kind, ("a",), report)
    assert (got, type(got)) == (made, type(made))
    assert report.errors() == []


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (1, Secret, "expected a string, got an integer"),
        ("x", float, "expected a number, got a string"),
        (5, Annotated[int, Meta(multiple_of=2)], "Expected `int` that's a multiple of 2"),
    ],
)
def test_values_are_refused(value: Any, kind: Any, told: str) -> None:
    """A limit without words of its own is told in msgspec's."""
    report = Report("site.toml")
    assert build(value, kind, ("a",), report) is HOLE
    assert [each.message for each in report.errors()] == [told]


def test_select_walks_around_holes() -> None:
    """Later checks see only what is sound."""
    sound = Zmq(name="b", bind=("x", HOLE))
    config = Config(zmq=(HOLE, sound), capture=HOLE)
    assert list(select(config, "zmq", EACH, "bind", EACH)) == [(("zmq", 1, "bind", 0), "x")]
    assert list(select(config, "capture", EACH)) == []
