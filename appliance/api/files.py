"""The finished files of a capture's handler: a list, and each of them to be fetched, as a whole or in part.

GET    /v1/captures/{capture}/{handler}/files           newest last, page by page
GET    /v1/captures/{capture}/{handler}/files/{file}    one of them; with a range, a part of it

What is fetched is looked for in the list, so that no name can lead anywhere else.

Source: RFC 9110, section 14 (ranges); of several ranges in one request none is served, which it allows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import trio

from appliance.config import Capture, Handler
from appliance.config.paths import handler_pattern
from appliance.errors import ApplianceError
from appliance.runtime.keep import Finished, find_finished
from appliance.runtime.pattern import PathPattern

from .exchange import Answer, Exchange, Reply, Request, parameters, problem, to_json
from .paging import Page, page
from .roles import Role
from .schemas import FileList
from .table import Endpoint

__all__ = ["FIELDS", "FileRoutes", "parse_range"]

FIELDS = frozenset({"name", "capture", "host", "pid", "seq"})
STALL_S = 60.0
"""A client that takes nothing for so long is cut."""
_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_TYPES = {".pcap": "application/vnd.tcpdump.pcap"}


class Tables(Protocol):
    """See `appliance.capture.control`."""

    def captures(self) -> Sequence[Capture]: ...


class FileRoutes:
    """See the module.

    Args:
        tables: gives the captures in effect.
        state_dir: absolute.
    """

    def __init__(self, tables: Callable[[], Tables], *, state_dir: str) -> None:
        self._tables, self._state_dir = tables, state_dir

    def endpoints(self) -> list[Endpoint]:
        path = "/v1/captures/{capture}/{handler}/files"
        return [
            Endpoint(
                method="GET", path=path, role=Role.READ, summary="Finished files of a handler",
                handle=self._list, query=Page, reply=FileList, refusals=(404, 409),
            ),
            Endpoint(
                method="GET", path=f"{path}/{{file:path}}", role=Role.READ, summary="A file, or a range of it",
                handle=self._fetch, produces="application/octet-stream", refusals=(206, 404, 409, 416),
                is_stream=True,
            ),
        ]  # fmt: skip

    def _find(self, request: Request) -> tuple[str, list[Finished]] | None:
        """Where a handler's files are, and those that are finished; None: there is no such handler. Blocks."""
        handler = self._handler(request)
        if handler is None:
            return None
        names = request.params["capture"], handler.name
        whole = handler_pattern(*names, handler.log_dir, handler.file_name_pattern, self._state_dir)
        pattern = PathPattern(whole, fields=FIELDS)

        def refuse(exc: OSError) -> None:
            raise ApplianceError(str(exc)) from exc

        return pattern.static_root, find_finished(pattern, on_error=refuse)

    def _handler(self, request: Request) -> Handler | None:
        names = request.params["capture"], request.params["handler"]
        return next((h for t in self._tables().captures() for h in t.handler if (t.name, h.name) == names), None)

    async def _list(self, request: Request) -> Answer:
        wanted = parameters(request, Page)
        try:
            found = await trio.to_thread.run_sync(self._find, request)
        except ApplianceError as exc:
            return problem(409, "it cannot be done now", detail=str(exc))
        if found is None:
            return problem(404, "there is no such handler")
        root, files = found
        chosen, following = page(files, lambda each: each.path, wanted)
        lines = [{"name": _below(root, each), "size": each.size, "finished_ns": each.mtime_ns} for each in chosen]
        return to_json({"files": lines, "next": following})

    async def _fetch(self, request: Request) -> Reply:
        try:
            found = await trio.to_thread.run_sync(self._find, request)
        except ApplianceError as exc:
            return problem(409, "it cannot be done now", detail=str(exc))
        root, files = found if found is not None else ("", [])
        file = next((each for each in files if _below(root, each) == request.params["file"]), None)
        if file is None:
            return problem(404, "there is no such file")
        tag = f'"{file.mtime_ns:x}-{file.size:x}"'
        headers = {"etag": tag, "accept-ranges": "bytes", "x-content-type-options": "nosniff"}
        name = re.sub(r"[^\w.+-]", "_", Path(file.path).name, flags=re.ASCII)
        headers["content-disposition"] = f'attachment; filename="{name}"'
        asked = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
        part = parse_range(asked, file.size)
        if part is None:
            return problem(416, "there is no such range", headers={"content-range": f"bytes */{file.size}"})
        start, end = part
        status = 200
        if asked is not None and (start, end) != (0, file.size):
            status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{file.size}"
        headers["content-length"] = str(end - start)

        async def send(exchange: Exchange) -> Answer | None:
            return await _pour(exchange, file.path, start, end, status, headers)

        return send


def _below(root: str, file: Finished) -> str:
    """The name of a file as seen from the folder of its handler."""
    return file.path.removeprefix(root).lstrip("/")


async def _pour(
    exchange: Exchange, path: str, start: int, end: int, status: int, headers: dict[str, str]
) -> Answer | None:
    try:
        fd = await trio.to_thread.run_sync(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        return problem(404, "there is no such file", detail=exc.strerror)
    try:
        await exchange.begin_stream(_TYPES.get(Path(path).suffix, "application/octet-stream"), headers, status=status)
        while start < end:
            data = await trio.to_thread.run_sync(os.pread, fd, min(_BLOCK, end - start), start)
            if not data:
                return None  # somebody has cut it: the client sees that something is missing
            with trio.fail_after(STALL_S):
                await exchange.send_part(data)
            start += len(data)
        await exchange.end_stream()
    finally:
        os.close(fd)
    return None


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """The first byte and the one behind the last that are wanted; None: there are no such.

    What is no range of bytes, or several, stands for everything.
    """
    found = _RANGE.fullmatch(text.strip()) if text is not None else None
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        last = int(found[2])
        return (max(0, size - last), size) if last and size else None
    start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    if start >= end and found[2]:
        return 0, size
    return (start, min(end, size)) if start < size else None
