"""How long the command takes to answer, and the appliance to be ready; how much memory it has then.

Of the sources, and of the bundle that ``BROAPPLIANCE_BINARY`` names or `make binary` has built.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from appliance.cli.client import fetch_status

RUNS = 9
BUNDLE = Path(os.environ.get("BROAPPLIANCE_BINARY", Path(__file__).parents[1] / "dist/broappliance/broappliance"))
PLAIN = """\
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
"""
WITH_HOOK = """\
[[hook]]
name = "executables"
on = ["log:files"]
where = 'mime_type == "application/x-dosexec"'
run = "appliance.demo.hooks:on_executable"
"""
EVERY_ROOM = """\
[broker]
listen = ["127.0.0.1:0"]
[cluster]
backend = "zeromq"
[cluster.zeromq]
log_bind = "tcp://127.0.0.1:0"
[[store]]
name = "hosts"
persistent = true
[[tail]]
name = "files"
paths = ["{folder}/*.log"]
[[watch]]
name = "captures"
directory = "{folder}"
match = ["*.pcap"]
[[hook]]
name = "apart"
on = ["log:http"]
run = "appliance.demo.hooks:on_executable"
isolation = "process"
[[hook]]
name = "program"
on = ["file:captures"]
command = ["true", "{{path}}"]
"""
RECORDER = """\
[[recorder]]
name = "edge"
interface = "lo"
directory = "edge"
ring = "4MiB"
min_free = "1MiB"
budget = "64MiB"
segment_size = "16MiB"
filter = "host 127.98.76.54"
[[evidence]]
name = "notices"
on = ["log:notice"]
recorder = "edge"
directory = "evidence"
"""


def version(program: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([*program, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ready(program: Sequence[str], site: str) -> tuple[float, float]:
    """Seconds from the start of the process to READY=1, and the MiB that are resident when its API has answered."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{folder}/notify")
        notify.settimeout(30)
        config = Path(folder, "site.toml")
        config.write_text(site.format(folder=folder))
        began = time.perf_counter()
        environ = {**os.environ, "NOTIFY_SOCKET": f"{folder}/notify"}
        process = subprocess.Popen([*program, "--config", config], env=environ, stderr=subprocess.DEVNULL)
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            took = time.perf_counter() - began
            fetch_status(Path(folder, "api.sock"))
            fields = Path(f"/proc/{process.pid}/status").read_text().split()
            return took, int(fields[fields.index("VmRSS:") + 1]) / 1024
        finally:
            process.terminate()
            process.wait()


def middle(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.0f}"


def main() -> None:
    # Byte code as an installed program has it, whatever the environment says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    programs = {"sources": [sys.executable, "-m", "appliance"]}
    if BUNDLE.exists():
        programs["bundle"] = [os.fspath(BUNDLE)]
    sites = {
        "subscriber, capturer, sink": PLAIN,
        "the same and a hook with `where`": PLAIN + WITH_HOOK,
        "every room but a recorder": PLAIN + WITH_HOOK + EVERY_ROOM,
        "every room": PLAIN + WITH_HOOK + EVERY_ROOM + RECORDER,
    }
    print(f"\nStart, medians of {RUNS} runs\n\n| | | ms | MiB |\n|---|---|--:|--:|")
    for name, program in programs.items():
        version(program)
        print(f"| {name} | `--version` | {middle(version(program) * 1e3 for _ in range(RUNS))} | |")
        for what, site in sites.items():
            ready(program, site)
            took, resident = zip(*(ready(program, site) for _ in range(RUNS)), strict=True)
            print(f"| {name} | ready: {what} | {middle(each * 1e3 for each in took)} | {middle(resident)} |")


if __name__ == "__main__":
    main()
