"""How long the command takes to answer, and the appliance to be ready."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RUNS = 9
PROGRAM = [sys.executable, "-m", "appliance"]
SITE = """\
[appliance]
state_dir = "{folder}"
[api]
listen = ["unix:{folder}/api.sock"]
[[zmq]]
name = "zeek"
bind = ["tcp://127.0.0.1:0"]
[[capture]]
name = "telemetry"
conn_type = "udp"
address = ["127.0.0.1", 0]
[[capture.handler]]
name = "raw"
[[sink]]
name = "archive"
on = ["log:*"]
[[hook]]
name = "executables"
on = ["log:files"]
where = 'mime_type == "application/x-dosexec"'
run = "appliance.demo.hooks:on_executable"
"""


def version() -> float:
    began = time.perf_counter()
    subprocess.run([*PROGRAM, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ready(site: str) -> float:
    """Seconds from the start of the process to READY=1."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{folder}/notify")
        notify.settimeout(30)
        config = Path(folder, "site.toml")
        config.write_text(site.format(folder=folder))
        began = time.perf_counter()
        environ = {**os.environ, "NOTIFY_SOCKET": f"{folder}/notify"}
        process = subprocess.Popen([*PROGRAM, "--config", config], env=environ, stderr=subprocess.DEVNULL)
        while b"READY=1" not in notify.recv(4096):
            pass
        took = time.perf_counter() - began
        process.terminate()
        process.wait()
        return took


def main() -> None:
    # Byte code as an installed program has it, whatever the environment says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    plain = SITE.partition("[[hook]]")[0]
    cases: dict[str, Callable[[], float]] = {
        "--version": version,
        "ready: subscriber, capturer, sink": lambda: ready(plain),
        "ready: the same and a hook with `where`": lambda: ready(SITE),
    }
    print(f"\nStart, medians of {RUNS} runs\n\n| | ms |\n|---|--:|")
    for name, case in cases.items():
        case()
        print(f"| {name} | {statistics.median(case() for _ in range(RUNS)) * 1e3:.0f} |")


if __name__ == "__main__":
    main()
