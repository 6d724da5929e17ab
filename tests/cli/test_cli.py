"""The command line as a program: what it prints, where, and with which exit code."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from appliance.cli import main
from appliance.cli.parser import _COMMANDS, make_parser

HEAVY = "trio zmq msgspec structlog rich rule_engine"
ACCOUNT = {
    "name": "sink.archive", "unit": "records", "received": 10, "delivered": 7, "queued": 0,
    "dropped": {"queue_full": 3}, "lost": 3, "refused": 0, "filtered": 0, "imbalance": 0,
}  # fmt: skip
SERVICE = {"name": "sink.archive", "state": "running", "since_s": 5.0, "restarts": 0, "last_error": ""}
QUEUE = {"policy": "block", "records": 0, "size": 0, "max_records": 9, "max_bytes": 9, "stalled": False}
STATUS: dict[str, Any] = {
    "name": "n", "version": "0", "pid": 1, "state": "running", "generation": 1, "uptime_s": 5.0, "state_dir": "/x",
    "files": ["site.toml"], "last_reload": None, "lost": 0, "attention": [],
    "services": [{"service": SERVICE, "figures": {"open_files": 1, "finished_files": 2}, "queue": QUEUE}],
    "ledger": [
        {
            "account": {**ACCOUNT, "lost": 0, "dropped": {}, "delivered": 10},
            "rates": {"last_1s": 0, "last_10s": 2.0, "last_60s": 0},
        }
    ],
}  # fmt: skip
LOSING = {
    **STATUS,
    "ledger": [{**STATUS["ledger"][0], "account": ACCOUNT}],
    "attention": [{"about": "account", "text": "sink.archive lost 3"}],
}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *map(str, arguments)], capture_output=True, text=True, timeout=30
    )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """A server that answers with the document it is given."""
    servers: list[UnixStreamServer] = []

    def start(document: dict[str, Any]) -> Path:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        path = tmp_path / f"{len(servers)}.sock"
        server = UnixStreamServer(os.fspath(path), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_simple_questions_are_answered_without_heavy_imports(argument: str) -> None:
    """They are answered before anything slow is imported."""
    code = (
        "import sys\nfrom appliance.cli import main\n"
        f"try: main(['{argument}'])\nexcept SystemExit as exc: code = exc.code\n"
        f"print('loaded', *[name for name in '{HEAVY}'.split() if name in sys.modules])\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "loaded"


def test_starting_imports_no_library_that_only_tables_and_tests_need(tmp_path: Path) -> None:
    """Neither rich, which the log's library takes if it may, nor what a file without such tables has no use for."""
    file = tmp_path / "site.toml"
    file.write_text("[[zmq]]\nname = 'z'\nbind = ['tcp://127.0.0.1:0']\n[[sink]]\nname = 's'\non = ['log:*']\n")
    code = (
        "import sys\nfrom appliance.cli import main\n"
        f"assert main(['--config', {os.fspath(file)!r}, '--check']) == 0\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"trio", "structlog"} <= loaded
    unused = {"rich", "pygments", "rule_engine", "yaml", "h11", "zmq", "sqlite3", "multiprocessing", "unittest"}
    assert not loaded & unused


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("extract --directory {folder} --count", {"msgspec", "appliance.native.merge"}),
        ("extract --directory {folder} --out {folder}/x.pcap", {"appliance.pcap.write"}),
        ("status --socket {folder}/none", set()),
        ("reload --socket {folder}/none", set()),
        ("publish print t x --socket {folder}/none", set()),
        ("--config {folder}/site.toml --print-config", {"tomllib"}),
    ],
    ids=["count", "extract", "status", "reload", "publish", "print-config"],
)
def test_a_command_imports_what_it_needs(command: str, needed: set[str], tmp_path: Path) -> None:
    """Neither a loop nor the log's library, nor the arguments of other commands, nor rings to read files."""
    (tmp_path / "site.toml").write_text("[[zmq]]\nname = 'z'\nbind = ['tcp://127.0.0.1:0']\n")
    argv = command.format(folder=tmp_path).split()
    code = f"import sys\nfrom appliance.cli import main\nmain({argv!r})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert needed <= loaded
    unused = {"trio", "structlog", "zmq", "rule_engine", "zstandard", "hypercorn", "appliance.cli.store_arguments",
              "appliance.native.ring", "appliance.native.transcode"}  # fmt: skip
    assert not loaded & unused


