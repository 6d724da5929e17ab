"""Log records: from Zeek into our files, from us into Zeek's, and through two programs of ours.

The numbers are those of the protocol's test plan.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.wire.node_messages import MessageKind
from appliance.zeek.log_create import LogCreate, WriterInfo, make_log_create
from appliance.zeek.messages import Batch, LogWrite, decode_message, encode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import RecordCodec
from appliance.zeek.schema import Field, LogSchema, ZeekType
from appliance.zeek.tsv_write import parse_json_record
from tests.system.harness import Program
from tests.zeek.golden import GOLDEN, broker_data, oracle, oracle_paths

from .conftest import slow
from .peer import Peer, dial
from .product import broker_port, open_product, until
from .sides import ApplianceSide, Side, ZeekSide, open_appliance, open_zeek_side
from .test_messages import free_ports, write_layout
from .zeek_process import ZeekProcess, open_zeek, require_zeek

STREAM, WRITER = "Interop::LOG", "Log::WRITER_ASCII"
TOPIC = f"zeek/logs/{STREAM}"
CAPTURE = Path(os.environ.get("INTEROP_CAPTURE", GOLDEN / "mix1.pcap"))
UNLIKE = {"broker", "cluster", "packet_filter", "reporter", "loaded_scripts", "telemetry", "stats", "stderr", "stdout"}
"""Logs that Zeek writes before it has a peer, or about itself."""

SINK = """\
[[sink]]
name = "files"
on = ["log:*"]
path = "logs/{path}/%Y.log"
flush_every = "50ms"
"""
TO_PEERS = """\
[[sink]]
name = "peers"
kind = "broker"
on = ["log:*"]
topic = "zeek/logs/"
"""


def door(*, connect: int = 0, subscribe: Sequence[str] = ("zeek/logs/",), tls: str = "off") -> str:
    place = f'connect = ["127.0.0.1:{connect}"]' if connect else 'listen = ["127.0.0.1:0"]'
    return f'[broker]\n{place}\ntls = "{tls}"\nsubscribe = {json.dumps(list(subscribe))}\nmax_wait = "20s"\n'


async def rows(program: Program, path: str, count: int) -> list[str]:
    """The records of a log, once there are so many."""

    def look() -> list[bytes]:
        found = program.rows(path)
        assert len(found) >= count, f"{len(found)} of {count} records of {path}"
        return found

    return [row.decode() for row in await until(look)]


async def peers(program: Program, count: int) -> None:
    """Wait until it has so many."""
    await until(lambda: len(program.figures("broker")["peers"]) == count)


# ── a log of P's own ──


class Log:
    """A log that P announces and writes."""

    def __init__(self, path: str, *fields: Field, stream: str = STREAM, writer: str = WRITER) -> None:
        self.schema = LogSchema(stream=stream, writer=writer, filter="", path=path, fields=fields)
        self._codec = RecordCodec(fields)

    def create(self) -> bytes:
        info = WriterInfo(path=self.schema.path, network_time_s=1.5)
        return encode_message(make_log_create(self.schema, info, Numbering.FROM_5_0))

    def write(self, row: str) -> LogWrite:
        serial = self._codec.encode(parse_json_record(self.schema, row.encode()))
        return LogWrite(self.schema.stream, self.schema.writer, self.schema.path, serial)


def field(name: str, kind: ZeekType, subtype: ZeekType = ZeekType.VOID) -> Field:
    return Field(name, None, kind, subtype, optional=True)


SMALL = (field("ts", ZeekType.TIME), field("msg", ZeekType.STRING))
WIDE = (
    field("ts", ZeekType.TIME),
    field("b", ZeekType.BOOL),
    field("i", ZeekType.INT),
    field("c", ZeekType.COUNT),
    field("d", ZeekType.DOUBLE),
    field("iv", ZeekType.INTERVAL),
    field("s", ZeekType.STRING),
    field("e", ZeekType.ENUM),
    field("p", ZeekType.PORT),
    field("a4", ZeekType.ADDR),
    field("a6", ZeekType.ADDR),
    field("n4", ZeekType.SUBNET),
    field("n6", ZeekType.SUBNET),
    field("ss", ZeekType.TABLE, ZeekType.STRING),
    field("vd", ZeekType.VECTOR, ZeekType.DOUBLE),
    field("es", ZeekType.TABLE, ZeekType.ADDR),
    field("ev", ZeekType.VECTOR, ZeekType.COUNT),
    field("f", ZeekType.FUNC),
)
FULL = (
    '{"ts":1700000000.25,"b":true,"i":-5,"c":7,"d":0.1,"iv":1.5,"s":"quote \\" and \\\\ and é","e":"Interop::GREEN",'
    '"p":53,"a4":"192.0.2.7","a6":"2001:db8::1","n4":"10.0.0.0/8","n6":"2001:db8::/32","ss":["one"],'
    '"vd":[null,null,2.5],"es":[],"ev":[],"f":"shout"}'
)
EMPTY = '{"ts":1700000000.5}'


async def send_wide(p: Peer, path: str) -> list[str]:
    """Announce and write a log of all types, one by one and in a batch; returns the records."""
    log = Log(path, *WIDE)
    await p.publish(TOPIC, log.create(), encode_message(log.write(FULL)))
    await p.publish(TOPIC, encode_message(Batch((log.write(EMPTY), log.write(FULL)))))
    return [FULL, EMPTY, FULL]


# ── L1: announcements without having asked ──


@pytest.mark.slow
async def test_l1_zeek_announces_its_logs(tmp_path: Path) -> None:
    """Each open log to each new peer alone, whatever it asked for."""
    async with open_zeek_side(tmp_path, tls=False, script="logs.zeek") as z:
        await z.zeek.command("log", "0")
        async with dial(z.port, tls=False) as p:
            while True:
                message = await p.hear()
                assert message is not None
                create = decode_message(message.payload)
                if isinstance(create, LogCreate) and create.stream == STREAM:
                    break
            assert (message.topic, message.receiver) == (TOPIC, p.me)
            assert create.info.path == "interop"
            assert [column.name for column in create.columns][:3] == ["ts", "number", "b"]


@pytest.mark.slow
async def test_l1_ours_announces_to_who_asked(tmp_path: Path) -> None:
    """A peer that comes later hears of a log before its next records; one that asked for nothing hears nothing."""
    async with open_product(tmp_path, door() + SINK + TO_PEERS) as program:
        port = broker_port(program)
        async with dial(port, tls=False) as p:
            sent = await send_wide(p, "wide")
            await rows(program, "wide", len(sent))
            async with dial(port, tls=False, prefixes=["zeek/logs/"]) as q:
                [message] = await q.hear_some(MessageKind.DATA)
                create = decode_message(message.payload)
                assert isinstance(create, LogCreate)
                assert (create.stream, create.info.path, message.topic) == (STREAM, "wide", TOPIC)
                assert [column.name for column in create.columns] == [each.name for each in WIDE]
                await send_wide(p, "wide")
                [message] = await q.hear_some(MessageKind.DATA)
                assert isinstance(decode_message(message.payload), Batch)
            assert not [m for m in await p.hear_until_pong() if m.kind is MessageKind.DATA]


# ── L2, L3: Zeek's records in our files ──


@pytest.mark.slow
async def test_l2_a_capture(tmp_path: Path) -> None:
    """What arrives is what Zeek writes itself, record by record and letter by letter."""
    require_zeek()
    if not CAPTURE.exists():
        pytest.skip(f"no capture {CAPTURE}; INTEROP_CAPTURE can name another one")
    async with open_product(tmp_path / "a", door() + SINK) as program:
        env = {"INTEROP_PEER": str(broker_port(program))}
        arguments = ("-C", "-r", os.fspath(CAPTURE))
        folder, redefs = tmp_path / "z", {"Broker::disable_ssl": "T"}
        async with open_zeek(
            folder, "pcap.zeek", redefs=redefs, env=env, arguments=arguments, is_bare=False, ready=""
        ) as zeek:
            assert await zeek.wait_ended(timeout_s=120) == 0
        logs = {path.stem for path in folder.glob("*.log")} - UNLIKE
        assert "conn" in logs
        for log in sorted(logs):
            expected = zeek.lines(log)
            assert sorted(await rows(program, log, len(expected))) == sorted(expected), log


async def write_own(zeek: ZeekProcess, count: int) -> list[str]:
    """Have a Zeek write so many records; returns them as it has written them itself."""
    for number in range(count):
        await zeek.command("log", str(number))
    await zeek.command("flush")

    def look() -> list[str]:
        found = zeek.lines("interop")
        assert len(found) >= count
        return found

    return await until(look)


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["off", "anonymous"])
async def test_l3_every_type(tmp_path: Path, tls: str) -> None:
    """Unset fields, sets, holes in vectors, subnets of both families: the same text as in Zeek's own file."""
    async with (
        open_zeek_side(tmp_path / "z", tls=tls != "off", script="logs.zeek") as z,
        open_product(tmp_path / "a", door(connect=z.port, tls=tls) + SINK) as program,
    ):
        await z.journal.wait("peer_added")
        expected = await write_own(z.zeek, 10)
        assert await rows(program, "interop", 10) == expected


