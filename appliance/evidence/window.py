"""Where people ask a table for packets, and see what became of it: what the endpoint serves of evidence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

from appliance.config import Evidence
from appliance.errors import ApplianceError, ConfigError
from appliance.extract.query import parse_query
from appliance.runtime.keep import find_finished
from appliance.units import Duration

from .alarms import Refused, alarm_of
from .files import Files
from .jobs import Alarm, Desk, Job, Shown
from .note import iso
from .selection import Ends, Wanted, community
from .uids import MAX_UID

__all__ = ["Admit", "Window"]

MAX_LISTED = 1000
MAX_NOTE = 8 << 20
LONGEST_WAIT_S = 60.0


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As it is sent; exactly one of the first five."""

    conn: str = ""
    """As ``broappliance extract --conn``."""
    host: list[str] = []
    """One, or two: packets between them."""
    uid: str = ""
    community_id: str = ""
    all: bool = False
    at: str = "now"
    before: str | None = None
    after: str | None = None
    reason: str = ""
    """For the note."""


class Finished(Protocol):
    """Tells of files that were finished."""

    @property
    def outcomes(self) -> Mapping[int, dict[str, Any]]:
        """The latest of this run, by the number of the job."""

    @property
    def is_finished(self) -> trio.lowlevel.ParkingLot:
        """Who waits for one."""


Admit = Callable[[Alarm], Awaitable[Job]]


class Window:
    """See the module.

    Args:
        config: the table.
        desk: what is pending.
        files: where it goes.
        finished: what was finished.
        admit: takes an alarm in; raises `ApplianceError` if it does not.
        clock_ns: wall time.
    """

    def __init__(
        self,
        config: Evidence,
        *,
        desk: Desk,
        files: Files,
        finished: Finished,
        admit: Admit,
        clock_ns: Callable[[], int],
    ) -> None:
        self.config = config
        self._desk, self._files, self._finished, self._admit, self._clock_ns = desk, files, finished, admit, clock_ns

    async def overview(self, limit: int) -> dict[str, Any]:
        """What is pending, and the newest finished files.

        Raises:
            ApplianceError: their folder cannot be read.
        """
        jobs = [self._pending(job) for job in list(self._desk.jobs.values())[:MAX_LISTED]]
        notes = await trio.to_thread.run_sync(self._notes, max(0, min(limit, MAX_LISTED)))
        return {"name": self.config.name, "recorder": self.config.recorder, "pending": jobs, "finished": notes}

    async def request(self, body: bytes) -> dict[str, Any]:
        """Ask for packets, as an alarm does.

        Raises:
            ConfigError: that is no request.
            ApplianceError: refused.
        """
        try:
            request = msgspec.json.decode(body, type=_Request)
        except msgspec.DecodeError as exc:
            raise ConfigError(str(exc)) from None
        return self._pending(await self._admit(self._alarm(request)))

    async def wait(self, number: int, timeout_s: float) -> dict[str, Any] | None:
        """What became of a request, waiting until it is finished; None: nobody knows (any more)."""
        with trio.move_on_after(min(timeout_s, LONGEST_WAIT_S)):
            while number in self._desk.jobs:
                await self._finished.is_finished.park()
        job = self._desk.jobs.get(number)
        return self._finished.outcomes.get(number) if job is None else self._pending(job)

    def _pending(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id, "evidence": self.config.name, "state": "pending", "query": job.selection.key,
            "from": iso(job.from_ns), "to": iso(job.to_ns), "alarms": job.alarms,
            "packets": sum(piece.packets for piece in job.pieces), "bytes": job.size, "failures": job.failures,
            "pcap": str(self._files.path(job, "pcap")),
        }  # fmt: skip

    def _notes(self, limit: int) -> list[dict[str, Any]]:
        """Blocks."""

        def refuse(exc: OSError) -> None:
            raise ApplianceError(str(exc)) from exc

        found = [each for each in find_finished(self._files.pattern, on_error=refuse) if each.path.endswith(".json")]
        found = [each for each in found if "-left-out" not in Path(each.path).name and each.size <= MAX_NOTE]
        notes = []
        for each in sorted(found, reverse=True)[:limit]:
            try:
                note = msgspec.json.decode(Path(each.path).read_bytes())
            except (OSError, msgspec.DecodeError):
                continue  # removed meanwhile, or none of ours
            notes.append(_short(Path(each.path), note))
        return notes

    # ── requests ──

    def _alarm(self, request: _Request) -> Alarm:
        now_ns = self._clock_ns()
        ends, wanted = _ends(request, now_ns)
        try:
            ts_ns = parse_query({"from": [request.at]}, now_ns=now_ns).from_ns
        except ConfigError as exc:
            raise ConfigError(exc.message, key="at") from None
        shown = Shown("request", "api", ts_ns, msgspec.json.encode(request).decode())
        alarm = alarm_of(
            self.config, shown, ts_ns, ends, wanted,
            before_ns=_span("before", request.before), after_ns=_span("after", request.after),
        )  # fmt: skip
        if isinstance(alarm, Refused):
            raise ConfigError("say which packets: conn, host, uid, community_id or all")
        return alarm


def _ends(request: _Request, now_ns: int) -> tuple[Ends, Wanted]:
    given = [request.conn, request.host, request.uid, request.community_id, request.all]
    if sum(map(bool, given)) != 1:
        raise ConfigError("say which packets: one of conn, host, uid, community_id or all")
    if request.all:
        return Ends(), "all"
    if request.uid:
        if len(request.uid) > MAX_UID:
            raise ConfigError("is too long", key="uid")
        return Ends(uid=request.uid), "conn"
    if request.community_id:
        if not community(request.community_id):
            raise ConfigError("is no Community ID of version 1", key="community_id")
        return Ends(community_id=request.community_id), "conn"
    if request.host:
        hosts = [str(host) for host in parse_query({"host": request.host}, now_ns=now_ns).hosts]
        return Ends(src=hosts[0], dst=hosts[1] if len(hosts) > 1 else None), "pair" if len(hosts) > 1 else "host"
    query = parse_query({"conn": [request.conn]}, now_ns=now_ns)
    (source, target), ports = map(str, query.hosts), query.ports or (None, None)
    return Ends(source, ports[0], target, ports[1], query.proto), "conn"


def _span(key: str, text: str | None) -> int | None:
    try:
        return None if text is None else int(Duration.parse(text))
    except ValueError as exc:
        raise ConfigError(str(exc), key=key) from None


def _short(path: Path, note: dict[str, Any]) -> dict[str, Any]:
    """Of a note what a list shows."""
    pcap = note.get("pcap")
    return {
        "state": "finished",
        "pcap": None if pcap is None else str(path.with_name(pcap)),
        "note": str(path),
        **{key: note.get(key) for key in ("evidence", "packets", "bytes", "complete", "alarms", "first", "last")},
        "missing": sorted({each.get("reason", "") for each in note.get("missing", ())}),
        "finished": note.get("finished"),
    }
