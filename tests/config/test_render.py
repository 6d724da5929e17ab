"""The effective configuration, printed."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.config import Config, Hook, Secret, load, render, show, tables
from appliance.config.render import _Writer
from appliance.config.tables import (
    Api,
    Appliance,
    Broker,
    Capture,
    Cluster,
    ClusterNode,
    ClusterTopicNames,
    ClusterZeromq,
    Evidence,
    Handler,
    Journal,
    Keep,
    Log,
    Metrics,
    Recorder,
    Sink,
    Store,
    Tail,
    Uids,
    Watch,
    Websocket,
    Zmq,
)
from appliance.units import Duration, Limit, Size

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_LONGER = st.integers(1, 10**18).map(Duration)
_SIZES = st.integers(4096, 1 << 50).map(Size)
_SEGMENTS = st.text(st.sampled_from("ab${}%\"'\\é "), min_size=1, max_size=6)
_FOLDERS = st.lists(_SEGMENTS, min_size=1, max_size=2).map(lambda parts: "/" + "/".join(parts))
_GLOBS = st.lists(_NAMES.map(lambda name: f"log:{name}*"), min_size=1, max_size=3).map(tuple)
_TOML = st.recursive(
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | _TEXTS
    | st.dates()
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz. ", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _unique(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=2, unique_by=lambda table: table.name).map(tuple)


def _consumer() -> dict[str, st.SearchStrategy[Any]]:
    policy = st.sampled_from(["block", "drop_oldest", "drop_newest"])
    return {"name": _NAMES, "on": _GLOBS, "queue": policy, "queue_bytes": _SIZES}


RECORDERS = (
    Recorder(name="edge", interface="lo", directory="/e"),
    Recorder(name="e2", interface="lo", directory="/${e}", cutoff=Limit(3 << 20), budget=Size(1 << 40), fanout=2),
)


EVIDENCE = (
    Evidence(name="a", on=("log:notice",), recorder="edge", where='note == "${x}"', directory="/e/%Y/{name}"),
    Evidence(name="b", on=("event:*",), recorder="e2", directory="/e", queue="block", keep=Keep(size=Size(5))),
)


@st.composite
def _configs(draw: st.DrawFn) -> Config:
    renames = st.dictionaries(st.text("ab.${} ", min_size=1, max_size=4), _TEXTS.filter(lambda text: len(text) > 4))
    zmq = st.builds(
        Zmq, name=_NAMES, bind=st.just(("tcp://*:0",)), rename=renames, heartbeat=_LONGER, max_record=_SIZES
    )
    keep = st.none() | st.builds(Keep, size=st.none() | _SIZES, age=st.none() | _LONGER)
    handler = st.builds(
        Handler,
        name=_NAMES,
        rotate_size=st.none() | _SIZES,
        align=st.booleans(),
        pre_write_transforms=st.sampled_from([(), ("a.b:c",), ("a:b", "a:c.d")]),
        keep=keep,
        compress=st.sampled_from(["none", "zstd"]),
    )
    capture = st.builds(
        Capture,
        name=_NAMES,
        conn_type=st.just("udp"),
        address=st.just(("", 0)),
        multicast=st.sampled_from([(), ("239.1.2.3", "10.0.0.1@232.1.1.1")]),
        handler=st.tuples(handler),
    )
    options = st.dictionaries(st.text("xyz. ", max_size=3), _TOML, max_size=3)
    hook = st.builds(Hook, run=st.just("a.b:c"), where=_TEXTS, timeout=_LONGER, options=options, **_consumer())
    sink = st.builds(Sink, keep=keep, rotate_size=st.none() | _SIZES, flush_every=_LONGER, **_consumer())
    captures = draw(_unique(capture))
    recorders, evidence = draw(st.sampled_from([((), ()), (RECORDERS, ()), (RECORDERS, EVIDENCE)]))
    zeromq = ClusterZeromq(log_bind=draw(st.sampled_from(["tcp://*:0", "tcp://[::1]:0"])), curve_secret_key_file="/k")
    return Config(
        appliance=Appliance(name=draw(_NAMES), state_dir=draw(_FOLDERS), drain_timeout=draw(_LONGER)),
        log=Log(level=draw(st.sampled_from(["debug", "error"]))),
        zmq=draw(_unique(zmq)),
        broker=draw(st.builds(Broker, listen=st.just(("[::1]:0",)), publish=st.none() | st.just(("a", "b/")))),
        cluster=draw(st.sampled_from([Cluster(), Cluster(backend="zeromq", zeromq=zeromq, zeek_version="9.0"), NODE])),
        websocket=draw(
            _unique(
                st.builds(
                    Websocket,
                    name=_NAMES,
                    url=st.sampled_from(("ws://h:1", "wss://[::1]:2/x")),
                    topics=st.sampled_from(((), ("a/", "b."))),
                    publish=st.sampled_from((None, (), ("a/",))),
                    time_zone=st.sampled_from(("UTC", "Europe/Berlin")),
                )
            )
        ),
        tail=draw(_unique(st.builds(Tail, name=_NAMES, paths=st.just(("/l/*.log",)), poll=_LONGER))),
        store=draw(st.sampled_from([(), (Store(name="s", role="clone"), Store(name="A::t", persistent=True))])),
        watch=draw(st.sampled_from([(), (Watch(name="w", directory="/in", what="folders", marker="DONE"),)])),
        capture=tuple(_with(c, handler=(_with(c.handler[0], log_dir=f"/c{n}"),)) for n, c in enumerate(captures)),
        recorder=recorders,
        evidence=evidence,
        uids=draw(st.sampled_from([Uids(), Uids(on=(), max_flows=1000)])),
        journal=draw(st.builds(Journal, durability=st.sampled_from(["batch", "always"]), dead_letters_size=_SIZES)),
        hook=draw(_unique(hook)),
        sink=tuple(_with(sink, path=f"/s{n}/{{path}}") for n, sink in enumerate(draw(_unique(sink)))),
        metrics=draw(st.sampled_from([None, Metrics(), Metrics(listen="[::1]:0")])),
        api=Api(listen=draw(st.sampled_from([(), ("unix:/a",), ("unix:/a", "unix:/${b}")]))),
    )


NODE = Cluster(
    backend="broker",
    role="worker",
    nodes={"a.b": ClusterNode(type="logger", ip="::1", port=1, extra={"f": '"${x}"'}), "ü": ClusterNode(type="none")},
    topics=ClusterTopicNames(logger="x"),
)


def _with(table: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(table, **changes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_configs())
def test_what_is_printed_reads_back_equal(config: Config) -> None:
    """Defaults, absolute paths, escapes and all."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "site.toml")
        file.write_text(render(config), newline="")
        assert load(file, environ={}).config == config


