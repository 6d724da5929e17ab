"""The signals that neither stop it nor reload it."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.hooks.sites.harness import HEAD, write_package
from tests.ports import free_port

from .harness import BASE, open_program, wait_for

pytestmark = pytest.mark.slow

CAPTURE = """
[[capture]]
name = "c"
conn_type = "udp"
address = ["127.0.0.1", PORT]
handler = [{ name = "raw", log_dir = "pcap", file_name_pattern = "{seq}.pcap" }]
"""
SITES = """
[[watch]]
name = "logs"
directory = "state/logs"
what = "folders"
settle = "100ms"
marker = "done"

[[hook]]
name = "s"
on = ["folder:logs"]
sites = "sites"
logs_path = "logs"
"""


def test_new_capture_files_begin_at_a_signal(tmp_path: Path) -> None:
    """The one that was open is finished; nothing else happens."""
    port = free_port()
    conf = BASE + CAPTURE.replace("PORT", str(port))
    with open_program(tmp_path, conf) as program, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        for number in (1, 2):
            sender.send(b"x")
            wait_for(lambda number=number: program.figures("capture.c")["handlers"][0]["packets"] == number)  # type: ignore[misc]
            program.signal(signal.SIGUSR1)
            wait_for(lambda number=number: len(list((program.state / "pcap").glob("*.pcap"))) == number)  # type: ignore[misc]
        assert len(program.events("files rotated")) >= 1
        assert program.stop() == 0


def test_exit_hooks_run_at_a_signal_and_the_package_goes_on(tmp_path: Path) -> None:
    """What waits is worked off before; the next folder begins with the package loaded anew, and the end has its own."""
    text = HEAD + "seen = []\ndef hook(n):\n    seen.append(n); say(n)\nHOOK = [hook]\nEXIT = [lambda: say(seen)]\n"
    write_package(tmp_path, text)
    with open_program(tmp_path, BASE + SITES) as program:
        logs = program.state / "logs"

        def put(name: str) -> None:
            folder = logs / name
            folder.mkdir(parents=True)
            (folder / "done").touch()

        def told() -> list[str]:
            out = logs / "out"
            return out.read_text().splitlines() if out.exists() else []

        put("a")
        wait_for(lambda: told() == ["a"])
        program.signal(signal.SIGUSR2)
        wait_for(lambda: told() == ["a", "['a']"])
        put("b")
        wait_for(lambda: told()[2:] == ["b"])
        assert program.stop() == 0
        assert told()[3:] == ["['b']"]
        assert len(program.events("exit hooks have run")) == 1