@pytest.mark.parametrize(
    "argv",
    [["stats"], ["statsu", "status"], ["pcap", "inf"], ["status", "--frob"], ["publish"], ["--chekc", "status"], []],
    ids=" ".join,
)
def test_mistakes_are_told_as_by_who_knows_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Also if only a few of them have been looked at."""
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    told = capsys.readouterr().err
    if argv:
        with pytest.raises(SystemExit, match="2"):
            make_parser().parse_args(argv)
        assert told == capsys.readouterr().err
    assert told.startswith("usage: broappliance")


def test_commands_are_found_by_their_names() -> None:
    """The table of what adds which commands is right: each parses alone what it parses among all."""
    found = [action.choices for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set().union(*(names for names, _ in _COMMANDS)) == set(found[0])
    for names, add in _COMMANDS:
        commands = argparse.ArgumentParser().add_subparsers()
        add(commands)
        assert set(commands.choices) == names


def test_every_mistake_of_a_file_is_one_line_and_the_exit_code_is_two(tmp_path: Path) -> None:
    """Each line begins with file and line, and there is no traceback."""
    file = tmp_path / "site.toml"
    file.write_text("[appliance]\nnam = 'x'\n[api]\nui = 1\n[[zmq]]\nname = 'z'\n")
    done = run("--config", file, "--check")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == f'{file}:2: appliance.nam: unknown key, did you mean "name"?'
    assert lines[1] == f"{file}:4: api.ui: expected true or false, got an integer"
    assert lines[2] == f"{file}:5: zmq[0].bind: missing"
    assert len(lines) == 3


def test_hooks_and_expressions_are_checked_too(tmp_path: Path) -> None:
    """What cannot be imported or compiled is told at its line."""
    file = tmp_path / "site.toml"
    file.write_text("[[hook]]\nname = 'h'\non = ['log:*']\nrun = 'no_such_module:f'\nwhere = 'a >= and'\n")
    done = run("--config", file, "--check")
    assert done.returncode == 2
    assert f"{file}:4: hook[0].run: there is no module 'no_such_" in done.stderr
    assert f"{file}:5: hook[0].where: syntax error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_good_file_is_said_to_be_good(tmp_path: Path) -> None:
    """Exit code 0 and one line."""
    file = tmp_path / "site.toml"
    file.write_text("")
    done = run("--config", file, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: no mistakes\n", "")


def test_what_is_printed_can_be_run(tmp_path: Path) -> None:
    """The effective configuration is a file that has no mistakes and prints the same."""
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("[[zmq]]\nname = 'z'\nbind = ['ipc://x.sock']\n[[sink]]\nname = 's'\non = ['log:*']\n")
    second.write_text(run("--config", first, "--print-config").stdout)
    done = run("--config", second, "--print-config")
    assert done.returncode == 0
    assert done.stdout == second.read_text() != ""


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """One line, exit code 2."""
    done = run("--config", tmp_path / "none.toml")
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory\n"


def test_without_arguments_it_says_what_it_needs() -> None:
    """Usage is exit code 2."""
    done = run()
    assert done.returncode == 2
    assert "--config FILE is needed to run" in done.stderr


def test_the_schema_is_json() -> None:
    """Editors can read it."""
    done = run("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_nobody_answering_is_one_line(tmp_path: Path) -> None:
    """Exit code 1, with the socket's path and what to look at."""
    done = run("status", "--socket", tmp_path / "none.sock")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"broappliance: no appliance answers at {tmp_path / 'none.sock'}: ")
    assert done.stderr.count("\n") == 1


