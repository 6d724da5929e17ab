"""``broappliance capture`` against a running program: handlers come, go and rotate; a restart forgets nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pcap.build import read
from tests.ports import free_port

from .harness import BASE, Program, open_program, wait_for

pytestmark = pytest.mark.slow

CONF = (
    BASE
    + '[[capture]]\nname = "tele"\nconn_type = "udp"\naddress = ["127.0.0.1", 0]\n[[capture.handler]]\nname = "raw"\n'
)


def command(program: Program, *arguments: str, code: int = 0) -> str:
    """Output of the command; it ends with `code`, and says why on one line if that is not 0."""
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "capture", *arguments, "--socket", program.state / "api.sock"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 0)
    return done.stdout or done.stderr


def handlers(program: Program) -> dict[str, int]:
    """Packets by handler."""
    captures = json.loads(command(program, "list", "--json"))
    return {
        f"{capture['name']}/{handler['name']}": handler["statistics"]["packets"]
        for capture in captures
        for handler in capture["handlers"]
    }


def send(port: int, *payloads: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for payload in payloads:
            sender.sendto(payload, ("127.0.0.1", port))


def test_handlers_are_started_rotated_and_stopped(tmp_path: Path) -> None:
    """Each verb says what it did; files appear by rename, with what came."""
    port = free_port()
    with open_program(tmp_path, CONF) as program:
        assert command(program, "start", "more", "udp", f"127.0.0.1:{port}") == f"started udp-{port}/more\n"
        send(port, b"one", b"two")
        wait_for(lambda: handlers(program) == {"tele/raw": 0, f"udp-{port}/more": 2})
        (rotated,) = command(program, "rotate", "more").splitlines()
        path = Path(rotated.partition(": ")[0])
        assert [packet.data for packet in read(path)] == [b"one", b"two"]
        assert "2 packets" in rotated
        assert command(program, "rotate", "more", "raw").splitlines() == [
            f"udp-{port}/more has no open file", "tele/raw has no open file",
        ]  # fmt: skip
        send(port, b"three")
        wait_for(lambda: handlers(program)[f"udp-{port}/more"] == 3)
        assert command(program, "stop", f"udp-{port}/more") == f"stopped udp-{port}/more\n"
        assert sorted(len(read(each)) for each in path.parent.iterdir()) == [1, 2]
        assert "tele/raw" in command(program, "list")
        assert not program.parts()


def test_changes_survive_a_restart_and_a_reload(tmp_path: Path) -> None:
    """What was started runs again, what was stopped does not."""
    port = free_port()
    with open_program(tmp_path, CONF) as program:
        command(program, "start", "kept", "udp", f"127.0.0.1:{port}", "--rotate-log-index", "hour")
        command(program, "stop", "raw")
        assert program.reload()["ok"]
        assert list(handlers(program)) == [f"udp-{port}/kept"]
        assert program.stop() == 0
    with open_program(tmp_path, CONF) as program:
        send(port, b"again")
        wait_for(lambda: handlers(program) == {f"udp-{port}/kept": 1})
        (document,) = json.loads(command(program, "list", "--json"))
        assert document["handlers"][0]["config"]["rotate_log_index"] == "hour"
        assert document["handlers"][0]["statistics"]["is_runtime"] is True


def test_refusals_are_one_line(tmp_path: Path) -> None:
    """With an exit code, and nothing changes."""
    with open_program(tmp_path, CONF) as program:
        before = handlers(program)
        for arguments, code, told in (
            (["start", "x", "udp", ":1", "--log-dir", "/etc"], 2, "handler[0].log_dir: '/etc' is neither below"),
            (["start", "x", "udp", "8500"], 2, "'8500' is no address: expected host:port"),
            (["start", "x", "udp", "192.0.2.1:9"], 1, "it cannot be done now: cannot bind"),
            (["start", "x", "udp", ":9", "--rotate-log-index", "week"], 2, "handler[0].rotate_log_index: "),
            (["stop", "nobody"], 1, "there is no handler 'nobody'"),
            (["rotate", "raw", "nobody"], 1, "there is no handler 'nobody'"),
        ):
            assert told in command(program, *arguments, code=code)
        assert handlers(program) == before
