"""Packets for whoever asks in this process, hooks first of all: from a request to a PCAP, at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.errors import ApplianceError
from appliance.extract.extraction import Extraction, plan
from appliance.extract.query import Query, parse_query
from appliance.runtime.asking import PacketRequest, Packets
from appliance.runtime.packets import Gap, PacketStore, Source
from appliance.zeek.messages import Event, decode_message

from .jobs import Missing, merge_missing
from .selection import Ends, Selection, choose, ends_of_event, ends_of_record
from .stages import before_oldest, make_query, within
from .times import MARGIN_NS, parse_span, parse_time
from .uids import KnownFlow, open_uids

__all__ = ["PacketFiles"]

AT_ONCE = 2
"""Files that are made at a time; whoever records comes first."""
RECORDED_S = 5.0
"""How long packets may take from the interface into a recorder's segments."""
AROUND_NS = 5 * 10**9
"""Taken before and after what Zeek saw of a connection that is asked for by its uid."""


class PacketFiles:
    """See the module, and `PacketMaker`.

    Args:
        recorders: those that run, by name.
        state_dir: where the map of uids is.
        clock_ns: wall time.
    """

    def __init__(
        self,
        recorders: Mapping[str, PacketStore],
        state_dir: Path,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._recorders, self._uids, self._clock_ns = recorders, open_uids(state_dir), clock_ns
        self._threads = trio.CapacityLimiter(AT_ONCE)

    async def extract(self, request: PacketRequest, target: Path) -> Packets:
        """See `PacketMaker`."""
        stores = self._stores(request.recorder)
        query = await trio.to_thread.run_sync(self._query, request)
        now_ns = self._clock_ns()
        if not request.is_waiting:
            query = msgspec.structs.replace(query, to_ns=max(query.from_ns, min(query.to_ns, now_ns)))
        ahead_s = max(0.0, (query.to_ns - now_ns) / 1e9)
        is_behind = True
        with trio.move_on_after(ahead_s + RECORDED_S):
            async with trio.open_nursery() as nursery:
                for store in stores:
                    nursery.start_soon(store.wait_recorded, query.to_ns + 1)
            is_behind = False
        work = partial(_write, query, stores, target, request.max_bytes, is_behind=is_behind)
        return await trio.to_thread.run_sync(work, limiter=self._threads)

    def _stores(self, name: str) -> list[PacketStore]:
        if name and name not in self._recorders:
            raise ApplianceError(f"there is no recorder {name!r} that runs")
        if not self._recorders:
            raise ApplianceError("there is no recorder that runs")
        return [self._recorders[name]] if name else list(self._recorders.values())

    # ── which packets ──

    def _query(self, request: PacketRequest) -> Query:
        """Blocks: the map is a file."""
        now_ns = self._clock_ns()
        ends, ts_ns, last_ns = _about(request, now_ns)
        base = parse_query(request.conditions, now_ns=now_ns)
        is_told = bool(request.conditions.keys() - {"bpf"})
        selection = None if is_told else self._selection(request, ends)
        known = None
        if selection is not None and selection.uid:
            known = self._uids.lookup(selection.uid)
            if not selection.is_known:
                if known is None:
                    raise ApplianceError(f"the uid {selection.uid} is not known (yet)")
                selection = selection.resolve(known.key)
        from_ns, to_ns = _span(request, ts_ns, last_ns, known if request.select == "conn" else None)
        if selection is not None:
            base = msgspec.structs.replace(make_query(selection, (0, 1)), bpf=base.bpf)
        if from_ns >= to_ns:
            raise ApplianceError("the time that is asked for ends before it begins")
        return msgspec.structs.replace(base, from_ns=from_ns, to_ns=to_ns - 1)

    def _selection(self, request: PacketRequest, ends: Ends) -> Selection:
        if request.uid:
            return Selection(select="conn", uid=request.uid)
        selection = choose(ends, request.select)
        if selection is None:
            raise ApplianceError("the record names no host and no connection")
        return selection


def _about(request: PacketRequest, now_ns: int) -> tuple[Ends, int | None, int]:
    """What the record of a request names, its time, and the end of what it tells of."""
    if request.event:
        message = decode_message(request.event)
        ts_ns = now_ns if request.ts_ns is None else request.ts_ns
        return ends_of_event(message.args if isinstance(message, Event) else ()), ts_ns, ts_ns
    if request.fields:
        fields: dict[str, Any] = msgspec.json.decode(request.fields)
        found = parse_time(fields.get("ts"))
        ts_ns = now_ns if found is None else found
        return ends_of_record(fields), ts_ns, ts_ns + parse_span(fields.get("duration"))
    return Ends(), None, now_ns


def _span(request: PacketRequest, ts_ns: int | None, last_ns: int, known: KnownFlow | None) -> tuple[int, int]:
    """From when, and until when; the end does not belong to it."""
    if request.uid and known is not None:
        from_ns, to_ns = known.from_ns - AROUND_NS, known.to_ns + AROUND_NS
    else:
        from_ns = (last_ns if ts_ns is None else ts_ns) - request.before_ns
        to_ns = last_ns + request.after_ns
        if known is not None:
            from_ns = min(from_ns, known.from_ns - MARGIN_NS)
    if request.from_ns is not None:
        from_ns = request.from_ns
    if request.to_ns is not None:
        to_ns = request.to_ns
    return max(0, from_ns), to_ns + 1


# ── the file ──


def _write(query: Query, stores: Sequence[PacketStore], target: Path, max_bytes: int, *, is_behind: bool) -> Packets:
    """Blocks."""
    span = query.from_ns, query.to_ns + 1
    sources: list[Source] = []
    gaps: list[Gap] = []
    missing: list[Missing] = []
    for store in stores:
        sources += store.sources()
        found = store.gaps(query.from_ns, query.to_ns)
        gaps += found
        missing += before_oldest(store.oldest_ns, span, found)
    extraction = Extraction(query, plan(query, sources), gaps, max_bytes=max_bytes)
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o640)
            for block in extraction:
                trio.from_thread.check_cancelled()
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        report = extraction.report
        if report.packets:
            part.replace(target)
        else:
            target.unlink(missing_ok=True)
    finally:
        part.unlink(missing_ok=True)
    missing += [Missing(gap.reason, *within(gap, span), gap.packets, gap.bytes) for gap in report.gaps]
    if report.is_capped:
        missing.append(Missing("max_size", span[0] if report.last_ns is None else report.last_ns, span[1]))
    if is_behind:
        missing.append(Missing("not_recorded", *span))
    return Packets(
        path=str(target) if report.packets else None,
        packets=report.packets,
        size=report.bytes if report.packets else 0,
        from_ns=query.from_ns,
        to_ns=query.to_ns,
        first_ns=report.first_ns,
        last_ns=report.last_ns,
        is_complete=not missing,
        missing=tuple(map(str, merge_missing(missing))),
    )
