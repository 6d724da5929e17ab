"""The whole program as logger of a ZeroMQ cluster: recorded batches from a real PUSH socket while things happen."""

from __future__ import annotations

import functools
import gzip
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from appliance.native import Transcoder

from .harness import BASE, DEADLINE_S, SINK, Program, delivered, open_program, wait_for, write_conf

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden" / "zeromq" / "cluster.jsonl.gz"
TAG, FORMAT = b"log-write", b"zeek-bin-serializer"
ROUNDS = 100
CLUSTER = """\
[cluster]
backend = "zeromq"
[cluster.zeromq]
log_bind = "{bind}"
"""
ANY = "tcp://127.0.0.1:0"
BY_NODE = SINK.replace("{path}/%Y.log", "{path}/{node}/%Y.log")
CONF = BASE + CLUSTER.format(bind=ANY) + BY_NODE
BOOKS = ("cluster", "cluster.batches", "sink.archive")

Log = tuple[str, str]
"""Log path and node."""


@functools.cache
def recorded() -> list[tuple[list[bytes], Log, list[bytes]]]:
    """Each recorded message, whose log it belongs to, and its records as JSON."""
    transcoder, found = Transcoder(), []
    with gzip.open(GOLDEN, "rt") as lines:
        for entry in map(json.loads, lines):
            if entry["socket"] == "pull":
                frames = [bytes.fromhex(frame) for frame in entry["frames"]]
                batch = transcoder.batch(frames[3])
                node = frames[1].split(b"_")[1].decode()
                found.append((frames, (batch.path, node), batch.data.splitlines()))
    return found


def numbered(number: int, count: int = 20) -> bytes:
    """A batch whose records say which batch they belong to."""
    texts = (b"Conn::LOG", b"Log::WRITER_ASCII", b"default", b"conn")
    head = b"".join(struct.pack(">I", len(text)) + text for text in texts)
    columns = b"".join(b"\0\0\0\0\1" + name + struct.pack(">iiB", 3, 0, 0) for name in (b"b", b"i"))
    value = struct.Struct(">iiBQ")
    records = b"".join(value.pack(3, 0, 1, number) + value.pack(3, 0, 1, i) for i in range(count))
    return head + struct.pack(">I", 2) + columns + struct.pack(">I", count) + records


def numbered_rows(number: int, count: int = 20) -> list[bytes]:
    return [b'{"b":%d,"i":%d}' % (number, i) for i in range(count)]


