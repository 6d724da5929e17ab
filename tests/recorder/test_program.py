"""The whole program as a child process on a wire: kill -9, a full disk, reloads under load, and an ordinary user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.native.netns import ip
from tests.system.harness import Program, wait_for, write_conf

from .harness import Generator, check_order, serials

BASE = """\
[appliance]
name = "test"
state_dir = "state"
drain_timeout = "10s"
[log]
format = "json"
[api]
listen = ["unix:api.sock"]
"""
EDGE = """\
[[recorder]]
name = "edge"
interface = "near"
directory = "{directory}"
ring = "32MiB"
segment_size = "4MiB"
segment_every = "2s"
"""


def conf(directory: str = "edge", more: str = "") -> str:
    return BASE + EDGE.format(directory=directory) + more


@contextmanager
def program(folder: Path, text: str) -> Iterator[Program]:
    made = Program(folder)
    try:
        write_conf(made, text)
        made.start()
        made.wait_ready()
        yield made
    finally:
        made.close()


@contextmanager
def load(generator: Generator, *, pause_s: float = 0.001) -> Iterator[None]:
    """Packets come all the time, some 20,000 a second."""
    is_over = threading.Event()

    def send() -> None:
        while not is_over.wait(pause_s):
            generator.send(20)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("edge-*.pcap"))


def packets(made: Program) -> int:
    return int(made.figures("recorder.edge")["packets"])


def test_killed_recorder_is_repaired_at_the_next_start(tmp_path: Path, generator: Generator) -> None:
    """What readers found before is there, whole and indexed; the time without a recorder is a gap."""
    with program(tmp_path, conf().replace('"2s"', '"1d"')) as made:
        with load(generator):
            wait_for(lambda: made.account("recorder.edge")["delivered"] > 5_000)
            delivered = made.account("recorder.edge")["delivered"]
            assert made.process is not None
            made.process.kill()
            made.process.wait()
        folder = made.state / "edge"
        assert list(folder.glob("*.pcap.part"))
        made.start()
        made.wait_ready()
        assert not [path for path in folder.glob("*.pcap.part") if path.stat().st_size > 24]
        figures = made.figures("recorder.edge")
        assert figures["recovered"] == 1
        found = serials(files(folder))
        assert check_order(found) >= delivered
        assert all(numbers == list(range(len(numbers))) for numbers in found.values())
        assert len(list(folder.glob("*.pcap.idx"))) == len(files(folder))
        assert made.stop() == 0
        assert '"reason":"stopped"' in (folder / "edge.gaps.jsonl").read_text()


@pytest.mark.slow
def test_reload_loses_nothing_of_the_unchanged_and_of_the_changed(tmp_path: Path, generator: Generator) -> None:
    """Another table is added, then the recorder itself gets another snaplen, under load."""
    with program(tmp_path, conf()) as made:
        with load(generator):
            wait_for(lambda: packets(made) > 2_000)
            write_conf(made, conf(more='[[zmq]]\nname = "bro"\nbind = ["tcp://127.0.0.1:0"]\n'))
            assert made.reload()["ok"]
            before = packets(made)
            assert before > 2_000
            write_conf(made, conf(more="snaplen = 90\n"))
            assert made.reload()["ok"]
            assert packets(made) < before
            wait_for(lambda: packets(made) > 2_000)
            write_conf(made, conf(more='snaplen = 90\nfilter = "udp port"\n'))
            assert not made.reload()["ok"]
        wait_for(lambda: packets(made) and made.account("recorder.edge")["received"] >= generator.total)
        assert made.stop() == 0
        account = made.final("recorder.edge")
        assert account["dropped"] == {}
        found = serials(files(made.state / "edge"))
        assert {flow: sorted(set(numbers)) for flow, numbers in found.items()} == {
            flow: list(range(sent)) for flow, sent in generator.sent.items()
        }
        assert sum(map(len, found.values())) == account["received"]


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of that size, seen by us and our children."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
    if done.returncode:
        pytest.skip("no file system of our own here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.slow
def test_full_disk_costs_packets_that_are_counted(tmp_path: Path, generator: Generator) -> None:
    """Files and counted drops are what was sent; when there is room, it goes on by itself."""
    disk = tmp_path / "disk"
    with small_disk(disk, "12m"):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(8 << 20))
        with program(tmp_path, conf(str(disk / "edge"), 'min_free = "0B"\nbudget = "9MiB"\n')) as made:
            with load(generator):
                wait_for(lambda: made.account("recorder.edge")["dropped"].get("disk", 0) > 1_000)
                ballast.unlink()
                delivered = made.account("recorder.edge")["delivered"]
                wait_for(lambda: made.account("recorder.edge")["delivered"] > delivered + 1_000)
            wait_for(lambda: made.account("recorder.edge")["received"] >= generator.total)
            assert made.stop() == 0
            account = made.final("recorder.edge")
            assert set(account["dropped"]) == {"disk"}
            assert account["delivered"] + account["dropped"]["disk"] == generator.total
            gaps = (disk / "edge" / "edge.gaps.jsonl").read_text()
            assert '"reason":"disk"' in gaps
            check_order(serials(files(disk / "edge")))


@pytest.mark.slow
def test_two_recorders_share_a_disk_and_leave_room_on_it(tmp_path: Path, generator: Generator) -> None:
    """Budgets that are too large for it in the sum: equal shares, the oldest go first, and no packet is lost."""
    disk, mib = tmp_path / "disk", 1 << 20
    more = 'min_free = "16MiB"\nbudget = "30MiB"\nfilter = "{}"\n'
    edge = EDGE.replace('"4MiB"', '"1MiB"').replace('"2s"', '"1d"').format(directory=disk / "edge")
    other = edge.replace("edge", "other")
    text = BASE + edge + more.format("udp src port 1000") + other + more.format("not udp src port 1000")
    large = Generator(2, size=4000)

    def is_settled() -> bool:
        found = [made.figures(f"recorder.{name}") for name in ("edge", "other")]
        assert all(each["packets"] == large.sent[0] for each in found)
        assert all(0 < each["disk_bytes"] <= each["disk_limit"] < 14 * mib for each in found)
        space = os.statvfs(disk)
        return space.f_bavail * space.f_frsize >= 16 * mib

    with small_disk(disk, "40m"), program(tmp_path, text) as made:
        for _ in range(5):
            large.send(2 * 1024)
            wait_for(is_settled)
        assert made.stop() == 0
        for flow, name in enumerate(("edge", "other")):
            account = made.final(f"recorder.{name}")
            assert (account["received"], account["dropped"]) == (large.sent[flow], {})
            numbers = serials(sorted((disk / name).glob("*.pcap")))[flow]
            assert numbers == list(range(numbers[0], large.sent[flow]))
            assert 8 * mib // 4100 < len(numbers) < 14 * mib // 4100
            assert '"reason":"budget"' in (disk / name / f"{name}.gaps.jsonl").read_text()
    large.close()


UNPRIVILEGED = """\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CAP_NET_RAW, PR_CAP_AMBIENT, RAISE, PR_SET_SECUREBITS, NOROOT = 13, 47, 2, 28, 3
class Header(ctypes.Structure): _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
class Data(ctypes.Structure): _fields_ = [("e", ctypes.c_uint32), ("p", ctypes.c_uint32), ("i", ctypes.c_uint32)]
assert libc.prctl(PR_SET_SECUREBITS, NOROOT, 0, 0, 0) == 0
bits = 1 << CAP_NET_RAW if sys.argv[1] == "raw" else 0
data = (Data * 2)(Data(bits, bits, bits), Data(0, 0, 0))
assert libc.capset(ctypes.byref(Header(0x20080522, 0)), data) == 0
if bits:
    assert libc.prctl(PR_CAP_AMBIENT, RAISE, CAP_NET_RAW, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-m", "appliance", "--config", sys.argv[2]])
"""


class Unprivileged(Program):
    """The program with CAP_NET_RAW alone or with nothing: what makes root more than others is turned off."""

    capability = "raw"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UNPRIVILEGED, self.capability, self.conf],
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": os.fspath(self.folder / "notify")},
            )


@contextmanager
def unprivileged(folder: Path, capability: str) -> Iterator[Unprivileged]:
    made = Unprivileged(folder)
    made.capability = capability
    try:
        write_conf(made, conf())
        made.start()
        yield made
    finally:
        made.close()


def test_ordinary_user_records_with_one_capability(tmp_path: Path, generator: Generator) -> None:
    """CAP_NET_RAW and nothing else, promiscuously."""
    with unprivileged(tmp_path, "raw") as made:
        made.wait_ready()
        assert made.process is not None
        status = Path(f"/proc/{made.process.pid}/status").read_text()
        assert "CapEff:\t0000000000002000\n" in status
        generator.send(1_000)
        wait_for(lambda: made.account("recorder.edge")["delivered"] == 1_000)
        assert made.stop() == 0
        assert check_order(serials(files(made.state / "edge"))) == 1_000


def test_ordinary_user_without_it_is_told_what_to_do(tmp_path: Path, generator: Generator) -> None:
    """One line, and exit code 1."""
    with unprivileged(tmp_path, "none") as made:
        assert made.wait_ended() == 1
        (line,) = made.events("cannot start")
        assert line["error"].startswith("cannot record from near: CAP_NET_RAW is missing (AmbientCapabilities=")


def test_the_example_runs(tmp_path: Path, generator: Generator) -> None:
    """As it is shipped, on the loopback interface, each packet once."""
    text = (Path(__file__).parents[2] / "conf" / "recorder.toml").read_text()
    for given, there in (("../demo-data/recorder", "state"), ('min_free = "1GiB"', 'min_free = "1MiB"')):
        assert given in text
        text = text.replace(given, there)
    ip("link", "set", "dev", "lo", "up")
    with program(tmp_path, text + '[log]\nformat = "json"\n') as made:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(10):
                sender.sendto(b"x", ("127.0.0.1", 9))
        wait_for(lambda: made.account("recorder.edge")["delivered"] >= 10)
        assert made.stop() == 0
        (path,) = files(made.state / "edge")
        (told,) = made.events("a capture file is finished")
        assert told["file"] == str(path)
