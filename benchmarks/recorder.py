"""The recorder beside tcpdump, netsniff-ng, dumpcap and stenotype, and over a long time.

``python -m benchmarks.recorder YARDSTICK [REPS]`` runs a folder's `capbench.py`, which makes two namespaces, offers
numbered frames, checks every file frame by frame, and takes any recorder as one more row; ours is
`benchmarks.recorder_row`. ``python -m benchmarks.recorder YARDSTICK soak [SECONDS [RATE [SIZE [RING_MIB]]]]`` records
with the whole appliance into a budget of 2 GiB and looks whether anything is lost or memory grows. Both need root.
``python -m benchmarks.recorder floor`` tells what is paid at least: the copies and writes alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OURS = f"{sys.executable} -m benchmarks.recorder_row --interface {{iface}} --file {{file}} --ring-mib {{ring_mib}}"
ROWS = "".join(
    f"""
[{name}]
command = {json.dumps(OURS + more)}
targets = ["tmpfs", "disk"]
reports = {{ captured = '"captured": (\\d+)', dropped = '"dropped": (\\d+)' }}
"""
    for name, more in {"ours": "", "ours-index": " --index {dir}/index"}.items()
)
PEERS = ["tcpdump", "netsniff-ng", "dumpcap", "stenotype", "ours", "ours-index"]
BOOST = -15
"""Weight against whatever else runs on the machine, for recorders and generator alike."""
BUDGET = 2 << 30
SEGMENT = 256 << 20
FILL_S = 60.0
PIECE_S = 200
"""The generator counts also the turns in which it waits, and has 2**32 of them."""


def compare(yardstick: Path, reps: int) -> None:
    with TemporaryDirectory() as folder:
        rows, out = Path(folder, "recorders.toml"), Path(folder, "rows.jsonl")
        rows.write_text((yardstick / "recorders.toml").read_text() + ROWS)
        for target, sizes in (("tmpfs", "64,imix,512,1400"), ("disk", "64,imix")):
            command = [sys.executable, str(yardstick / "capbench.py"), "run", "--recorders", str(rows), "--only"]
            command += [",".join(PEERS), "--sizes", sizes, "--targets", target, "--reps", str(reps)]
            environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
            subprocess.run([*command, "--boost", str(BOOST), "--out", str(out)], check=True, env=environment)
        print_table([json.loads(line) for line in out.read_text().splitlines()])


def print_table(results: list[dict[str, Any]]) -> None:
    """CPU seconds for a million captured packets, and the share captured; medians."""
    places = list(dict.fromkeys((each["target"], each["size"]) for each in results))
    print("| | " + " | ".join(f"{target}, {size}" for target, size in places) + " |")
    print("|---|" + "--:|" * len(places))
    for name in PEERS:
        cells = []
        for place in places:
            mine = [each for each in results if each["recorder"] == name and (each["target"], each["size"]) == place]
            if not mine:
                cells.append("")
                continue
            cost = statistics.median(each["cpu"] / each["captured"] * 1e6 for each in mine)
            share = statistics.median(each["captured"] / each["sent"] for each in mine)
            cells.append(f"{cost:.3f}; {share:.1%}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def soak(yardstick: Path, seconds: float, rate: int, size: str, ring_mib: int) -> None:
    spec = importlib.util.spec_from_file_location("capbench", yardstick / "capbench.py")
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    setattr(bench, "BOOST", BOOST)  # noqa: B010 - of a module that mypy does not know
    bench.boost(BOOST)
    bench.build()
    options = Namespace(engine="xdp", flows=65_536, vlan=0, batch=0)
    with bench.Network() as net, TemporaryDirectory(dir="/dev/shm") as folder:
        site = Path(folder, "site.toml")
        site.write_text(
            f'[appliance]\nstate_dir = "{folder}"\n[api]\nlisten = ["unix:{folder}/api.sock"]\n'
            f'[[recorder]]\nname = "edge"\ninterface = "{net.cap_if}"\nring = "{ring_mib}MiB"\nbudget = "{BUDGET}B"\n'
            f'directory = "{folder}/edge"\nsegment_size = "{SEGMENT}B"\nmin_free = "1GiB"\n'
        )
        command = [sys.executable, "-m", "appliance", "--config", str(site)]
        recorder = bench.start(net.cap, bench.CAP_CPU, command, stdout=subprocess.DEVNULL)
        try:
            assert bench.wait_ready(recorder), "the appliance did not start"
            watch(bench, net, options, recorder, Path(folder), (seconds, rate, size))
        finally:
            recorder.send_signal(signal.SIGTERM)
            recorder.wait(20)


def watch(bench: Any, net: Any, options: Namespace, recorder: Any, folder: Path, plan: tuple[float, int, str]) -> None:
    seconds, rate, size = plan

    def offer(packets: int) -> Any:
        argv = [str(bench.BUILD / "loadgen"), "-i", net.cap_if, "-n", str(packets), "-s", size, "-e", "xdp"]
        argv += ["-r", str(rate), "-f", str(options.flows)]
        return bench.start(net.cap, bench.GEN_CPU, argv, stdout=subprocess.PIPE, text=True)

    def kept() -> int:
        return sum(path.stat().st_size for path in (folder / "edge").iterdir())

    # Until the budget is full the file system takes memory that it never had, which a virtual machine may have to ask
    # its host for, page by page; afterwards it has what deleted segments gave back. Both are told.
    filled, began = figures(folder), time.monotonic()
    while filled["deleted_segments"] < BUDGET // SEGMENT:
        offer(5 * rate).communicate()
        filled = figures(folder)
        if time.monotonic() - began > FILL_S:
            raise SystemExit(f"{kept() / 2**20:,.0f} MiB after {FILL_S:.0f} s: too slow a rate to fill the budget")
    packets, lost = filled["packets"], filled["kernel_drops"]
    print(f"{packets:,} packets until the budget was full twice; {lost:,} lost in the kernel")

    before, memory, sent = bench.cpu_seconds(recorder.pid), [], 0
    while sent < rate * seconds:
        load = offer(int(min(rate * seconds - sent, rate * PIECE_S)))
        while load.poll() is None:
            time.sleep(min(10, seconds / 20))
            status = Path(f"/proc/{recorder.pid}/status").read_text()
            memory.append(int(status.split("VmRSS:")[1].split()[0]) >> 10)
            print(f"{memory[-1]} MiB resident, {kept() / 2**20:,.0f} MiB of segments", file=sys.stderr)
        sent += json.loads(load.communicate()[0])["sent"]
    mine = figures(folder)
    cpu_s = bench.cpu_seconds(recorder.pid) - before
    print(f"{sent:,} packets of {size} bytes sent, {rate:,} a second; ", end="")
    stored, lost = (mine[each] - filled[each] for each in ("stored", "kernel_drops"))
    print(f"{stored:,} stored, {lost:,} lost in the kernel; {cpu_s / sent * 1e6:.3f} s of CPU for a million")
    half = len(memory) // 2
    print(
        f"resident: {memory[0]} MiB at first, {max(memory[:half])} at most in the first half, {max(memory[half:])} then"
    )


def figures(folder: Path) -> dict[str, Any]:
    """Of the recorder, when it is idle: with the last block, and what it tells once a second."""
    command = [sys.executable, "-m", "appliance", "status", "--json", "--socket", str(folder / "api.sock")]
    before: dict[str, Any] = {}
    while True:
        time.sleep(2)
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
        [now] = [each["figures"] for each in told["services"] if each["service"]["name"] == "recorder.edge"]
        if now["packets"] == before.get("packets"):
            return dict(now)
        before = now


def floor() -> None:
    """CPU seconds for a million packets, medians, on one processor."""
    ways = ("write", "copy", "gather", "gather-all")
    print("| | " + " | ".join(ways) + " |\n|---|" + "--:|" * len(ways))
    with TemporaryDirectory(dir="/dev/shm") as folder:
        program = f"{folder}/recorder_floor"
        source = str(Path(__file__).with_name("recorder_floor.c"))
        subprocess.run(["cc", "-O2", "-std=c11", source, "-o", program], check=True)
        for name, size in {"64 B": 64, "IMIX": 0}.items():
            cells = []
            for way in ways:
                command = ["taskset", "-c", "1", program, f"{folder}/out", str(size), way]
                runs = [float(subprocess.check_output(command)) for _ in range(5)]
                cells.append(f"{statistics.median(runs):.3f}")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "floor":
        floor()
        sys.exit()
    folder = Path(sys.argv[1]).resolve()
    if sys.argv[2:3] == ["soak"]:
        seconds, rate, size, ring = (*sys.argv[3:], *("600", "1_500_000", "imix", "64")[len(sys.argv[3:]) :])
        soak(folder, float(seconds), int(rate), size, int(ring))
    else:
        compare(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