@pytest.mark.slow
async def test_l2_l3_two_programs_and_a_recorded_cluster(tmp_path: Path) -> None:
    """What a real worker sent to its logger goes through one program into another: both have that logger's files."""
    sent = [data for data in broker_data() if data.listener == "logger-1" and data.to_listener]
    async with open_product(tmp_path / "a", door(subscribe=["zeek/"]) + SINK + TO_PEERS) as first:
        port = broker_port(first)
        async with open_product(tmp_path / "b", door(connect=port) + SINK) as second, dial(port, tls=False) as p:
            await peers(first, 2)
            for data in sent:
                await p.publish(data.topic, data.payload)
            for path in oracle_paths():
                expected = [line.decode() for line in oracle(path)]
                # The logger was stopped before it had written the last connection.
                count = len(expected) + (path == "conn")
                assert (await rows(first, path, count))[: len(expected)] == expected, path
                assert await rows(second, path, count) == await rows(first, path, count), path


# ── L4: our records in Zeek's files ──


@pytest.mark.slow
async def test_l4_p_writes_to_zeek(tmp_path: Path) -> None:
    """After an announcement, single writes and batches are lines of its file."""
    async with (
        open_zeek_side(tmp_path, tls=False, subscribe=["zeek/logs/"], script="logs.zeek") as z,
        dial(z.port, tls=False) as p,
    ):
        expected = await send_wide(p, "wide")
        assert await until(lambda: (found := z.zeek.lines("wide"))[len(expected) - 1 :] and found) == expected


