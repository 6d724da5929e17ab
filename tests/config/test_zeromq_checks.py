"""What goes together in [cluster.zeromq] and in sinks of kind zmq."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import load, plan_node, plan_proxy

Mistakes = Callable[..., list[str]]

HEAD = "[cluster]\nbackend = 'zeromq'\n[cluster.zeromq]\n"
PLACES = "read = 'tcp://127.0.0.1:1'\nwrite = 'tcp://127.0.0.1:2'\n"


def at(line: int, rest: str) -> str:
    """A mistake in the table."""
    return f"site.toml:{line}: cluster.zeromq.{rest}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[cluster.zeromq]\n" + PLACES,
            [
                at(2, 'read: needs the ZeroMQ backend, write backend = "zeromq"'),
                at(3, 'write: needs the ZeroMQ backend, write backend = "zeromq"'),
            ],
        ),
        (
            HEAD + "read = 'tcp://h:1'\n",
            [at(3, "write: missing, read needs it, events come from the one and go to the other")],
        ),
        (
            HEAD + "write = 'tcp://h:1'\n",
            [at(3, "read: missing, write needs it, events come from the one and go to the other")],
        ),
        (
            HEAD + "read = 'tcp://h:1'\nwrite = 'tcp://h:1'\n",
            [at(5, "write: is the same as read, the proxy has an address for each")],
        ),
        (
            HEAD + "read = 'tcp://*:1'\nwrite = 'tcp://h:0'\n",
            [
                at(4, "read: expected a host and a port to connect to, got 'tcp://*:1'"),
                at(5, "write: expected a host and a port to connect to, got 'tcp://h:0'"),
            ],
        ),
        (
            HEAD + "read = 'h:1'\nwrite = 'tcp://h:2'\n",
            [at(4, 'read: expected "tcp://host:port" or "ipc:///path", got \'h:1\'')],
        ),
        (
            HEAD + "subscribe = ['a.']\nrun_proxy = true\n",
            [
                at(4, "subscribe: has no effect without events, set read and write"),
                at(5, "run_proxy: has no effect without events, set read and write"),
            ],
        ),
        (HEAD + PLACES + "subscribe = ['<$>/x']\n", [at(6, 'subscribe[0]: "<$>/x" is one of Broker\'s own')]),
        (
            HEAD + PLACES + "run_proxy = true\nlog_bind = 'tcp://*:2'\n",
            [at(5, "write: is bound already by cluster.zeromq.log_bind at site.toml:7")],
        ),
        (
            HEAD + PLACES + "curve_server_public_key_file = 'k'\n",
            [at(6, "curve_server_public_key_file: needs the client's secret key, set curve_secret_key_file")],
        ),
        (
            HEAD + PLACES + "run_proxy = true\ncurve_server_public_key_file = 'k'\ncurve_secret_key_file = 's'\n",
            [at(7, "curve_server_public_key_file: needs the client's secret key, set curve_client_secret_key_file")],
        ),
        (
            HEAD + PLACES + "curve_public_key_file = 'k'\n",
            [at(6, "curve_public_key_file: needs the server's public key, set curve_server_public_key_file")],
        ),
        (
            HEAD + PLACES + "curve_secret_key_file = 's'\n",
            [
                at(
                    6,
                    "curve_secret_key_file: needs the server's public key for events, set curve_server_public_key_file",
                )
            ],
        ),
        (HEAD + PLACES + "queue_bytes = 0\n", [at(6, "queue_bytes: must be more than 0")]),
    ],
)
def test_what_does_not_go_together(mistakes: Mistakes, text: str, told: list[str]) -> None:
    """One line for each mistake, with what to do."""
    assert mistakes(text) == told


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            "",
            ['site.toml:1: sink[0].endpoint: missing, where the subscriber binds: "tcp://host:port" or "ipc:///path"'],
        ),
        ("endpoint = 'tcp://*:5'\n",
         ["site.toml:5: sink[0].endpoint: expected a host and a port to connect to, got 'tcp://*:5'"]),
        ("endpoint = 'ipc:///s'\npath = 'x'\n",
         ['site.toml:6: sink[0].path: is for files, leave it out, or write kind = "jsonl"']),
        ("endpoint = 'ipc:///s'\ntopic = 'x'\n",
         ['site.toml:6: sink[0].topic: is for Broker, leave it out, or write kind = "broker"']),
    ],
)  # fmt: skip
def test_sinks_of_kind_zmq(mistakes: Mistakes, keys: str, told: list[str]) -> None:
    """They need an endpoint, and nothing of the others."""
    assert mistakes(f"[[sink]]\nname = 's'\nkind = 'zmq'\non = ['log:*']\n{keys}") == told


def test_a_sink_of_kind_zmq_takes_logs_only(mistakes: Mistakes) -> None:
    """Nothing else has a path; an endpoint is for no other kind."""
    text = "[[sink]]\nname = 's'\nkind = 'zmq'\non = ['event:*']\nendpoint = 'ipc:///s'\n"
    assert mistakes(text) == ['site.toml:4: sink[0].on[0]: "event:*" is no log, write kind = "broker"']
    text = "[[sink]]\nname = 's'\non = ['log:*']\nendpoint = 'ipc:///s'\n"
    assert mistakes(text) == ['site.toml:4: sink[0].endpoint: is for ZeroMQ, leave it out, or write kind = "zmq"']


def test_events_can_be_published_through_the_node(mistakes: Mistakes) -> None:
    """A sink of kind broker needs no Broker, and may name the door."""
    sink = (
        "[[sink]]\nname = 's'\nkind = 'broker'\non = ['event:*']\ntopic = 't'\nvia = ['cluster']\nfrom = ['cluster']\n"
    )
    assert mistakes(HEAD + PLACES + sink) == []
    assert len(mistakes(HEAD + "log_bind = 'tcp://*:1'\n" + sink)) == 2


def load_text(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(f"[appliance]\nname = 'a'\nstate_dir = 'state'\n{text}")
    return path


def test_what_the_node_and_the_proxy_are_made_from(tmp_path: Path) -> None:
    """Places and keys are absolute; each socket gets the key that is for it."""
    keys = ("server_public", "secret", "client_secret", "client_public")
    text = HEAD + "read = 'ipc://r'\nwrite = 'ipc://w'\nrun_proxy = true\nsubscribe = ['x.']\n"
    text += "".join(f"curve_{key}_key_file = '{key}'\n" for key in keys)
    config = load(load_text(tmp_path, text), environ={}).config
    node, proxy = plan_node(config), plan_proxy(config)
    assert node is not None
    assert proxy is not None
    assert (node.read, proxy.write) == (f"ipc://{tmp_path}/state/r", f"ipc://{tmp_path}/state/w")
    assert node.server_public_key_file == f"{tmp_path}/server_public"
    assert node.secret_key_file == f"{tmp_path}/client_secret"
    assert (proxy.secret_key_file, proxy.client_public_key_file) == (f"{tmp_path}/secret", f"{tmp_path}/client_public")
    assert (node.is_listed, node.announces, node.topics) == (False, False, ("x.",))


def test_who_we_are_decides_what_we_subscribe_to(tmp_path: Path) -> None:
    """A node of the layout gets what is for its name, role and pool."""
    text = "[cluster]\nbackend = 'zeromq'\nannounce = false\nnodes.a = {type = 'worker'}\n[cluster.zeromq]\n" + PLACES
    config = load(load_text(tmp_path, text), environ={}).config
    node = plan_node(config)
    assert node is not None
    assert plan_proxy(config) is None
    assert (node.is_listed, node.announces) == (True, False)
    assert set(node.topics) == {"zeek.cluster.node.a.", "zeek.cluster.worker", "zeek.cluster.pool.worker"}


def test_a_logger_alone_is_no_node(tmp_path: Path) -> None:
    """Without read and write there are no events."""
    config = load(load_text(tmp_path, HEAD + "log_bind = 'tcp://*:1'\n"), environ={}).config
    assert plan_node(config) is None
    assert config.cluster.is_logger


def test_only_events_go_out_over_zeromq(mistakes: Mistakes) -> None:
    """Logs and prints have no way there."""
    sink = "[[sink]]\nname = 's'\nkind = 'broker'\non = ['print:']\ntopic = 't'\n"
    told = 'site.toml:9: sink[0].on[0]: "print:" cannot go out through ZeroMQ, only events can, '
    assert mistakes(HEAD + PLACES + sink) == [told + 'write [broker], or on = ["event:*"]']