class Node:
    """Pushes messages from a thread: `messages` one after the other, a few at a time, until they end or it is told."""

    def __init__(self, endpoint: str, messages: Iterator[list[bytes]], *, pause_s: float = 0.001) -> None:
        self.sent = 0
        self._messages, self._pause_s = messages, pause_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sock = self._context.socket(zmq.PUSH)
        self._sock.setsockopt(zmq.SNDHWM, 1000)
        self._sock.setsockopt(zmq.SNDTIMEO, 100)
        self._sock.setsockopt(zmq.RECONNECT_IVL, 10)
        self._sock.connect(endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for frames in self._messages:
            while not self._stop.is_set():
                try:
                    self._sock.send_multipart(frames)
                except zmq.Again:
                    continue
                self.sent += 1
                break
            if self._stop.is_set():
                return
            if not self.sent % 10:
                self._stop.wait(self._pause_s)

    def finish(self) -> int:
        """Wait until all is sent; returns how many messages that were."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.sent

    def stop(self) -> int:
        self._stop.set()
        return self.finish()

    def close(self) -> None:
        self.stop()
        self._context.destroy(linger=0)


@contextmanager
def open_node(endpoint: str, messages: Iterator[list[bytes]], **settings: float) -> Iterator[Node]:
    node = Node(endpoint, messages, **settings)
    try:
        yield node
    finally:
        node.close()


def golden(rounds: int) -> Iterator[list[bytes]]:
    for _ in range(rounds):
        for frames, _, _ in recorded():
            yield frames


def endless(first: int = 0) -> Iterator[list[bytes]]:
    number = first
    while True:
        yield [TAG, b"zeromq_worker-1_h_1_x", FORMAT, numbered(number)]
        number += 1


def expected(rounds: int) -> dict[Log, list[bytes]]:
    logs: defaultdict[Log, list[bytes]] = defaultdict(list)
    for _, log, rows in recorded():
        logs[log] += rows
    return {log: rows * rounds for log, rows in logs.items()}


def endpoint_of(program: Program) -> str:
    return str(program.figures("cluster")["endpoints"][0])


def written(program: Program, *folders: str) -> dict[Log, list[bytes]]:
    """Rows by log, over the folders in this order."""
    logs: defaultdict[Log, list[bytes]] = defaultdict(list)
    for folder in folders:
        for path in sorted((program.state / folder).glob("*/*")):
            logs[path.parent.name, path.name] += program.rows(f"{path.parent.name}/{path.name}", folder)
    return dict(logs)


def check_books(program: Program, records: int, batches: int) -> None:
    """After the end: everything was received, and written."""
    door, messages, sink = map(program.final, BOOKS)
    assert (door["received"], door["delivered"], sink["delivered"]) == (records,) * 3
    assert (messages["received"], messages["delivered"]) == (batches, batches)
    assert door["dropped"] == sink["dropped"] == {}
    assert not program.parts()


def test_recorded_batches_survive_reloads(tmp_path: Path) -> None:
    """Hooks and sinks change while the node sends: every record is written once, in order; the door is not touched."""
    wanted = expected(ROUNDS)
    total, batches = sum(map(len, wanted.values())), ROUNDS * len(recorded())
    moved = BASE + CLUSTER.format(bind=ANY) + BY_NODE.replace("logs/", "moved/")
    with open_program(tmp_path, CONF) as program:
        endpoint = endpoint_of(program)
        with open_node(endpoint, golden(ROUNDS)) as node:
            for step, conf in enumerate((CONF, CONF + 'rotate_size = "256KiB"\n', CONF, moved, moved)):
                goal = total * (step + 1) // 10
                wait_for(lambda goal=goal: delivered(program, "sink.archive", goal))  # type: ignore[misc]
                write_conf(program, conf)
                assert program.reload()["ok"]
            assert node.finish() == batches
            wait_for(lambda: delivered(program, "sink.archive", total))
            figures = program.figures("cluster")
            assert figures["endpoints"] == [endpoint]
            assert (figures["senders"]["accepted"], figures["senders"]["connected"]) == (1, 1)
            assert program.stop() == 0
        check_books(program, total, batches)
        assert written(program, "logs", "moved") == wanted
        assert written(program, "moved")


def test_filters_change_under_load(tmp_path: Path) -> None:
    """While the accepted filter is another one, batches are filtered and counted; no connection notices."""
    other = CONF.replace('log_bind = "', 'log_filters = ["other"]\nlog_bind = "')
    with open_program(tmp_path, CONF) as program, open_node(endpoint_of(program), endless()) as node:
        wait_for(lambda: delivered(program, "sink.archive", 2000))
        write_conf(program, other)
        assert program.reload()["ok"]
        wait_for(lambda: program.account("cluster.batches")["dropped"].get("other_filter", 0) > 100)
        write_conf(program, CONF)
        assert program.reload()["ok"]
        before = program.account("sink.archive")["delivered"]
        wait_for(lambda: delivered(program, "sink.archive", before + 2000))
        sent = node.stop()
        wait_for(lambda: program.account("cluster.batches")["received"] == sent)
        assert program.figures("cluster")["senders"]["accepted"] == 1
        assert program.stop() == 0
        messages, sink = program.final("cluster.batches"), program.final("sink.archive")
        assert messages["delivered"] + messages["dropped"]["other_filter"] == sent
        rows = program.rows("conn/worker-1")
        assert len(rows) == len(set(rows)) == sink["delivered"] == 20 * messages["delivered"]


# ── the disk is full ──


def limited_rows(program: Program) -> list[bytes]:
    files = program.files("conn/worker-1")
    assert all(not file.read_bytes() or file.read_bytes().endswith(b"\n") for file in files)
    return program.rows("conn/worker-1")


def test_files_that_must_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops every write in its middle; once it is lifted, all is written once and whole."""
    with open_program(tmp_path, CONF) as program, open_node(endpoint_of(program), endless()) as node:
        assert program.process is not None
        wait_for(lambda: delivered(program, "sink.archive", 2000))
        size = max(file.stat().st_size for file in program.files("conn/worker-1"))
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (size + 10_001, resource.RLIM_INFINITY))
        before = wait_for(lambda: restarts(program) >= 2 and node.sent)
        wait_for(lambda: node.sent >= before + 10)
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        check_recovered(program, node)