def test_the_status_is_shown_as_tables(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Services, ledger and a verdict; exit code 0."""
    assert main(["status", "--socket", str(serve(STATUS))]) == 0
    shown = capsys.readouterr().out
    for text in (
        "n  running, generation 1",
        "sink.archive",
        "1 open files, 2 finished, queue 0/9 block",
        "all is well",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("name", "figures", "told"),
    [
        (
            "sink.s",
            {"topic": "zeek/logs/", "messages": 1234, "logs": 2},
            "topic zeek/logs/, 1,234 messages, 2 logs announced",
        ),
        (
            "api",
            {"sockets": ["/x"], "connections": 1, "requests": 5, "subscribers": 2},
            "/x, 5 requests, 2 subscribers",
        ),
        ("api", {"sockets": [], "connections": 0, "requests": 0, "subscribers": 0}, "off, 0 requests"),
    ],
)
def test_what_is_worth_a_glance_differs_by_kind(
    serve: Any, capsys: pytest.CaptureFixture[str], name: str, figures: dict[str, Any], told: str
) -> None:
    """A line for each service."""
    line = {"service": {**SERVICE, "name": name}, "figures": figures, "queue": None}
    main(["status", "--socket", str(serve({**STATUS, "services": [line]}))])
    assert told in capsys.readouterr().out


def test_a_loss_needs_attention(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and the reason is shown."""
    assert main(["status", "--socket", str(serve(LOSING))]) == 3
    shown = capsys.readouterr().out
    assert "queue_full=3" in shown
    assert "needs attention: sink.archive lost 3" in shown


def test_however_much_needs_attention_is_one_line(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The last, which scripts and people look at."""
    concerns = [{"about": "reload", "text": f"mistake {number} in the file"} for number in range(50)]
    main(["status", "--socket", str(serve({**STATUS, "attention": concerns}))])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "needs attention: " + "; ".join(each["text"] for each in concerns)


def test_the_status_document_is_printed_whole(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: the same exit code, the same document."""
    assert main(["status", "--json", "--socket", str(serve(LOSING))]) == 3
    assert json.loads(capsys.readouterr().out) == LOSING


def test_an_appliance_that_does_not_say_what_needs_attention(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One of an older version, which still runs after an upgrade: nobody says that all is well."""
    older = {key: value for key, value in STATUS.items() if key != "attention"}
    assert main(["status", "--socket", str(serve(older))]) == 3
    assert "needs attention: version 0 does not say what needs attention" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error() -> None:
    """As in `broappliance schema | head -1`."""
    done = subprocess.run(
        f"{sys.executable} -m appliance schema | head -1", shell=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_a_reader_that_never_reads_is_no_error() -> None:
    """Also when so little is printed that it waits in a buffer until the end."""
    code = "import sys\nfrom appliance.cli import main\nsys.stdin.read()\nsys.exit(main(['schema']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("main(['schema'])", "main(['--config', '/dev/null', '--check'])")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_file_may_stand_before_the_command(serve: Any, tmp_path: Path, place: str) -> None:
    """Its socket is asked either way, not the default one."""
    file = tmp_path / "site.toml"
    file.write_text(f'[api]\nlisten = ["unix:{serve(STATUS)}"]\n')
    config = ["--config", str(file)]
    assert main([*config, "status", "--json"] if place == "before" else ["status", "--json", *config]) == 0


def test_a_file_without_a_socket_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nobody to ask."""
    file = tmp_path / "site.toml"
    file.write_text("[api]\nlisten = []\n")
    assert main(["status", "--config", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"broappliance: {file} has an empty [api] listen: its appliance cannot be asked\n"
    )


@pytest.mark.parametrize("document", [{}, {"name": "docker"}, []])
def test_another_server_is_no_appliance(serve: Any, capsys: pytest.CaptureFixture[str], document: Any) -> None:
    """Whatever it answers, there is one line and no traceback."""
    path = serve(document)
    assert main(["status", "--socket", str(path)]) == 1
    assert capsys.readouterr().err == f"broappliance: {path} answered with something that is no status\n"


def test_watching_ends_with_an_interrupt(serve: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Ctrl-C is how one ends it: exit code 0."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("appliance.cli.status.time.sleep", interrupt)
    assert main(["status", "--watch", "--json", "--socket", str(serve(STATUS))]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS
