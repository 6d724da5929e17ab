"""Runs an appliance as a process of its own, sends it traffic, and tells in plain words what happens."""

from __future__ import annotations

import functools
import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from appliance.native import scan_pcap
from appliance.runtime.bundle import program_argv

from .sender import Sender

__all__ = ["Demo"]

START_TIMEOUT_S = 15.0
ARRIVE_TIMEOUT_S = 15.0
CONNECT_PAUSE_S = 0.25  # as zmq_connect_pause in conf/zeek/broappliance-writer.zeek
PER_DATAGRAM = 4  # records


def _figures(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The figures of the first service of a kind."""
    found = [line["figures"] for line in status["services"] if line["service"]["name"].startswith(kind)]
    if not found:
        raise SystemExit(f"broappliance demo: the configuration has no [[{kind.rstrip('.')}]] to send to")
    figures: dict[str, Any] = found[0]
    return figures


def _account(status: dict[str, Any], kind: str) -> dict[str, Any]:
    accounts = [line["account"] for line in status["ledger"] if line["account"]["name"].startswith(kind)]
    account: dict[str, Any] = accounts[0]
    return account


class Demo:
    """One demonstration.

    Args:
        config: the appliance's file.
        rate: records per second.
        once: end after one replay of the sample.
        fetch: asks the running appliance for its status document; blocks.
        say: prints a line.
        show: prints the status document as tables.
    """

    def __init__(
        self,
        *,
        config: Path,
        rate: int,
        once: bool,
        fetch: Callable[[], dict[str, Any]],
        say: Callable[[str], None],
        show: Callable[[dict[str, Any]], None],
    ) -> None:
        self._config, self._rate, self._once = config, rate, once
        self._fetch, self._say, self._show = fetch, say, show
        self._asked_to_stop = trio.CancelScope()

    async def run(self) -> int:
        """Run it; returns the exit code: 0 if everything that was sent is in the files."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(os.fspath(Path(folder, "ready")))
            ready.setblocking(False)
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop it when all has arrived.
            start = functools.partial(
                trio.run_process,
                [*program_argv(), "--config", os.fspath(self._config)],
                env={**os.environ, "NOTIFY_SOCKET": os.fspath(Path(folder, "ready"))},
                check=False,
                start_new_session=True,
            )
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(start)
                try:
                    if not await self._wait_ready(ready, process):
                        return await process.wait() or 1
                    return await self._with(process, nursery)
                finally:
                    if process.returncode is None:
                        process.send_signal(signal.SIGTERM)

    async def _wait_ready(self, ready: socket.socket, process: trio.Process) -> bool:
        is_ready = False

        async def listen(scope: trio.CancelScope) -> None:
            nonlocal is_ready
            while not is_ready:
                await trio.lowlevel.wait_readable(ready)
                is_ready = b"READY=1" in ready.recv(4096)
            scope.cancel()

        with trio.move_on_after(START_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, nursery.cancel_scope)
                await process.wait()
                nursery.cancel_scope.cancel()
        return is_ready

    async def _with(self, process: trio.Process, nursery: trio.Nursery) -> int:
        nursery.start_soon(self._watch_signals)
        status = await trio.to_thread.run_sync(self._fetch)
        before = self._files(status)
        endpoint = _figures(status, "zmq.")["endpoints"][0]
        address = _figures(status, "capture.")["address"]
        host, _, port = address.rpartition(":")
        sender = Sender(endpoint, (host.strip("[]"), int(port)))
        try:
            self._say(f"The appliance runs (process {process.pid}) as {self._config} says.")
            self._say(f"{sender.writers} Zeek log writers connect to {endpoint}; telemetry goes to {address}/udp.")
            if not self._once:
                self._say("Ctrl-C ends it.")
            with self._asked_to_stop:
                await self._send(sender)
            status = await self._wait_arrived(sender)
        finally:
            sender.close()
        self._say(f"Sent {sender.records:,} records and {sender.datagrams:,} datagrams. What became of them:\n")
        self._show(status)
        self._say("\nStopping it: it drains and closes its files.\n")
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        nursery.cancel_scope.cancel()
        return self._verdict(sender, status, before) or code

    async def _watch_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._asked_to_stop.cancel()

    async def _send(self, sender: Sender) -> None:
        with trio.move_on_after(START_TIMEOUT_S):
            while not await self._are_connected(sender):  # noqa: ASYNC110 - another process, which can only be asked
                await trio.sleep(0.02)
        await trio.sleep(CONNECT_PAUSE_S)
        began = trio.current_time()
        said = began
        for count, (path, row) in enumerate(sender.messages(once=self._once)):
            # Absolute times, so that the rate is kept whatever a step takes.
            await trio.sleep_until(began + count / self._rate)
            sender.send(path, row)
            if count % PER_DATAGRAM == 0:
                sender.send_telemetry()
            if trio.current_time() - said >= (1.0 if self._once else 5.0):
                said = trio.current_time()
                await self._progress(sender)

    async def _are_connected(self, sender: Sender) -> bool:
        status = await trio.to_thread.run_sync(self._fetch)
        return bool(_figures(status, "zmq.")["writers"]["connected"] >= sender.writers)

    async def _progress(self, sender: Sender) -> None:
        status = await trio.to_thread.run_sync(self._fetch)
        if not self._once:
            self._show(status)
            return
        sink, packets = _account(status, "sink."), _account(status, "capture.")
        self._say(
            f"sent {sender.records:,} records, {sender.datagrams:,} datagrams; "
            f"in files {sink['delivered']:,} records, {packets['delivered']:,} datagrams; lost {status['lost']:,}"
        )

    async def _wait_arrived(self, sender: Sender) -> dict[str, Any]:
        """Wait until all that was sent is booked as delivered or dropped."""
        status: dict[str, Any] = {}
        with trio.move_on_after(ARRIVE_TIMEOUT_S):
            while True:
                status = await trio.to_thread.run_sync(self._fetch)
                sink, packets = _account(status, "sink."), _account(status, "capture.")
                if sink["received"] - sink["queued"] >= sender.records and (
                    packets["received"] - packets["queued"] >= sender.datagrams
                ):
                    break
                await trio.sleep(0.05)
        return status

    # ── the proof ──

    def _files(self, status: dict[str, Any]) -> set[Path]:
        folder = Path(status["state_dir"])
        return {*folder.rglob("*.log"), *folder.rglob("*.pcap")}

    def _verdict(self, sender: Sender, status: dict[str, Any], before: set[Path]) -> int:
        """Compare the files with what was sent, byte for byte."""
        new = sorted(self._files(status) - before)
        logs, captures = [f for f in new if f.suffix == ".log"], [f for f in new if f.suffix == ".pcap"]
        wanted = Counter(row for rows in sender.rows.values() for row in rows)
        found = Counter(row for file in logs for row in file.read_bytes().splitlines())
        packets = 0
        for file in captures:
            with file.open("rb") as capture:
                packets += scan_pcap(capture.fileno()).packets
        self._say(
            f"\nRecords sent: {wanted.total():,}; the same bytes in {len(logs)} files: {(wanted & found).total():,}."
        )
        self._say(f"Datagrams sent: {sender.datagrams:,}; in {len(captures)} PCAP files: {packets:,}.")
        for kind, files in (("logs", logs), ("captures", captures)):
            if files:
                folder = os.path.commonpath([f.parent for f in files])
                self._say(f"The {kind} are in {folder}, e.g. {files[0].relative_to(folder)}")
        is_complete = wanted == found and packets == sender.datagrams
        self._say("Nothing was lost." if is_complete else "Something is missing: see the ledger above for the reason.")
        return 0 if is_complete else 1