def test_it_looks_as_users_would_write_it() -> None:
    """Units, headers for nested tables, `from` spelled right, nothing without a value."""
    handler = Handler(name="raw", log_dir="/d", rotate_size=Size(1 << 30))
    config = Config(
        appliance=Appliance(name="n"),
        capture=(Capture(name="c", conn_type="udp", address=("", 1), handler=(handler,)),),
        hook=(Hook(name="h", on=("log:*",), run="a:b", from_=("capture.c",), options={"deep": {"level": 1}}),),
        sink=(Sink(name="s", on=("log:*",)),),
    )
    text = render(config)
    for line in (
        'drain_timeout = "10s"\n',
        "\n[[capture]]\n",
        "\n[[capture.handler]]\n",
        'rotate_size = "1GiB"\n',
        '\nfrom = [\n    "capture.c",\n]\n',
        "\n[hook.options.deep]\nlevel = 1\n",
        'rotate_every = "1h"\n',
    ):
        assert line in text
    assert "None" not in text
    assert text.count("rotate_size") == 1


def test_keys_for_sinks_of_another_kind_are_not_written(tmp_path: Path) -> None:
    """Nor refused when the text is read again."""
    file = tmp_path / "site.toml"
    file.write_text("[broker]\nlisten = ['[::1]:0']\n[[sink]]\nname = 's'\non = ['log:*']\nkind = 'broker'\n")
    config = load(file, environ={}).config
    text = render(config)
    assert "rotate_every" not in text
    assert 'topic = ""\n' in text
    assert "\ntopic" not in render(Config(sink=(Sink(name="s", on=("log:*",)),)))
    file.write_text(text)
    assert load(file, environ={}).config == config


def test_secrets_are_masked() -> None:
    """By their type anywhere, by their name in the options of a hook, however deep."""
    options = {
        "Password": "hunter2",
        "api_token": ["hunter2"],
        "user": "me",
        "list": [{"private_key": {"x": "hunter2"}, "since": dt.date(2024, 1, 1)}],
    }
    text = render(Config(hook=(Hook(name="h", on=("log:*",), run="a:b", options=options),)))
    assert "hunter2" not in text
    assert text.count('"********"') == 3
    assert 'user = "me"' in text
    assert "since = 2024-01-01" in text
    assert _Writer({}).plain(Secret("hunter2"), ()) == "********"


def test_where_a_secret_is_may_be_known() -> None:
    """The path of its file is no secret."""
    text = render(Config(hook=(Hook(name="h", on=("log:*",), run="a:b", options={"token_file": "/etc/x"}),)))
    assert 'token_file = "/etc/x"' in text


def test_what_the_environment_said_stays_there(tmp_path: Path) -> None:
    """Secrets come from it: the name is written again, wherever the value is, and reading it gives the same."""
    file = tmp_path / "site.toml"
    file.write_text(
        """[appliance]\nstate_dir = "${DIR}/s"\n[[sink]]\nname = "s"\non = ["log:x"]\npath = "${DIR}/x${EMPTY}"
        [[hook]]\nname = "h"\non = ["log:*"]\ncommand = ["curl", "-H", "Bearer ${SECRET}"]
        [[hook]]\nname = "r"\non = ["log:*"]\nrun = "a:b"
        options = { deep = [{ user = "$${y} ${ODD}" }], key = "${SECRET}" }
        """
    )
    environ = {"SECRET": "hunter2", "ODD": "hunter2${", "DIR": "/data", "EMPTY": ""}
    loaded = load(file, environ=environ)
    text = render(loaded.config, loaded.taken)
    assert "hunter2" not in text
    assert '"Bearer ${SECRET}"' in text
    assert 'user = "$${y} ${ODD}"' in text
    assert 'path = "${DIR}/x"' in text
    assert "hunter2" not in str(show(loaded.config, loaded.taken))
    again = tmp_path / "again.toml"
    again.write_text(text.replace('key = "********"', 'key = "${SECRET}"'))
    assert load(again, environ=environ).config.hook == loaded.config.hook


def test_names_in_other_tables_are_not_masked() -> None:
    """A log path called "token" is no secret."""
    zmq = Zmq(name="z", bind=("tcp://*:0",), rename={"token": "key"})
    assert 'token = "key"' in render(Config(zmq=(zmq,)))


def test_every_table_is_covered_here() -> None:
    """A new table must be added to the round trip above."""
    assert set(Config.__struct_fields__) == {
        "appliance", "log", "zmq", "broker", "cluster", "tail", "watch", "capture", "recorder", "journal", "hook",
        "sink", "evidence", "uids", "api", "store", "websocket", "metrics",
    }  # fmt: skip
    assert tables.Config is Config
