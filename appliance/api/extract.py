"""``/v1/extract``: packets that the recorders keep, as a PCAP that is sent while it is made.

    GET    /v1/extract                     the recorders, and since when they have packets
    GET    /v1/extract/pcap?host=A&...     the packets; the header ``extract-report`` says where the report will be
    GET    /v1/extract/reports/N           what was given, and what is missing in it; the newest reports are kept

The conditions are those of ``broappliance extract``: from, to, host, port, proto, conn, community-id, uid, bpf; and
recorder, max-bytes. Reading is done in worker threads, by the block, with idle priority for the disk, for few clients
at once, at a bounded rate, and with a pause when packets are lost: whoever records comes first. An answer that cannot
be finished ends without its last chunk.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
import structlog
import trio

from appliance.errors import ApplianceError, ConfigError
from appliance.extract.extraction import Extraction
from appliance.extract.query import Query, parse_query
from appliance.extract.uids import apply_uid, find_uid
from appliance.runtime.packets import Gap, PacketStore, Source

from .exchange import Answer, Exchange, Reply, Request, problem, to_json
from .pace import Pace
from .roles import Role
from .schemas import Conditions, ExtractReport, Recorded
from .table import Endpoint

__all__ = ["MAX_AT_ONCE", "MAX_BYTES", "PATH", "ExtractRoutes"]

log = structlog.get_logger("api")

PATH = "/v1/extract"
MAX_AT_ONCE = 2
MAX_BYTES = 64 << 30
"""Of one PCAP; whoever wants more has the segments themselves."""
MAX_REPORTS = 64
RECORDED_S = 5.0
"""How long to wait for packets that have just come to be written."""
STALL_S = 60.0
"""A client that takes nothing for so long is cut: what it reads cannot make room meanwhile."""
_MAX_FIELDS = 32
_CONTENT_TYPE = "application/vnd.tcpdump.pcap"


class ExtractRoutes:
    """See the module.

    Args:
        recorders: those that run now, by name.
        state_dir: where the map of uids is.
        bytes_per_s: read by all extractions together; None: no limit.
        lost: packets that those who capture have lost so far.
        now_ns: the time, nanoseconds since the epoch.
    """

    def __init__(
        self,
        recorders: Callable[[], Mapping[str, PacketStore]],
        *,
        state_dir: str,
        bytes_per_s: int | None = None,
        lost: Callable[[], int] = int,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._recorders = recorders
        self._state_dir = Path(state_dir)
        self._pace = Pace(bytes_per_s, lost=lost)
        self._now_ns = now_ns
        self._reports: OrderedDict[int, bytes] = OrderedDict()
        self._count = 0
        self.running = 0
        """Extractions at this moment."""

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="The recorders, and since when they have packets",
                handle=self._list, reply=Recorded, refusals=(404,),
            ),
            Endpoint(
                method="GET", path=f"{PATH}/reports/{{number}}", role=Role.READ,
                summary="What an extraction gave, and what is missing in it",
                handle=self._report, reply=ExtractReport, refusals=(404,),
            ),
            Endpoint(
                method="GET", path=f"{PATH}/pcap", role=Role.READ, summary="Packets, as a PCAP",
                handle=self._pcap, query=Conditions, produces=_CONTENT_TYPE, refusals=(404, 409, 503), is_stream=True,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        del request
        if not (recorders := self._recorders()):
            return problem(404, "there is no recorder")
        found = [{"name": name, "oldest_ns": store.oldest_ns} for name, store in sorted(recorders.items())]
        return to_json({"recorders": found, "running": self.running})

    async def _report(self, request: Request) -> Answer:
        number = request.params["number"]
        report = self._reports.get(int(number[:18])) if number.isascii() and number.isdecimal() else None
        return Answer(200, report) if report else problem(404, "no such report")

    async def _pcap(self, request: Request) -> Reply:
        if not (recorders := self._recorders()):
            return problem(404, "there is no recorder")

        async def send(exchange: Exchange) -> Answer | None:
            try:
                return await self._extract(exchange, request.query, recorders)
            except ConfigError as exc:
                return problem(400, "a condition is wrong", detail=exc.message, where=exc.key)
            except ApplianceError as exc:
                return problem(409, "it cannot be done now", detail=str(exc))

        return send

    async def _extract(self, exchange: Exchange, text: str, recorders: Mapping[str, PacketStore]) -> Answer | None:
        try:
            values = parse_qs(text, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FIELDS)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        if self.running >= MAX_AT_ONCE:
            detail = f"{MAX_AT_ONCE} are running; try again later"
            return problem(503, "too many extractions at once", detail=detail, headers={"retry-after": "10"})
        self.running += 1
        try:
            stores = _stores(recorders, values.pop("recorder", None))
            max_bytes = _max_bytes(values.pop("max-bytes", None))
            query = await self._query(values)
            await self._wait_recorded(stores, query)
            extraction = await trio.to_thread.run_sync(_make, query, stores, max_bytes)
            await self._send(exchange, extraction)
        finally:
            self.running -= 1
        return None

    async def _query(self, values: dict[str, list[str]]) -> Query:
        uid = values.pop("uid", None)
        query = parse_query(values, now_ns=self._now_ns())
        if uid is None:
            return query
        found = await trio.to_thread.run_sync(find_uid, self._state_dir, uid[0])
        return apply_uid(query, found, uid[0])

    async def _wait_recorded(self, stores: list[PacketStore], query: Query) -> None:
        """Until what has passed by is in the sources."""
        until_ns = min(query.to_ns + 1, self._now_ns())
        with trio.move_on_after(RECORDED_S):
            async with trio.open_nursery() as nursery:
                for store in stores:
                    nursery.start_soon(store.wait_recorded, until_ns)

    async def _send(self, exchange: Exchange, extraction: Extraction) -> None:
        number = self._count = self._count + 1
        is_whole = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, exchange, nursery.cancel_scope)
            is_whole = await self._pour(exchange, extraction, f"{PATH}/reports/{number}")
            nursery.cancel_scope.cancel()
        if is_whole:
            self._reports[number] = msgspec.json.encode(extraction.report.document())
            if len(self._reports) > MAX_REPORTS:
                self._reports.popitem(last=False)
            await exchange.end_stream()

    async def _pour(self, exchange: Exchange, extraction: Extraction, report: str) -> bool:
        """Send the PCAP as it is made; False if it is not whole."""
        blocks, read = iter(extraction), 0
        try:
            await exchange.begin_stream(_CONTENT_TYPE, {"extract-report": report})
            while (block := await trio.to_thread.run_sync(next, blocks, None)) is not None:
                if block:
                    with trio.fail_after(STALL_S):
                        await exchange.send_part(block)
                before, read = read, extraction.read_bytes
                await self._pace.wait(read - before)
        except trio.TooSlowError:
            log.warning("an extraction is cut: its client takes nothing", seconds=STALL_S)
        except trio.BrokenResourceError:
            pass  # nobody is there to be told
        except ApplianceError as exc:
            log.error("an extraction failed", error=str(exc))
        else:
            return True
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_close, blocks)
        return False


async def _cancel_when_gone(exchange: Exchange, scope: trio.CancelScope) -> None:
    await exchange.wait_gone()
    scope.cancel()


def _close(blocks: Iterator[bytes]) -> None:
    blocks.close()  # type: ignore[attr-defined]


def _stores(recorders: Mapping[str, PacketStore], names: list[str] | None) -> list[PacketStore]:
    if names is None:
        return list(recorders.values())
    if len(names) > 1 or names[0] not in recorders:
        told = ", ".join(sorted(recorders))
        raise ConfigError(f"there is no such recorder; there are: {told}", key="recorder")
    return [recorders[names[0]]]


def _max_bytes(texts: list[str] | None) -> int:
    if texts is None:
        return MAX_BYTES
    if len(texts) > 1 or not texts[0].isascii() or not texts[0].isdecimal() or len(texts[0]) > 15:
        raise ConfigError("is no number of bytes", key="max-bytes")
    return min(int(texts[0]), MAX_BYTES)


def _make(query: Query, stores: list[PacketStore], max_bytes: int) -> Extraction:
    """Blocks: files are looked at, and names in an expression are looked up."""
    sources: list[Source] = []
    gaps: list[Gap] = []
    for store in stores:
        sources += store.sources()
        gaps += store.gaps(query.from_ns, query.to_ns)
    return Extraction(query, sources, gaps, max_bytes=max_bytes)
