"""Hooks for worker processes: what they do, the record says. Imported by workers, not by tests."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from appliance.hooks import Reject, Retry

calls = 0
hoard: list[bytearray] = []


class OddError(Exception):
    """Cannot be shown, and not be pickled either."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise RuntimeError("no text")


class PlainError(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text, threading.Lock())


def hang() -> None:
    while True:
        time.sleep(60)


def spin() -> None:
    while True:
        pass


def quit_() -> None:
    os._exit(7)


def leave() -> None:
    sys.exit("enough")


def segfault() -> None:
    ctypes.string_at(0)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    hang()


def hoard_memory() -> None:
    while True:
        hoard.append(bytearray(1 << 20))


def close_all() -> None:
    os.closerange(3, 100)


def garble() -> None:
    os.write(3, b"\x00\x00\x00\x02\xc1\xc1")
    hang()


def announce_much() -> None:
    os.write(3, b"\xff\xff\xff\xff")
    hang()


def claim_much() -> None:
    """A well-formed message that cannot be true."""
    os.write(3, b"\x00\x00\x00\x07\x94\x04\xcd\xff\xff\x90\xc2")
    hang()


def raise_odd() -> None:
    raise OddError


def raise_plain() -> None:
    raise PlainError("boom")


def retry() -> None:
    raise Retry("later", after=5)


def reject() -> None:
    raise Reject("never")


def fork_and_return() -> None:
    if os.fork() == 0:
        return
    os.wait()


def shout() -> None:
    block = b"x" * 999 + b"\n"
    for _ in range(64):
        os.write(1, block * 1024)


def run_child(path: str) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(str(child.pid))
    hang()


def nothing() -> None: ...


def do(record: dict[str, Any]) -> None:
    """Do what `record` says, and note that it was called."""
    global calls  # noqa: PLW0603 - to show that the module keeps it
    calls += 1
    if "seen" in record:
        with Path(record["seen"]).open("a") as file:
            file.write(f"{record['n']} {calls} {os.getpid()}\n")
    globals()[record.get("do", "nothing")](*record.get("with", ()))


def do_many(records: list[dict[str, Any]]) -> None:
    """A batch: does what its last record says."""
    do({**records[-1], "n": "+".join(str(record["n"]) for record in records)})


def look(record: dict[str, Any], ctx: Any) -> None:
    """Write down what a hook can see."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    remaining = ctx.remaining_s
    ctx.log.info(
        "seen", attempt=ctx.attempt, on_time=0 < remaining <= 20, path=ctx.item.path, count=ctx.item.count,
        level=ctx.config["level"], day=str(ctx.config["day"]), caps=status["CapEff"].strip(),
        nnp=status["NoNewPrivs"].strip(), comm=Path("/proc/self/comm").read_text().strip(),
        variables=",".join(sorted(k for k in os.environ if k.startswith(("NOTIFY", "_PYI", "LD_LIB")))),
        libraries=os.environ.get("LD_LIBRARY_PATH", ""),
        fds=sorted(int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()),
        oom=Path("/proc/self/oom_score_adj").read_text().strip(),
    )  # fmt: skip
    ctx.log.debug("not wanted")
    ctx.log.bind(more="yes").warning("bound %d", 5)
    try:
        raise KeyError("k")
    except KeyError:
        ctx.log.exception("caught")


def publish(record: dict[str, Any], ctx: Any) -> None:
    """Publish from here and from a thread, and note what came of it."""
    found: list[object] = [ctx.publish_event("zeek/event/a/x", "Site::x", record["n"])]
    thread = threading.Thread(target=lambda: found.append(ctx.publish_event("zeek/event/a/y", "Site::y")))
    thread.start()
    thread.join()
    for topic, args in (("refused", ()), ("zeek/event/a/z", (object(),))):
        try:
            ctx.publish_event(topic, "Site::z", *args)
        except Exception as exc:  # noqa: BLE001 - whatever it is told
            found.append(f"{type(exc).__name__}: {exc}")
    found.append(ctx.publish_hrw("proxy", record["n"], "Site::p"))
    ctx.log.info("published", found=found)
