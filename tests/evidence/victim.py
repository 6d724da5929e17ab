"""Evidence over a journal, to be killed: ``victim.py FOLDER COUNT``.

The first life puts COUNT alarms into the queue. Each life works on them; FOLDER/told gets a line for each file that
consumers hear of. It ends when all are finished.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.config import Duration, Evidence
from appliance.evidence.service import EvidenceService
from appliance.evidence.surroundings import Surroundings
from appliance.hooks.filter import Everything
from appliance.model import LogBatch, Segment
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.durable import DurableQueue
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.shelf import RetryPolicy
from appliance.runtime.journal.sqlite import SqliteKeep
from appliance.runtime.ledger import Account, Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from tests.native.packets import read_records

from .harness import A, B, FakeStore, S, T

AFTER_S = 1.0


async def main(folder: Path, count: int) -> None:
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(50)
    )
    store = FakeStore(folder / "recorder")
    for ts, data, _ in read_records((folder / "packets.pcap").read_bytes()[24:]):
        store.record(ts, data)
    began = folder / "began"
    if not began.exists():
        began.write_text(str(time.time_ns()))
    shift_ns = T - int(began.read_text())

    def clock_ns() -> int:
        return time.time_ns() + shift_ns

    journal = Journal(SqliteKeep(folder / "journal.db"))
    queue = DurableQueue(
        journal, journal.backlog("evidence:notices", Account("evidence.notices")), policy="block", max_records=9999,
        max_bytes=1 << 30, retry=RetryPolicy(attempts=1000, first_s=0.01, longest_s=0.05),
    )  # fmt: skip
    segments = ItemQueue(Account("hook.h"), policy="block", max_records=9999, max_bytes=1 << 30)
    dispatcher = Dispatcher()
    dispatcher.subscribe("hook.h", segments, on=("segment:*",), sources=())
    config = Evidence(
        name="notices", on=("log:*",), recorder="edge", after=Duration(int(AFTER_S * S)), max_rate=10_000,
        directory=str(folder / "evidence"),
    )  # fmt: skip
    around = Surroundings({"edge": store}, dispatcher, Ledger(), Outlet(), folder)
    service = EvidenceService(
        config, where=Everything(), queue=queue, around=around, turn=trio.Lock(), clock_ns=clock_ns
    )
    told = os.open(folder / "told", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.run)
        if not (folder / "fed").exists():
            ends = {"id.orig_h": A, "id.resp_h": B, "id.resp_p": 7, "proto": "udp"}
            for n in range(count):
                data = msgspec.json.encode({"ts": T / S, "id.orig_p": n + 1, **ends}) + b"\n"
                queue.put_nowait(LogBatch(path="notice", source="zmq.a", data=data, count=1))
            await journal.flush()
            (folder / "fed").touch()
        while len(list((folder / "evidence").glob("*.pcap"))) < count or service.statistics().pending:
            with trio.move_on_after(0.05):
                async with segments.lease(1) as parcel:
                    (item,) = parcel.items
                    assert isinstance(item, Segment)
                    os.write(told, f"{Path(item.path).name}\n".encode())
                    parcel.deliver(1)
        service.stop()
    await journal.aclose(5.0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
