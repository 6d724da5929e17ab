"""`ctx.extract`: packets of a recorder in hooks, wherever they run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from appliance.config import Duration, Hook
from appliance.errors import ApplianceError
from appliance.evidence.packets import PacketFiles
from appliance.evidence.uids import FILE, UidMap, decode_rows
from appliance.hooks import ExtractError
from appliance.hooks.around import Around
from appliance.hooks.callables import load_callable
from appliance.hooks.extract import make_request
from appliance.hooks.extracts import Extracts
from appliance.hooks.filter import Everything
from appliance.hooks.runner import HookRunner
from appliance.model import LogBatch
from appliance.runtime.asking import Packets
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.journal.values import read_all
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.packets import Gap
from appliance.runtime.queue import ItemQueue
from appliance.zeek.values import Address, Port, Vector
from tests.evidence.harness import FakeStore, S, T, tcp, udp
from tests.native.packets import read_records

RECORD = {
    "ts": T / S, "uid": "Cabc", "id.orig_h": "10.0.0.1", "id.orig_p": 1234, "id.resp_h": "10.0.0.2", "id.resp_p": 80,
    "proto": "tcp",
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    """Twelve packets of the connection, one a second, the last one at its record's time, and some others."""
    made = FakeStore(tmp_path / "edge")
    for n in range(12):
        ts_ns = T - (11 - n) * S
        made.record(ts_ns, tcp(0x10))
        made.record(ts_ns + 1, udp("10.0.0.1", "10.0.0.2", (5353, 53)))
        made.record(ts_ns + 2, udp("10.0.0.1", "10.0.0.3", (5353, 53)))
    return made


def files(store: FakeStore | None, tmp_path: Path, now_ns: int = T + S) -> PacketFiles:
    return PacketFiles({} if store is None else {"edge": store}, tmp_path, clock_ns=lambda: now_ns)


async def ask(maker: PacketFiles, tmp_path: Path, *records: Any, **wanted: Any) -> Packets:
    return await maker.extract(make_request(records, **wanted), tmp_path / "x.pcap")


@pytest.mark.parametrize(
    ("function", "isolation"), [("extract", "thread"), ("extract", "process"), ("extract_async", "task")]
)
async def test_hooks_have_packets_for_as_long_as_a_call_or_for_good(
    tmp_path: Path, store: FakeStore, function: str, isolation: str
) -> None:
    """Those of the record's own connection, and others; refusals are exceptions."""
    ledger, dispatcher = Ledger(), Dispatcher()
    journal = Journal(SqliteKeep(tmp_path / "journal.db"))
    config = Hook(
        name="h", on=("log:*",), run=f"tests.hooks.effect_hooks:{function}", isolation=isolation,  # type: ignore[arg-type]
        timeout=Duration(60 * S),
    )  # fmt: skip
    account = ledger.account("hook.h")
    queue = ItemQueue(account, policy="block", max_records=10, max_bytes=1 << 20)
    around = Around("hook.h", account=lambda: ledger.account("out"), dispatcher=dispatcher, journal=journal)
    folder = tmp_path / "extracts" / "h"
    (folder / ".calls").mkdir(parents=True)
    (folder / ".calls" / "1-1.pcap").write_bytes(b"of a process that is gone")
    maker = files(store, tmp_path)
    UidMap(tmp_path / FILE, max_flows=1000, keep_ns=S).close()
    runner = HookRunner(
        config, target=load_callable(config.run), where=Everything(), queue=queue, outlet=Outlet(), around=around,
        packets=lambda: maker, folder=folder,
    )  # fmt: skip
    queue.put_nowait(LogBatch(path="conn", source="z", data=msgspec.json.encode(RECORD) + b"\n", count=1))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            runner.stop()
    assert account.dropped == {}
    found = {key: msgspec.msgpack.decode(value) for key, value in await read_all(journal, "store.packets")}
    await journal.aclose(5)
    packets, told, size, passing, others, kept = found[b"found"]
    assert (packets, told, others) == (12, size, 24)
    assert found[b"error"] == "the uid Cunknown is not known (yet)"
    assert Path(kept) == folder / "by-host" / "Cabc.pcap"
    assert len(list(read_records(Path(kept).read_bytes()[24:]))) == 24
    assert Path(passing).parent == folder / ".calls"
    assert list((folder / ".calls").iterdir()) == []


CONN = [RECORD["id.orig_h"], RECORD["id.resp_h"]]
EVENT = {
    "name": "Site::odd", "topic": "t", "peer": "", "ts": T / S,
    "args": (b"x", Vector([Address.parse("10.0.0.1"), Port(1234, 1), Address.parse("10.0.0.2"), Port(80, 1)])),
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "packets"),
    [
        ({}, 12),
        ({"record": EVENT}, 12),
        ({"before": 3.5}, 4),
        ({"before": "3500ms"}, 4),
        ({"before": timedelta(seconds=3.5)}, 4),
        ({"select": "pair"}, 24),
        ({"select": "host"}, 36),
        ({"select": "all", "bpf": "udp"}, 24),
        ({"host": "10.0.0.3"}, 12),
        ({"conn": "10.0.0.1:5353-10.0.0.3:53/udp"}, 12),
        ({"port": (5353, 53)}, 24),
        ({"proto": "tcp"}, 12),
        ({"bpf": "port 53"}, 0),
        ({"start": T / S - 2, "end": T / S - 1}, 2),
        ({"start": datetime.fromtimestamp(T / S - 2, UTC)}, 3),
        ({"uid": "Cother"}, 6),
        ({"uid": "Cother", "start": 0}, 6),
        ({"recorder": "edge"}, 12),
    ],
)
async def test_conditions_say_which_packets(
    tmp_path: Path, store: FakeStore, wanted: dict[str, Any], packets: int
) -> None:
    """Those of the record's connection around its time, or what else is asked for."""
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=1 << 60)
    known = {**RECORD, "uid": "Cother", "id.resp_h": "10.0.0.3", "id.orig_p": 5353, "id.resp_p": 53, "proto": "udp"}
    row = msgspec.json.encode({**known, "ts": T / S - 11, "duration": 0.5})
    uids.add(decode_rows(row)[0], T)
    uids.close()
    found = await ask(files(store, tmp_path), tmp_path, RECORD, **wanted)
    assert found.packets == packets
    assert (found.path is None) == (packets == 0) == (not (tmp_path / "x.pcap").exists())
    if found.path is not None:
        assert len(list(read_records(Path(found.path).read_bytes()[24:]))) == packets
        assert Path(found.path).stat().st_size == found.size