@pytest.mark.slow
async def test_l4_p_writes_to_ours(tmp_path: Path) -> None:
    """The same lines in ours."""
    async with open_product(tmp_path, door() + SINK) as program, dial(broker_port(program), tls=False) as p:
        expected = await send_wide(p, "wide")
        assert await rows(program, "wide", len(expected)) == expected


@pytest.mark.slow
async def test_l4_a_sink_writes_to_zeek(tmp_path: Path) -> None:
    """What comes in at a door of ours goes out to a logger of Zeek's: its file and ours are the same."""
    async with open_zeek_side(tmp_path / "z", tls=True, subscribe=["zeek/logs/"], script="logs.zeek") as z:
        conf = door(connect=z.port, tls="anonymous") + 'listen = ["127.0.0.1:0"]\n' + SINK + TO_PEERS
        async with open_product(tmp_path / "a", conf) as program:
            await peers(program, 1)
            async with dial(broker_port(program), tls=True) as p:
                expected = await send_wide(p, "wide")
                assert await rows(program, "wide", len(expected)) == expected
                assert await until(lambda: (found := z.zeek.lines("wide"))[len(expected) - 1 :] and found) == expected


@pytest.mark.slow
async def test_l4_a_sink_writes_to_another_program(tmp_path: Path) -> None:
    """A chain of two."""
    async with open_product(tmp_path / "b", door() + SINK) as logger:
        conf = door(connect=broker_port(logger)) + 'listen = ["127.0.0.1:0"]\n' + TO_PEERS
        async with open_product(tmp_path / "a", conf) as program, dial(broker_port(program), tls=False) as p:
            await peers(program, 2)
            expected = await send_wide(p, "wide")
            assert await rows(logger, "wide", len(expected)) == expected


# ── L5: mistakes ──


def messages_in(z: Side, path: str) -> list[str]:
    """The messages in a log of P's as Z has them."""
    if isinstance(z, ZeekSide):
        return [json.loads(line)["msg"] for line in z.zeek.lines(path)]
    assert isinstance(z, ApplianceSide)
    batches = [item for item in z.house.items if getattr(item, "path", "") == path]
    return [json.loads(row)["msg"] for batch in batches for row in batch.rows()]  # type: ignore[union-attr]


