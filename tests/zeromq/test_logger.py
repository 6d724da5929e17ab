"""The cluster's logger with a real PUSH socket: what it accepts, refuses and keeps, and what it counts."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing
import trio
import zmq

from appliance.errors import ApplianceError
from appliance.native import BatchIntake, LogColumn, LogColumns, ZmqDrain
from appliance.runtime import quarantine
from appliance.runtime.logs import Throttle
from appliance.units import Duration, Size
from appliance.zeromq.logger import MAX_NODES, columns_of, node_of

from .harness import DEADLINE_S, wait_until
from .logger_bench import FORMAT, GOLDEN, SENDER, TAG, Door, Node, payload, recorded, row, run_door

# ── what is accepted ──


async def test_a_recorded_cluster_is_what_zeek_wrote(tmp_path: Path, nodes: list[Node]) -> None:
    """The JSON text of every log equals that of Zeek's own logger; the recording has one connection more."""
    messages = recorded()
    async with run_door(Door(tmp_path)) as door:
        nodes.append(Node(door.endpoint))
        for frames in messages:
            nodes[0].sock.send_multipart(frames)
        records, batches = await door.wait_batches(len(messages))
        logs: defaultdict[str, bytes] = defaultdict(bytes)
        for item in await door.take():
            assert (item.node, item.source, item.count) in (
                (n, "cluster", item.data.count(b"\n")) for n in ("worker-1", "manager")
            )
            logs[item.path] += item.data
        columns = {item.path: item.columns for item in door.items}
        streams = {item.path: item.stream for item in door.items}
    oracle = {file.stem: file.read_bytes() for file in (GOLDEN / "logs-json").glob("*.log")}
    for path in ("cluster", "broker"):  # differ between runs
        del oracle[path]
    conn = oracle.pop("conn")
    assert logs["conn"].startswith(conn)
    assert logs["conn"].count(b"\n") == conn.count(b"\n") + 1
    assert {path: logs[path] for path in oracle} == oracle
    assert (batches.delivered, batches.dropped) == (len(messages), {})
    assert records.received == records.delivered == sum(data.count(b"\n") for data in logs.values()) > 7000
    assert door.figures.paths == {path: data.count(b"\n") for path, data in logs.items()}
    assert sum(door.figures.nodes.values()) == records.received
    assert columns["conn"][:5] == (
        ("ts", "time"), ("uid", "string"), ("id.orig_h", "addr"), ("id.orig_p", "port"), ("id.resp_h", "addr"),
    )  # fmt: skip
    assert ("tunnel_parents", "set[string]") in columns["conn"]
    assert streams["conn"] == "Conn::LOG"


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([TAG], "bad_frames"),
        ([TAG, SENDER, FORMAT], "bad_frames"),
        ([TAG, SENDER, FORMAT, payload(9), b""], "bad_frames"),
        ([b"event", SENDER, FORMAT, payload(9)], "bad_frames"),
        ([b"x"] * 500, "bad_frames"),
        ([TAG, SENDER, b"broker-bin-v1", payload(9)], "bad_format"),
        ([TAG, SENDER, FORMAT, payload(9, path="../etc/passwd")], "bad_path"),
        ([TAG, SENDER, FORMAT, payload(8, 9)[:-1]], "bad_batch"),
        ([TAG, SENDER, FORMAT, b""], "bad_batch"),
        ([TAG, SENDER, FORMAT, payload(9, filter_="kafka")], "other_filter"),
    ],
)
async def test_what_is_no_batch_costs_itself_only(
    tmp_path: Path, nodes: list[Node], frames: list[bytes], reason: str
) -> None:
    """It is booked by reason, the node stays connected, and its other batches arrive."""
    async with run_door(Door(tmp_path)) as door:
        nodes.append(Node(door.endpoint))
        nodes[0].send(payload(1))
        nodes[0].sock.send_multipart(frames)
        nodes[0].send(payload(2))
        records, batches = await door.wait_batches(3)
        assert (records.received, records.delivered, records.dropped) == (2, 2, {})
        assert (batches.delivered, batches.dropped, batches.lost) == (2, {reason: 1}, 0)
        assert (batches.filtered, batches.refused) == ((1, 0) if reason == "other_filter" else (0, 1))
        assert await door.rows() == [row(1), row(2)]
        assert (door.figures.senders.connected, door.figures.senders.disconnected) == (1, 0)


async def test_a_record_arrives_once_although_it_is_sent_for_each_filter(tmp_path: Path, nodes: list[Node]) -> None:
    """Only the accepted filter's copy is used."""
    async with run_door(Door(tmp_path, log_filters=("json", "x"))) as door:
        nodes.append(Node(door.endpoint))
        for filter_ in ("default", "json", "zeromq"):
            nodes[0].send(payload(1, 2, filter_=filter_))
        records, batches = await door.wait_batches(3)
        assert (await door.rows(), records.received) == ([row(1), row(2)], 2)
        assert batches.dropped == {"other_filter": 2}


