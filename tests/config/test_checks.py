"""Mistakes across keys and tables, each told once with file, line and key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Mistakes = Callable[..., list[str]]

ZMQ = '[[zmq]]\nname = "bro"\nbind = ["tcp://*:0"]\n'
HANDLER = '[[capture.handler]]\nname = "raw"\n'
CAPTURE = f'[[capture]]\nname = "tele"\nconn_type = "udp"\naddress = ["", 0]\n{HANDLER}'
HOOK = '[[hook]]\nname = "h"\nrun = "a:b"\non = ["log:*"]\n'
BROKER = '[broker]\nlisten = ["127.0.0.1:0"]\n'
SINK = '[[sink]]\nname = "s"\non = ["log:*"]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ZMQ + ZMQ, 'site.toml:5: zmq[1].name: the name "bro" is used twice, first by zmq[0].name at site.toml:2'),
        (HOOK + HOOK, 'site.toml:6: hook[1].name: the name "h" is used twice, first by hook[0].name at site.toml:2'),
        (SINK + "path = 'x'\n" + SINK,
         'site.toml:6: sink[1].name: the name "s" is used twice, first by sink[0].name at site.toml:2'),
        (CAPTURE + CAPTURE.replace("raw", "other"),
         'site.toml:8: capture[1].name: the name "tele" is used twice, first by capture[0].name at site.toml:2'),
        (ZMQ + "heartbeat = '0s'", "site.toml:4: zmq[0].heartbeat: must be more than 0"),
        (ZMQ + "max_wait = '0s'", "site.toml:4: zmq[0].max_wait: must be more than 0"),
        (ZMQ + "max_record = 0", "site.toml:4: zmq[0].max_record: must be more than 0"),
        (HOOK + "timeout = '0s'", "site.toml:5: hook[0].timeout: must be more than 0"),
        (HOOK + "queue_bytes = 0", "site.toml:5: hook[0].queue_bytes: must be more than 0"),
        (SINK + "queue_bytes = 0", "site.toml:4: sink[0].queue_bytes: must be more than 0"),
        (SINK + "rotate_every = '0s'", "site.toml:4: sink[0].rotate_every: must be more than 0"),
        (SINK + "flush_every = '0s'", "site.toml:4: sink[0].flush_every: must be more than 0"),
        (SINK + "rotate_size = 4095", "site.toml:4: sink[0].rotate_size: must be at least 4KiB, got 4095B"),
        (CAPTURE + "rotate_size = '1KiB'",
         "site.toml:7: capture[0].handler[0].rotate_size: must be at least 4KiB, got 1KiB"),
        (CAPTURE.replace(HANDLER, "receive_buffer = 0\n" + HANDLER),
         "site.toml:5: capture[0].receive_buffer: must be more than 0"),
        (CAPTURE.replace(HANDLER, "receive_buffer = '2GiB'\n" + HANDLER),
         "site.toml:5: capture[0].receive_buffer: must be at most 2147483647 bytes, got 2GiB"),
        (HOOK.replace("a:b", "site_hooks.on_http"),
         ('site.toml:3: hook[0].run: expected "package.module:attribute", got "site_hooks.on_http", '
         'did you mean "site_hooks:on_http"?')),
        (HOOK.replace("a:b", "a"), 'site.toml:3: hook[0].run: expected "package.module:attribute", got "a"'),
        (HOOK.replace("a:b", "a:b()"), 'site.toml:3: hook[0].run: expected "package.module:attribute", got "a:b()"'),
        (HOOK.replace("a:b", "a-b.c"), 'site.toml:3: hook[0].run: expected "package.module:attribute", got "a-b.c"'),
        (HOOK.replace("a:b", ":b"), 'site.toml:3: hook[0].run: expected "package.module:attribute", got ":b"'),
        (ZMQ + "rename = {a = 'a'}", 'site.toml:4: zmq[0].rename.a: renames "a" to itself'),
        (ZMQ + "rename = {a = ''}", "site.toml:4: zmq[0].rename.a: a log path must not be empty"),
        (ZMQ + "rename = {'' = 'a'}", 'site.toml:4: zmq[0].rename."": a log path must not be empty'),
        ("[appliance]\nstate_dir = ' '", 'site.toml:2: appliance.state_dir: " " is not the path of a folder'),
        ('[appliance]\nstate_dir = "a\\u0000"',
         'site.toml:2: appliance.state_dir: "a\\u0000" is not the path of a folder'),
        ("[appliance]\npython_path = [\n 'a',\n '']",
         'site.toml:4: appliance.python_path[1]: "" is not the path of a folder'),
        (HOOK.replace("log:*", "http"),
         ('site.toml:4: hook[0].on[0]: "http" does not say what it is, '
         'write "log:http", "event:http", "print:http", "segment:http", "file:http", "folder:http" or "store:http"')),
        (SINK.replace("log:*", "http"),
         ('site.toml:3: sink[0].on[0]: "http" does not say what it is, '
         'write "log:http", "event:http" or "print:http"')),
        (HOOK.replace("log:*", "log:"),
         'site.toml:4: hook[0].on[0]: nothing follows "log:", write "log:*" for all'),
        (HOOK.replace("log:*", "lgo:http"),
         'site.toml:4: hook[0].on[0]: unknown kind "lgo:", did you mean "log:"?'),
        (HOOK.replace("log:*", "zzz:x"),
         ('site.toml:4: hook[0].on[0]: unknown kind "zzz:", '
         'use "log:", "event:", "print:", "segment:", "file:", "folder:", "store:" or "node:"')),
        (HOOK.replace("log:*", "node:gone"),
         'site.toml:4: hook[0].on[0]: a node is never "gone", use "node:up", "node:down" or "node:*"'),
        (SINK.replace("log:*", "segment:x"),
         'site.toml:3: sink[0].on[0]: a sink takes only "log:", "event:", "print:" or "node:", got "segment:x"'),
        (ZMQ + HOOK + "from = ['zmq.bor']",
         'site.toml:8: hook[0].from[0]: no door matches "zmq.bor", did you mean "zmq.bro"?'),
        (ZMQ + SINK + "from = ['bro']",
         'site.toml:7: sink[0].from[0]: no door matches "bro", did you mean "zmq.bro"?'),
        (ZMQ + CAPTURE + HOOK + "from = ['x*']",
         'site.toml:14: hook[0].from[0]: no door matches "x*", there is "zmq.bro" or "capture.tele"'),
        (HOOK + "from = ['zmq.bro']",
         'site.toml:5: hook[0].from[0]: no door matches "zmq.bro", there are no doors'),
        (HOOK + "from = ['broker']",
         'site.toml:5: hook[0].from[0]: no door matches "broker", there are no doors'),
        (BROKER + HOOK + "from = ['broke']",
         'site.toml:7: hook[0].from[0]: no door matches "broke", did you mean "broker"?'),
        (HOOK + "from = ['websocket.x']",
         'site.toml:5: hook[0].from[0]: no door matches "websocket.x", there are no doors'),
        (
            "[[sink]]\nname = 's'\non = ['log:*']\nkind = 'tsv'\nadd_fields = ['_path']\n",
            'site.toml:5: sink[0].add_fields: is for JSON lines, leave it out, or write kind = "jsonl"',
        ),
        (
            "[[sink]]\nname = 's'\non = ['log:*']\nkind = 'tsv'\ntime_format = 'millis'\n",
            'site.toml:5: sink[0].time_format: is for JSON lines, leave it out, or write kind = "jsonl"',
        ),
        (SINK.replace("log:*", "event:x") + "kind = 'tsv'",
         'site.toml:3: sink[0].on[0]: has no columns for "event:x", only for logs, write kind = "jsonl"'),
        (HOOK.replace("log:*", "event:"),
         'site.toml:4: hook[0].on[0]: nothing follows "event:", write "event:*" for all'),
        (HOOK.replace("log:*", "print:bro/print/*"),
         ('site.toml:4: hook[0].on[0]: "print:bro/print/*" is no glob but a prefix of the topic, '
         'write "print:bro/print/"')),
        (SINK + "kind = 'tsv'\ntopic = 'x'",
         'site.toml:5: sink[0].topic: is for Broker, leave it out, or write kind = "broker"'),
        (SINK + "unsolicited = false",
         'site.toml:4: sink[0].unsolicited: is for Broker, leave it out, or write kind = "broker"'),
        (SINK + "kind = 'broker'\nrotate_every = '1h'\n" + BROKER,
         'site.toml:5: sink[0].rotate_every: is for files, leave it out, or write kind = "jsonl"'),
        (SINK.replace("log:*", "event:*") + "kind = 'broker'\n" + BROKER,
         "site.toml:1: sink[0].topic: missing, events and prints need one"),
        (SINK.replace("log:*", "print:") + "kind = 'broker'\ntopic = ''\n" + BROKER,
         "site.toml:5: sink[0].topic: missing, events and prints need one"),
        (SINK + "kind = 'broker'\ntopic = '<$>/local/x'\n" + BROKER,
         'site.toml:5: sink[0].topic: "<$>/local/x" is one of Broker\'s own'),
        (SINK + f"kind = 'broker'\ntopic = '{'x' * 65536}'\n" + BROKER,
         "site.toml:5: sink[0].topic: is longer than 65535 bytes"),
        (SINK + "kind = 'broker'",
         ("site.toml:4: sink[0].kind: there is no endpoint to publish with, "
          "write [broker] with listen or connect, [cluster.zeromq] with read and write, or [[websocket]]")),
        (HOOK + "via = ['broker']", 'site.toml:5: hook[0].via[0]: nothing can be published through "broker"'),
        (BROKER + HOOK + "via = ['brokr']",
         'site.toml:7: hook[0].via[0]: nothing can be published through "brokr", did you mean "broker"?'),
        (BROKER + SINK + "kind = 'broker'\nvia = ['broker', 'zmq.bro']",
         'site.toml:7: sink[0].via[1]: nothing can be published through "zmq.bro", there is "broker"'),
        (SINK + "via = []", 'site.toml:4: sink[0].via: is for Broker, leave it out, or write kind = "broker"'),
        (
            "[cluster.zeromq]\nlog_bind = 'tcp://*:1'\n",
            'site.toml:2: cluster.zeromq.log_bind: needs the ZeroMQ backend, write backend = "zeromq"',
        ),
        (
            "[cluster]\nbackend = 'zeromq'\n[cluster.zeromq]\ncurve_client_public_key_file = 'x'\n",
            (
                "site.toml:4: cluster.zeromq.curve_client_public_key_file: needs the server's secret key, "
                "set curve_secret_key_file"
            ),
        ),
        (ZMQ.replace("tcp://*:0", "tcp://"),
         """site.toml:3: zmq[0].bind[0]: expected "tcp://host:port" or "ipc:///path", got 'tcp://'"""),
        (ZMQ.replace("*:0", "*:5") + ZMQ.replace("*:0", "127.0.0.1:5").replace("bro", "b"),
         "site.toml:6: zmq[1].bind[0]: is bound already by zmq[0].bind[0] at site.toml:3"),
        (CAPTURE.replace('""', '"a/b"'),
         "site.toml:4: capture[0].address: 'a/b' is neither a host's name nor an address"),
        (ZMQ.replace("tcp://*:0", "ipc://x") + "[api]\nlisten = ['unix:x']",
         "site.toml:5: api.listen[0]: is bound already by zmq[0].bind[0] at site.toml:3"),
        ("[api]\nextract_rate = '1KiB'",
         "site.toml:2: api.extract_rate: must be at least 1MiB a second, got 1KiB"),
        ("[api]\nlisten = ['127.0.0.1:80']",
         "site.toml:2: api.listen[0]: a TCP address needs token_file, make a token with: broappliance token new NAME"),
        (CAPTURE + "log_dir = '{nmae}'",
         "site.toml:7: capture[0].handler[0].log_dir: unknown field {nmae}, did you mean {name}?"),
        (CAPTURE + "file_name_pattern = '{path}'",
         ("site.toml:7: capture[0].handler[0].file_name_pattern: unknown field {path}, "
         "possible are {name} {capture} {host} {pid} {seq}")),
        (CAPTURE + "file_name_pattern = '/x'",
         'site.toml:7: capture[0].handler[0].file_name_pattern: "/x" is absolute, the folder is log_dir'),
        (CAPTURE + "file_name_pattern = 'x/'",
         'site.toml:7: capture[0].handler[0].file_name_pattern: "x/" names a folder, not a file'),
        (SINK + "path = 'logs/.'", 'site.toml:4: sink[0].path: "logs/." names a folder, not a file'),
        (SINK + "path = ''", "site.toml:4: sink[0].path: must not be empty"),
        (SINK + "path = 'x.part'",
         'site.toml:4: sink[0].path: must not end in ".part", which marks files that are being written'),
        (SINK + "path = 'logs/{name}'",
         "site.toml:4: sink[0].path: unknown field {name}, possible are {path} {node} {source}"),
        (SINK + SINK.replace('"s"', '"t"'), ("site.toml:4: sink[1].path: writes the same files as sink[0].path at "
                                            "site.toml:1")),
        (CAPTURE + CAPTURE.replace("tele", "b"),
         ("site.toml:11: capture[1].handler[0].file_name_pattern: writes the same files as "
         "capture[0].handler[0].file_name_pattern at site.toml:5")),
        (CAPTURE + "log_dir = 'x'\nfile_name_pattern = 'y'\n" + SINK + "path = './x/y'",
         "site.toml:12: sink[0].path: writes the same files as capture[0].handler[0].file_name_pattern at site.toml:8"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_once_with_its_place(mistakes: Mistakes, text: str, told: str) -> None:
    """File, line, key path, what is wrong, and where the other one is."""
    assert mistakes(text) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[appliance]\ndrain_timeout = '0s'",
        ZMQ + ZMQ.replace("bro", "b"),
        ZMQ + HOOK + "from = ['zmq.*', 'zmq.bro']",
        CAPTURE + HOOK.replace("log:*", "segment:raw") + "from = ['capture.tele']",
        CAPTURE + "log_dir = '/data/{capture}'\n" + CAPTURE.replace("tele", "b") + "log_dir = '/data/{capture}'\n",
        CAPTURE.replace("0]", "53]")
        + CAPTURE.replace('"", 0', '"127.0.0.1", 53').replace("tele", "b").replace("raw", "r"),
        SINK + "path = '/a/%Y'\n" + SINK.replace('"s"', '"t"') + "path = '/a/%%Y'",
        ZMQ + HOOK.replace('"h"', '"bro"'),
        HOOK.replace("a:b", "a.b_1.c:d.e"),
        CAPTURE + "file_name_pattern = 'sub/%s'\n".replace("%s", "%S"),
        SINK + "rotate_size = '4KiB'",
        SINK.replace('"log:*"', '"event:My::*", "print:", "print:bro/print/x"'),
        HOOK.replace('"log:*"', '"event:My::*", "print:", "print:bro/print/x"'),
        BROKER + HOOK + "from = ['broker']\nvia = ['bro*']",
        BROKER + SINK + "kind = 'broker'",
        BROKER + SINK + "kind = 'broker'\n" + SINK.replace('"s"', '"t"') + "kind = 'broker'\ntopic = 'zeek/logs/'",
        BROKER + SINK.replace("log:*", "event:*") + "kind = 'broker'\ntopic = 'x'\nunsolicited = true",
    ],
)  # fmt: skip
def test_what_only_looks_similar_passes(mistakes: Mistakes, text: str) -> None:
    """Port 0 twice, one name in two tables, globs, UDP on one address and on all, sinks without files, and so on."""
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HOOK + "from = ['zmq.bro']\n[zmq]\n",
         "site.toml:6: zmq: expected an array of tables, got a table, write [[zmq]]"),
        (HOOK + "from = ['zmq.bro']\n[[zqm]]\nname = 'bro'\n", 'site.toml:6: zqm: unknown table, did you mean "zmq"?'),
        (HOOK + "from = ['zmq.bro']\n[[zmq]]\nname = 5\nbind = ['tcp://*:0']\n",
         "site.toml:7: zmq[0].name: expected a string, got an integer"),
        ("zmq = [5]\n" + HOOK + "from = ['zmq.bro']\n", "site.toml:1: zmq[0]: expected a table, got an integer"),
        (CAPTURE.replace('""', "5") + HOOK + "from = ['capture.*']\n",
         "site.toml:4: capture[0].address[0]: expected a string, got an integer"),
        (CAPTURE + "log_dir = 5", "site.toml:7: capture[0].handler[0].log_dir: expected a string, got an integer"),
        (SINK + "path = 5\n" + SINK.replace('"s"', '"t"'),
         "site.toml:4: sink[0].path: expected a string, got an integer"),
        ("[appliance]\nstate_dir = 5\n" + SINK, "site.toml:2: appliance.state_dir: expected a string, got an integer"),
        ("appliance = 5\n" + SINK, "site.toml:1: appliance: expected a table, got an integer"),
        (ZMQ + "rename = {a = 5}", "site.toml:4: zmq[0].rename.a: expected a string, got an integer"),
    ],
)  # fmt: skip
def test_one_mistake_causes_no_other(mistakes: Mistakes, text: str, told: str) -> None:
    """Nobody is blamed for naming a door whose own table is broken, and a refused value is in nobody's way."""
    assert mistakes(text) == [told]
