"""The hooks of conf/pcap-to-hooks.toml: the logs of one run of Zeek into files by day in `options.directory`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, TextIO

CONNECTION = ("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "conn_state")


def join_files(folder: dict[str, Any], ctx: Any) -> None:
    """Write each file of files.log with the connections that it came over.

    Zeek 5.1 and later say the connection in ``uid``, earlier ones a set of them in ``conn_uids``.
    """
    connections = {record["uid"]: record for record in ctx.logs("conn")}
    days: dict[str, list[str]] = defaultdict(list)
    for file in ctx.logs("files"):
        uids = file.get("conn_uids") or ([file["uid"]] if "uid" in file else [])
        found = [connections[uid] for uid in uids if uid in connections]
        file["connections"] = [{"uid": each["uid"], **_some(each, CONNECTION)} for each in found]
        file["run"] = folder["relative"]
        days[_day(file["ts"])].append(json.dumps(file))
    for day, lines in days.items():
        with _appending(ctx, f"files-{day}.jsonl") as out:
            out.writelines(line + "\n" for line in lines)
    ctx.log.info("files joined", run=folder["relative"], files=sum(map(len, days.values())))


def digest_http(folder: dict[str, Any], ctx: Any) -> None:
    """Sum requests up: for each day, client and host how many there were, how many failed, and how much came back."""
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for request in ctx.logs("http"):
        host = request.get("host", request["id.resp_h"]).lower()
        counts = sums[_day(request["ts"]), request["id.orig_h"], host]
        counts[0] += 1
        counts[1] += request.get("status_code", 0) >= 400
        counts[2] += request.get("response_body_len", 0)
    for day in sorted({day for day, _, _ in sums}):
        rows = sorted((client, host, *counts) for (each, client, host), counts in sums.items() if each == day)
        with _appending(ctx, f"http-{day}.tsv", header="client\thost\trequests\tfailed\tbytes\trun\n") as out:
            out.writelines("\t".join(map(_cell, (*row, folder["relative"]))) + "\n" for row in rows)


def _some(record: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _day(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d")


def _cell(value: object) -> str:
    return str(value).encode("unicode_escape").decode() if isinstance(value, str) else str(value)


@contextmanager
def _appending(ctx: Any, name: str, header: str = "") -> Iterator[TextIO]:
    """A daily file to append to; others who append wait. A relative folder is beside that of all runs."""
    path = Path(ctx.item.path).parents[1] / ctx.config.get("directory", "daily") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as out:
        flock(out, LOCK_EX)
        if header and not out.tell():
            out.write(header)
        yield out