# ── what is kept ──


async def test_bad_batches_are_kept_at_intervals(
    tmp_path: Path, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest ones, byte for byte, a few files altogether; those in between are counted only."""
    clock = Clock()
    monkeypatch.setattr(quarantine, "Throttle", functools.partial(Throttle, clock=clock))
    async with run_door(Door(tmp_path)) as door:
        nodes.append(Node(door.endpoint))
        for number in range(5):
            nodes[0].send(*(b"bad %d" % number + b"!" * copy for copy in range(3)))
            await door.wait_batches(3 * number + 3)
            await wait_until(lambda number=number: door.figures.quarantined == number + 1)  # type: ignore[misc]
            clock.now += quarantine.KEEP_EVERY_S
        assert door.kept() == [b"bad 2", b"bad 3", b"bad 4"]
        assert door.books()[1].dropped == {"bad_batch": 15}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_bad_batch_is_kept_and_told(tmp_path: Path, nodes: list[Node]) -> None:
    """The log names the file; nothing of the batch is used."""
    with structlog.testing.capture_logs() as logs:
        async with run_door(Door(tmp_path)) as door:
            nodes.append(Node(door.endpoint))
            bad = payload(1, 2, 3)[:-1]
            nodes[0].send(bad)
            await wait_until(lambda: door.figures.quarantined == 1)
            assert door.kept() == [bad]
            assert await door.take() == []
    [told] = [entry for entry in logs if "kept" in entry["event"]]
    assert Path(told["file"]).read_bytes() == bad
    assert [entry["reason"] for entry in logs if "reason" in entry] == ["bad_batch"]


async def test_a_quarantine_that_cannot_be_written_costs_nothing_else(tmp_path: Path, nodes: list[Node]) -> None:
    """It is told once, and the batches go on."""
    (tmp_path / "quarantine").write_text("in the way")
    with structlog.testing.capture_logs() as logs:
        async with run_door(Door(tmp_path)) as door:
            nodes.append(Node(door.endpoint))
            nodes[0].send(b"bad", payload(1))
            await door.wait_batches(2)
            assert await door.rows() == [row(1)]
            assert door.figures.quarantined == 0
    assert len([entry for entry in logs if entry["event"] == "cannot keep a refused log batch"]) == 1


# ── limits ──


async def test_an_oversized_message_cuts_its_sender_only(tmp_path: Path, nodes: list[Node]) -> None:
    """The other node stays connected and the log says what happened; libzmq connects the culprit again."""
    with structlog.testing.capture_logs() as logs:
        async with run_door(Door(tmp_path, max_message=Size(10_000))) as door:
            nodes += [Node(door.endpoint), Node(door.endpoint)]
            for i, node in enumerate(nodes):
                node.send(payload(i), sender=b"zeromq_n%d_h_1_x" % i)
            await door.wait_batches(2)
            nodes[1].send(payload(*range(1000)))
            await wait_until(lambda: door.figures.senders.cut == 1)
            nodes[0].send(payload(7), sender=b"zeromq_n0_h_1_x")
            await door.wait_batches(3)
            assert await door.rows(node="n0") == [row(0), row(7)]
            assert door.figures.senders.disconnected == 0
    assert [entry["largest"] for entry in logs if "was disconnected" in entry["event"]] == [10_000]


async def test_the_largest_message_is_accepted(tmp_path: Path, nodes: list[Node]) -> None:
    """The limit itself is legal."""
    largest = payload(*range(1000))
    async with run_door(Door(tmp_path, max_message=Size(len(largest)))) as door:
        nodes.append(Node(door.endpoint))
        nodes[0].send(largest)
        assert (await door.wait_batches(1))[0].received == 1000


async def test_a_slow_consumer_holds_the_nodes_back(tmp_path: Path, nodes: list[Node]) -> None:
    """With small high-water marks a node soon cannot send; nothing that it could send is lost."""
    limits = {"max_records": 10, "max_bytes": 1 << 30}
    settings: dict[str, Any] = {"policy": "block", "limits": limits, "hwm": 2, "max_wait": Duration(600 * 10**9)}
    numbers = range(20_000)  # half a megabyte: the sockets' buffers hold only some
    async with run_door(Door(tmp_path, **settings)) as door:
        nodes.append(Node(door.endpoint, hwm=2))
        sent = 0
        for _ in range(1000):
            try:
                nodes[0].send(payload(*numbers))
            except zmq.Again:
                await trio.sleep(0.001)
            else:
                sent += 1
        assert door.queue._pending
        assert 3 < sent < 200
        received = 0
        with trio.fail_after(60):
            while received < sent * len(numbers):
                async with door.queue.lease(1_000_000) as parcel:
                    received += parcel.count
                    parcel.deliver(parcel.count)
        assert (await door.wait_batches(sent))[0].received == received == sent * len(numbers)


def test_the_socket_has_the_configured_limits(tmp_path: Path) -> None:
    door = Door(tmp_path, hwm=7, max_message=Size(12_345))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(zmq.PULL)
    door.receiver._configure(sock)
    assert (sock.getsockopt(zmq.RCVHWM), sock.getsockopt(zmq.MAXMSGSIZE)) == (7, 12_345)
    context.destroy(linger=0)


# ── names ──


@pytest.mark.parametrize(
    ("sender", "node"),
    [
        (SENDER, "worker-1"),
        (b"zeromq_manager_vm_28355_NvKpWv", "manager"),
        (b"zeromq_a_b_c_host.example_1_x", "a_b_c"),
        (b"zeromq_worker-1_host_pid_x", "zeromq_worker-1_host_pid_x"),
        (b"worker-1", "worker-1"),
        (b"", ""),
        (b"zeromq__h_1_x", "zeromq__h_1_x"),
        (b"zeromq_w_h_1_", "zeromq_w_h_1_"),
        (b"\xff\n", "\ufffd\n"),
    ],
)
def test_names_of_nodes(sender: bytes, node: str) -> None:
    """From Zeek's ids; anything else stays what it is, as text."""
    assert node_of(sender) == node


def test_types_of_columns() -> None:
    columns = [LogColumn("a", 5), LogColumn("b", 14, 11), LogColumn("c", 19, 99), LogColumn("d", 99)]
    schema = LogColumns("s", "w", "f", "p", tuple(columns))
    assert columns_of(schema) == (("a", "time"), ("b", "set[addr]"), ("c", "vector[string]"), ("d", "string"))


async def test_endless_names_are_bounded(tmp_path: Path, nodes: list[Node]) -> None:
    """Those who were there keep their figures, the rest is counted together; every record arrives."""
    extra = 100
    async with run_door(Door(tmp_path)) as door:
        nodes.append(Node(door.endpoint))
        for i in range(MAX_NODES + extra):
            nodes[0].send(payload(i, path=f"p{i}", name=f"c{i}"), sender=b"node%d" % i)
        await door.wait_batches(MAX_NODES + extra)
        assert len(await door.take()) == MAX_NODES + extra
        for table in (door.figures.paths, door.figures.nodes):
            assert (len(table), table["*"]) == (MAX_NODES + 1, extra)


# ── changes ──


async def test_filters_change_under_the_connection(tmp_path: Path, nodes: list[Node]) -> None:
    """And so does the patience; the node stays connected."""
    async with run_door(Door(tmp_path)) as door:
        nodes.append(Node(door.endpoint))
        before = door.endpoint
        nodes[0].send(payload(1), payload(1, filter_="b"))
        await door.wait_batches(2)
        change = door.replaced(log_filters=("b",), max_wait=Duration(1))
        assert door.receiver.apply(change)
        assert door.receiver.config is change
        nodes[0].send(payload(2), payload(2, filter_="b"))
        await door.wait_batches(4)
        assert door.receiver.apply(door.replaced(log_filters=tuple(f"f{i}" for i in range(100))))
        nodes[0].send(payload(3, filter_="f99"), payload(3, filter_="b"))
        _, batches = await door.wait_batches(6)
        assert await door.rows() == [row(1), row(2), row(3)]
        assert batches.dropped == {"other_filter": 3}
        assert (door.endpoint, door.figures.senders.accepted) == (before, 1)


@pytest.mark.parametrize(
    "change", [{"log_bind": "tcp://127.0.0.1:1"}, {"hwm": 7}, {"max_message": 9}, {"curve_secret_key_file": "/x"}]
)
async def test_what_belongs_to_the_socket_is_not_taken_over(
    tmp_path: Path, nodes: list[Node], change: dict[str, Any]
) -> None:
    """The caller is told to start another one, and this one goes on as before."""
    async with run_door(Door(tmp_path)) as door:
        assert not door.receiver.apply(door.replaced(**change, log_filters=("other",)))
        assert not door.receiver.apply(msgspec.structs.replace(door.config, zeek_version="8.1"))
        assert door.receiver.config is door.config
        nodes.append(Node(door.endpoint))
        nodes[0].send(payload(1))
        assert (await door.wait_batches(1))[0].delivered == 1


# ── life ──


async def test_a_stop_takes_what_has_arrived(tmp_path: Path, nodes: list[Node]) -> None:
    """Everything that libzmq has received is handed on, however little was taken before."""
    door = Door(tmp_path)
    count = 5000
    async with run_door(door):
        nodes.append(Node(door.endpoint))
        nodes[0].send(*(payload(i) for i in range(count)))
        await wait_until(lambda: door.books()[1].received > 0)
    records, batches = door.books()
    assert records.received == batches.received > 0
    assert await door.rows() == [row(i) for i in range(records.received)]


async def test_a_stop_does_not_wait_for_a_node_that_never_pauses(tmp_path: Path, nodes: list[Node]) -> None:
    """It is cut after a moment; what was received is handed on."""
    door = Door(tmp_path)
    async with trio.open_nursery() as nursery:

        async def push() -> None:
            while True:
                for _ in range(100):
                    nodes[0].sock.send_multipart([TAG, SENDER, FORMAT, payload(1)])
                await trio.lowlevel.checkpoint()

        async with run_door(door):
            nodes.append(Node(door.endpoint))
            nursery.start_soon(push)
            await wait_until(lambda: door.books()[1].received > 100)
        nursery.cancel_scope.cancel()
    records, batches = door.books()
    assert records.delivered == batches.delivered == len(await door.rows())


async def test_a_stop_before_the_start_ends_it_at_once(tmp_path: Path) -> None:
    door = Door(tmp_path)
    door.receiver.stop()
    with trio.fail_after(DEADLINE_S):
        await door.receiver.run()
    assert not door.account._holders


async def test_it_runs_again_after_a_failure(
    tmp_path: Path, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same object: what had been received before the failure is handed on or booked, never twice."""
    endpoint = f"ipc://{tmp_path}/s"
    door = Door(tmp_path, log_bind=endpoint)
    original = ZmqDrain.drain
    failures = [OSError("boom")]

    def fail_once(self: ZmqDrain, socket: int, intake: Any, limit: int) -> tuple[int, bool]:
        received, is_empty = original(self, socket, intake, limit)
        if received and failures:
            raise failures.pop()
        return received, is_empty

    monkeypatch.setattr(ZmqDrain, "drain", fail_once)
    nodes.append(Node(endpoint))
    nodes[0].send(payload(1))
    with trio.fail_after(DEADLINE_S), pytest.raises((OSError, ExceptionGroup)):
        await door.receiver.run()
    records, batches = door.books()
    assert (records.received, records.dropped, batches.delivered) == (1, {"shutdown": 1}, 1)
    assert door.figures.endpoints == ()
    async with run_door(door):
        nodes[0].send(payload(2))
        await door.wait_batches(2)
        assert await door.rows() == [row(2)]


async def test_no_memory_costs_one_batch(tmp_path: Path, nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is booked as a loss; what came before and after it is handed on, over the same connection."""
    original = BatchIntake.counts
    drain = ZmqDrain.drain
    lost = 0

    def fail(self: ZmqDrain, socket: int, intake: Any, limit: int) -> tuple[int, bool]:
        nonlocal lost
        received, is_empty = drain(self, socket, intake, 1)
        if received and not lost:
            lost = 1
            raise MemoryError
        return received, is_empty

    def counts(self: BatchIntake) -> Any:
        told = original(self)
        return told._replace(no_memory=lost, messages=told.messages + lost)

    door = Door(tmp_path)
    monkeypatch.setattr(ZmqDrain, "drain", fail)
    monkeypatch.setattr(BatchIntake, "counts", counts)
    async with run_door(door):
        nodes.append(Node(door.endpoint))
        nodes[0].send(payload(1), payload(2), payload(3))
        _, batches = await door.wait_batches(4)
        assert (batches.delivered, batches.dropped, batches.lost) == (3, {"no_memory": 1}, 1)
        assert await door.rows() == [row(1), row(2), row(3)]
        assert door.figures.senders.accepted == 1


async def test_cancelled_while_it_hands_on(tmp_path: Path, nodes: list[Node]) -> None:
    """What was taken and not handed on is booked; the account has no holder left."""
    limits = {"max_records": 1, "max_bytes": 1 << 30}
    door = Door(tmp_path, policy="block", limits=limits, max_wait=Duration(600 * 10**9))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: door.receiver.run(task_status=task_status))
        nodes.append(Node(door.endpoint))
        for path in "abc":
            nodes[0].send(payload(1, 2, 3, path=path))
        await wait_until(lambda: door.books()[1].received > 0 and door.queue._pending > 0)
        nursery.cancel_scope.cancel()
    records, batches = door.books()
    assert records.received == 3 * batches.received == records.delivered + records.dropped.get("shutdown", 0)
    assert records.queued == 0
    assert not door.account._holders


async def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    async with run_door(Door(tmp_path)) as door:
        other = Door(tmp_path, log_bind=door.endpoint)
        with pytest.raises(ApplianceError, match="cannot bind"):
            await other.receiver.run()
        assert not other.account._holders