def restarts(program: Program) -> int:
    [line] = [line for line in program.status()["services"] if line["service"]["name"] == "sink.archive"]
    return int(line["service"]["restarts"])


def check_recovered(program: Program, node: Node) -> None:
    """The node ends, and what the books call delivered is in the files, once."""
    sent = node.stop()
    wait_for(lambda: program.account("cluster.batches")["received"] == sent, timeout_s=60)
    wait_for(lambda: not program.account("sink.archive")["queued"], timeout_s=60)
    assert program.stop() == 0
    door, sink = program.final("cluster"), program.final("sink.archive")
    assert door["received"] == door["delivered"] == sink["received"] == 20 * sent
    rows = limited_rows(program)
    assert len(rows) == sink["delivered"]
    assert not sink["dropped"].keys() - {"stalled"}
    if not sink["dropped"]:
        assert rows == [each for number in range(sent) for each in numbered_rows(number)]
    wanted = {each for number in range(sent) for each in numbered_rows(number)}
    assert max(Counter(rows).values()) == 1
    assert set(rows) <= wanted
    assert not program.parts()


def test_a_full_file_system(tmp_path: Path) -> None:
    """ENOSPC on a small file system of the program's own; when room is made, all is written once and whole."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("cannot make a mount namespace here")
    done = in_own_mounts(tmp_path, "full_disk")
    if done.returncode == 77:
        pytest.skip("cannot mount here")
    assert done.returncode == 0, done.stderr.decode()


def in_own_mounts(folder: Path, scenario: str) -> subprocess.CompletedProcess[bytes]:
    """Run a scenario of this module in a private mount namespace, with a small file system at ``state/logs``."""
    logs = folder / "state" / "logs"
    logs.mkdir(parents=True)
    script = 'mount -t tmpfs -o size=4m tmpfs "$1" || exit 77; shift; exec "$@"'
    code = f"import sys; from tests.system import test_logger as t; t.{scenario}(t.Path(sys.argv[1]))"
    command: list[str | Path] = ["unshare", "-m", "sh", "-c", script, "sh", logs, sys.executable, "-c", code, folder]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, timeout=120)


def full_disk(folder: Path) -> None:
    """Fill the small file system while a node sends, and free it again."""
    with open_program(folder, CONF) as program, open_node(endpoint_of(program), endless()) as node:
        wait_for(lambda: delivered(program, "sink.archive", 2000))
        ballast = program.state / "logs" / "ballast"
        fill(ballast)
        before = wait_for(lambda: restarts(program) >= 2 and node.sent)
        wait_for(lambda: node.sent >= before + 10)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=1g", program.state / "logs"], check=True)
        check_recovered(program, node)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


# ── the end ──


def test_a_kill_and_a_restart_under_load(tmp_path: Path) -> None:
    """Whole lines only; what is missing are whole messages that were on their way, none sent after the restart."""
    conf = BASE + CLUSTER.format(bind=f"ipc://{tmp_path}/pull") + BY_NODE
    with open_program(tmp_path, conf) as program, open_node(f"ipc://{tmp_path}/pull", endless()) as node:
        wait_for(lambda: delivered(program, "sink.archive", 20_000))
        before = program.account("sink.archive")["delivered"]
        program.signal(signal.SIGKILL)
        assert program.wait_ended() == -signal.SIGKILL
        killed_at = node.sent
        [part] = program.parts()
        on_disk = part.read_bytes()
        whole = on_disk[: on_disk.rfind(b"\n") + 1].splitlines()
        assert before <= len(whole) <= 20 * killed_at
        wait_for(lambda: node.sent > killed_at)
        program.start()
        program.wait_ready()
        wait_for(lambda: delivered(program, "sink.archive", 20_000))
        sent = node.stop()
        wait_for(lambda: last_batch(program) == sent - 1)
        received = program.account("cluster.batches")["received"]
        assert program.stop() == 0
        check_books(program, 20 * received, received)
        rows = program.rows("conn/worker-1")
        assert rows[: len(whole)] == whole
        later = [json.loads(row)["b"] for row in rows[len(whole) :: 20]]
        assert rows[len(whole) :] == [each for number in later for each in numbered_rows(number)]
        assert later == list(range(later[0], sent))
        last = json.loads(whole[-1])
        assert whole == [each for number in range(last["b"] + 1) for each in numbered_rows(number)][: len(whole)]
        assert last["b"] < later[0] <= killed_at + 100  # what libzmq was just sending


def last_batch(program: Program) -> int:
    rows = program.rows("conn/worker-1")
    return int(json.loads(rows[-1])["b"]) if rows and not program.account("sink.archive")["queued"] else -1


@pytest.mark.parametrize("pause_s", [0.001, 0.0], ids=["paced", "full speed"])
def test_a_stop_under_load(tmp_path: Path, pause_s: float) -> None:
    """What was received is written: the beginning of what was sent, without a gap."""
    with open_program(tmp_path, CONF) as program:
        with open_node(endpoint_of(program), endless(), pause_s=pause_s):
            wait_for(lambda: delivered(program, "sink.archive", 5000))
            assert program.stop() == 0
        received = program.final("cluster.batches")["received"]
        check_books(program, 20 * received, received)
        rows = program.rows("conn/worker-1")
        assert rows == [each for number in range(received) for each in numbered_rows(number)]


# ── the start ──


@pytest.mark.parametrize("name", ["curve_secret_key_file", "curve_client_public_key_file"])
def test_a_bad_key_file_is_a_mistake_in_the_configuration(tmp_path: Path, name: str) -> None:
    """Exit code 2 and one line that names the file and does not tell what is in it."""
    public, secret = zmq.curve_keypair()
    files = {"curve_secret_key_file": secret, "curve_client_public_key_file": public}
    lines = ""
    for key, content in files.items():
        (tmp_path / key).write_bytes(b"hushhush" if key == name else content)
        lines += f'{key} = "{tmp_path / key}"\n'
    conf = BASE.replace('"json"', '"console"') + CLUSTER.format(bind=ANY) + lines + BY_NODE
    (tmp_path / "conf.toml").write_text(conf)
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "--config", tmp_path / "conf.toml"],
        capture_output=True, text=True, timeout=DEADLINE_S,
        env={key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"},
    )  # fmt: skip
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if "cannot start" in line]
    assert f"no CURVE key in {tmp_path / name}" in line
    assert "hushhush" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_key_file_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    """The old logger goes on, encrypted or not, and the node's connection comes back by itself."""
    conf = BASE + CLUSTER.format(bind=f"ipc://{tmp_path}/pull")
    bad = conf + f'curve_secret_key_file = "{tmp_path}/none"\n' + BY_NODE
    with open_program(tmp_path, conf + BY_NODE) as program, open_node(f"ipc://{tmp_path}/pull", endless()):
        wait_for(lambda: delivered(program, "sink.archive", 1000))
        write_conf(program, bad)
        outcome = program.reload()
        assert not outcome["ok"]
        assert any(f"{tmp_path}/none" in error for error in outcome["errors"])
        before = program.account("sink.archive")["delivered"]
        wait_for(lambda: delivered(program, "sink.archive", before + 1000))
        assert program.stop() == 0
