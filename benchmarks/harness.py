"""An appliance inside the benchmark's own process, and a table of medians."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare
from appliance.runtime.logs import configure_logs


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Stopwatch:
    """Wall and CPU time of this process from `start` to `stop`."""

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_s()

    def stop(self, items: int, **more: Any) -> dict[str, Any]:
        wall, cpu = time.perf_counter() - self._wall, cpu_s() - self._cpu
        return {"rate": items / wall, "cpu_us": cpu / items * 1e6, **more}


def run_appliance(toml: str, measure: Callable[[Appliance], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Run an appliance from `toml`, with `measure` beside it, until that returns."""
    configure_logs(level="error", style="console")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "site.toml")
        path.write_text(f'[appliance]\nstate_dir = "{folder}"\n[api]\nlisten = ["unix:{folder}/api.sock"]\n{toml}')
        result: dict[str, Any] = {}

        async def main() -> None:
            appliance = Appliance(prepare(load(path)), path, {})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(appliance.run)
                await appliance.ready.wait()
                result.update(await measure(appliance))
                appliance.stop()

        trio.run(main)
        return result


def child(module: str, *arguments: str) -> dict[str, Any]:
    """Run a mode of a benchmark module in a fresh process; it prints its result as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300, env=os.environ)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rounds(
    modes: Sequence[str], runs: int, measure: Callable[[str], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Measure every mode once a round, in turn, so that a machine that gets slower slows all of them."""
    results: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
    for i in range(runs + 1):
        for mode in modes:
            result = measure(mode)
            if i:  # the first round warms up
                results[mode].append(result)
            print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return results


def median(results: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(result[key] for result in results))