def line(text: str) -> str:
    return json.dumps({"ts": 1.5, "msg": text})


class Mistake:
    """What P does wrong before it does right: the message, what Zeek says, what ours counts."""

    def __init__(self, message: bytes, report: str, dropped: dict[str, int]) -> None:
        self.message, self.report, self.dropped = message, report, dropped


WIDER = Log("fromp", *SMALL, field("more", ZeekType.COUNT))
MISTAKES = {
    "no announcement": Mistake(encode_message(Log("unheard-of", *SMALL).write(line("no"))), "", {"no_schema": 1}),
    "another number of fields": Mistake(
        encode_message(WIDER.write(line("no"))), "expected 2 fields in write, got 3", {"bad_record": 1}
    ),
    "an unknown stream": Mistake(
        encode_message(Log("fromp", *SMALL, stream="Nobody::LOG").write(line("no"))),
        "failed to unpack remote log stream id",
        {"no_schema": 1},
    ),
    "an unknown writer": Mistake(
        encode_message(Log("fromp", *SMALL, writer="Log::WRITER_NONESUCH").write(line("no"))),
        "failed to unpack remote log writer id",
        {"no_schema": 1},
    ),
    "a record that ends too early": Mistake(
        encode_message(LogWrite(STREAM, WRITER, "fromp", Log("fromp", *SMALL).write(line("no")).serial[:-1])),
        "failed to unserialize remote log field",
        {"bad_record": 1},
    ),
}


@pytest.mark.parametrize("which", MISTAKES)
@pytest.mark.parametrize("what", ["appliance", slow("zeek")])
async def test_l5_mistakes(tmp_path: Path, what: str, which: str) -> None:
    """They cost the record, with a warning or a count; the connection and the next record are not hurt."""
    mistake = MISTAKES[which]
    log = Log("fromp", *SMALL)
    opened: Any
    if what == "zeek":
        opened = open_zeek_side(tmp_path, tls=False, subscribe=["zeek/logs/"], script="logs.zeek")
    else:
        opened = open_appliance(tmp_path, tls=False, subscribe=["zeek/logs/"])
    async with opened as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, log.create(), mistake.message, encode_message(log.write(line("good"))))
        await until(lambda: messages_in(z, "fromp"))
        assert messages_in(z, "fromp") == ["good"]
        assert not messages_in(z, "unheard-of")
        if mistake.report and what == "zeek":
            await z.journal.wait("report", mistake.report)
        if what == "appliance":
            assert z.house.books().dropped == mistake.dropped


# ── L6: a cluster ──


@pytest.mark.slow
async def test_l6_topics_of_a_cluster(tmp_path: Path) -> None:
    """A worker writes to the topic of its logger, not to that of the stream; announcements keep the latter."""
    require_zeek()
    nodes = ("manager", "logger-1", "worker-1")
    ports = dict(zip(nodes, free_ports(3), strict=True))
    redefs = {"Broker::disable_ssl": "T"}

    def node(name: str) -> Any:
        write_layout(tmp_path / name, ports)
        return open_zeek(tmp_path / name, "cluster-node.zeek", redefs=redefs, env={"CLUSTER_NODE": name})

    async with node("manager"), node("logger-1") as logger, node("worker-1") as worker:
        await worker.wait("node_up", "logger-1")
        prefixes = ["zeek/logs/", "zeek/cluster/node/logger-1/"]
        async with dial(ports["worker-1"], tls=False, prefixes=prefixes) as p:
            await worker.wait("peer_added", p.name)
            for number in range(4):
                await worker.command("log", str(number))
            await worker.command("flush")
            announced: set[str] = set()
            written: list[str] = []
            while len(written) < 4:
                [message] = await p.hear_some(MessageKind.DATA)
                found = decode_message(message.payload)
                if isinstance(found, LogCreate) and found.stream == STREAM:
                    announced.add(message.topic)
                elif isinstance(found, Batch):
                    writes = [each for each in found.messages if isinstance(each, LogWrite) and each.stream == STREAM]
                    written += [message.topic] * len(writes)
            assert announced == {TOPIC}
            assert set(written) == {"zeek/cluster/node/logger-1/"}
            await until(lambda: len(logger.lines("interop")) == 4)