async def test_connection_is_whole_if_its_uid_is_known(tmp_path: Path, store: FakeStore) -> None:
    """However long before the record it began."""
    uids = UidMap(tmp_path / FILE, max_flows=1000, keep_ns=1 << 60)
    uids.add(decode_rows(msgspec.json.encode({**RECORD, "ts": T / S - 11}))[0], T)
    uids.close()
    assert (await ask(files(store, tmp_path), tmp_path, RECORD, before=1)).packets == 12


async def test_what_is_missing_is_told(tmp_path: Path, store: FakeStore) -> None:
    """Gaps, what is older than everything, and what a limit has cut off."""
    maker = files(store, tmp_path)
    found = await ask(maker, tmp_path, RECORD, before=5)
    assert (found.is_complete, found.missing) == (True, ())
    store.told_gaps.append(Gap(T - 3 * S, T - 2 * S, "kernel", 7))
    found = await ask(maker, tmp_path, RECORD, max_size=200)
    assert not found.is_complete
    assert [text.partition(" ")[0] for text in found.missing] == ["before_oldest", "max_size", "kernel"]
    assert found.size <= 200


async def test_future_is_waited_for_only_if_asked(
    tmp_path: Path, store: FakeStore, autojump_clock: trio.testing.MockClock
) -> None:
    """Else the end is now."""
    maker = files(store, tmp_path)
    found = await ask(maker, tmp_path, RECORD)
    assert store.waited == [T + S + 1] == [found.to_ns + 1]
    found = await ask(maker, tmp_path, RECORD, wait=True)
    assert store.waited[-1] == T + 30 * S + 1 == found.to_ns + 1
    store.is_behind = True
    found = await ask(maker, tmp_path, RECORD, before=1)
    assert [text.partition(" ")[0] for text in found.missing] == ["not_recorded"]


@pytest.mark.parametrize(
    ("records", "wanted", "error", "text"),
    [
        ([RECORD, RECORD], {}, ValueError, "which of the records"),
        ([], {"path": "/etc/x"}, ValueError, "which"),
        ([RECORD], {"path": "/etc/x"}, ValueError, "not below"),
        ([RECORD], {"path": "a/../../x"}, ValueError, "not below"),
        ([RECORD], {"path": ".calls/x"}, ValueError, "not below"),
        ([RECORD], {"select": "some"}, ValueError, "select"),
        ([RECORD], {"before": -1}, ValueError, "before"),
        ([RECORD], {"before": "1"}, ValueError, "duration"),
        ([RECORD], {"start": "yesterday"}, TypeError, "start"),
        ([RECORD], {"start": datetime(2026, 1, 1)}, ValueError, "time zone"),
        ([RECORD], {"max_size": -1}, ValueError, "bytes"),
        (["text"], {}, TypeError, "mapping"),
        ([RECORD], {"hosts": "10.0.0.1"}, TypeError, "hosts"),
    ],
)
def test_mistakes_of_a_hook_are_told_at_once(
    records: Sequence[Any], wanted: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Before anybody is asked."""
    with pytest.raises(error, match=text):
        make_request(records, **wanted)


@pytest.mark.parametrize(
    ("record", "wanted", "text"),
    [
        ({"ts": 1.0}, {}, "names no host"),
        (RECORD, {"host": "nobody"}, "does not appear"),
        (RECORD, {"bpf": "not a filter at all"}, "syntax error"),
        (RECORD, {"recorder": "other"}, "no recorder 'other'"),
        (RECORD, {"uid": "Cnobody"}, "not known"),
        (RECORD, {"start": 2, "end": 1}, "before it begins"),
    ],
)
async def test_refusals_are_one_kind_of_error(
    tmp_path: Path, store: FakeStore, record: dict[str, Any], wanted: dict[str, Any], text: str
) -> None:
    """For the hook, whatever it was."""
    extracts = Extracts(lambda: files(store, tmp_path), tmp_path / "h")
    with pytest.raises(ExtractError, match=text):
        await extracts.extract(make_request([record], **wanted))
    await extracts.clean()
    assert not [path for path in (tmp_path / "h").rglob("*") if path.is_file()]


async def test_no_recorder_is_told(tmp_path: Path) -> None:
    """The file may have none."""
    with pytest.raises(ApplianceError, match="no recorder that runs"):
        await ask(files(None, tmp_path), tmp_path, RECORD)
