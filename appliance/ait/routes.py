"""AIT's six routes at their old paths, for its own tools and whoever speaks to its web server.

    GET    /                 every handler by the text of its address: its keys, open file, connection type, address
    GET    /stats            the same with packets, bytes and rate
    POST   /<name>/start     start a handler, from a form
    DELETE /<name>/stop      stop every handler of that name
    GET    /<name>/config    what / has of the handlers of that name
    POST   /<name>/rotate    begin new files

Answers are those that AIT gives, JSON as ``text/html`` and nothing for what was done; what goes wrong is told with the
right code. Code and arbitrary places on the disk are the file's alone to name, as at ``/v1/captures``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog
import trio

from appliance.api.captures import Control, refuse_beyond
from appliance.api.exchange import JSON, Answer, RefusedError, Request, problem
from appliance.api.roles import Role
from appliance.api.table import Endpoint
from appliance.capture.figures import CaptureFigures
from appliance.config import Capture
from appliance.errors import ApplianceError, PrivilegeError
from appliance.model import Segment
from appliance.runtime.supervisor import describe, leaf_of

from .form import parse_start
from .manager import StreamCaptureManager

__all__ = ["FORM", "LegacyRoutes", "StartForm"]

log = structlog.get_logger("api")

FORM = "application/x-www-form-urlencoded"
HTML = "text/html; charset=UTF-8"
PATIENCE_S = 60.0
"""How long the end of a rotated file may take."""
_MAX_FIELDS = 64
_GUARDS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'; sandbox"}
_UNFIT = {b"<": b"\\u003c", b">": b"\\u003e", b"&": b"\\u0026"}
"""A browser takes the answer for a page: it must not find one in it. In JSON these are the same characters."""


class StartForm(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of ``POST /<name>/start``, all of them texts."""

    port: str
    """For ethernet the protocol's number."""
    conn_type: str
    loc: str = ""
    rotate_log: str = "True"
    rotate_log_index: str = "day"
    rotate_log_delta: str = "1"
    file_name_pattern: str = ""
    path: str = ""
    log_dir_path: str = ""


class _Guarded:
    """An appliance's captures, of which nothing beyond what is allowed can be started."""

    def __init__(self, control: Control, state_dir: str) -> None:
        self._control = control
        self._state_dir = state_dir

    def captures(self) -> Sequence[Capture]:
        return self._control.captures()

    def statistics(self) -> dict[str, CaptureFigures]:
        return self._control.statistics()

    async def start(self, capture: Capture) -> None:
        refuse_beyond(self._control, capture, self._state_dir)
        await self._control.start(capture)

    async def stop(self, name: str) -> int:
        return await self._control.stop(name)

    async def stop_socket(self, conn_type: str, address: tuple[str, int]) -> int:
        raise NotImplementedError  # no route does

    async def rotate(self, name: str) -> list[Segment]:
        return await self._control.rotate(name)


class LegacyRoutes:
    """See the module.

    Args:
        control: gives what changes captures; asked for each request.
        state_dir: absolute.
    """

    def __init__(self, control: Callable[[], Control], *, state_dir: str) -> None:
        self._control = control
        self._state_dir = state_dir
        self._root = f"{state_dir}/captures"

    def endpoints(self) -> list[Endpoint]:
        return [
            _endpoint("GET", "/", "AIT: every handler, by address", self._show),
            _endpoint("GET", "/stats", "AIT: packets, bytes and rate of every handler, by address", self._stats),
            _endpoint(
                "POST",
                "/{name}/start",
                "AIT: start a handler",
                self._start,
                body=StartForm,
                consumes=(FORM,),
                told=("loc", "port", "conn_type"),
            ),
            _endpoint("DELETE", "/{name}/stop", "AIT: stop every handler of that name", self._stop),
            _endpoint("GET", "/{name}/config", "AIT: the handlers of that name", self._config),
            _endpoint("POST", "/{name}/rotate", "AIT: begin new files", self._rotate),
        ]

    def _manager(self) -> StreamCaptureManager:
        captures = _Guarded(self._control(), self._state_dir)
        return StreamCaptureManager({"root_log_directory": self._root}, [], captures=captures, legacy=True)

    async def _show(self, request: Request) -> Answer:
        return _json(request, self._manager().get_logger_data())

    async def _stats(self, request: Request) -> Answer:
        return _json(request, self._manager().get_handler_stats())

    async def _config(self, request: Request) -> Answer:
        return _json(request, self._manager().get_capture_handler_config_by_name(request.params["name"]))

    async def _start(self, request: Request) -> Answer:
        asked = parse_start(request.params["name"], _form(request), root=self._root)
        manager, arguments = self._manager(), (asked.name, asked.address, asked.conn_type, asked.log_dir)
        if not manager.has_logger(*arguments, **asked.more):
            await manager.add_logger(*arguments, **asked.more)
        return _done()

    async def _stop(self, request: Request) -> Answer:
        try:
            await self._manager().stop_capture_handler(request.params["name"])
        except trio.TooSlowError:
            log.warning("a stopped handler's file takes its time", handler=request.params["name"])
        return _done()

    async def _rotate(self, request: Request) -> Answer:
        with trio.move_on_after(PATIENCE_S):
            with suppress(KeyError):  # AIT knows no difference
                await self._manager().rotate_capture_handler_log(request.params["name"])
            return _done()
        return problem(504, "not done in time", detail=f"the file ends, which takes longer than {PATIENCE_S:.0f} s")


def _endpoint(
    method: str, path: str, summary: str, work: Callable[[Request], Awaitable[Answer]], **more: Any
) -> Endpoint:
    async def handle(request: Request) -> Answer:
        try:
            return await work(request)
        except Exception as exc:  # noqa: BLE001 - whatever it was, nothing has changed and the client must know
            return _refusal(exc)

    is_read = method == "GET"
    return Endpoint(
        method=method,
        path=path,
        role=Role.READ if is_read else Role.OPERATE,
        summary=summary,
        handle=handle,
        produces="text/html",
        also=(JSON,),
        refusals=() if is_read else (409, 422),
        **more,
    )


def _form(request: Request) -> dict[str, str]:
    """The fields; of several with one name, the last."""
    try:
        text = request.body.decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
    except ValueError as exc:
        raise RefusedError(problem(400, "this is no form", detail=str(exc))) from None


def _json(request: Request, document: object) -> Answer:
    """As ``text/html``, but for who wants JSON and nothing else."""
    accept = request.headers.get("accept", "")
    is_json = JSON in accept and "text/html" not in accept and "*/*" not in accept
    body = msgspec.json.encode(document)
    for letter, written in _UNFIT.items():
        body = body.replace(letter, written)
    return Answer(200, body, JSON if is_json else HTML, _GUARDS)


def _done() -> Answer:
    return Answer(200, b"", HTML)


def _refusal(exc: Exception) -> Answer:
    if isinstance(exc, RefusedError):
        return exc.answer
    if isinstance(exc, ValueError):
        return problem(422, "there are mistakes in it", detail=str(exc))
    leaf = leaf_of(exc)
    if isinstance(leaf, PrivilegeError):
        return problem(403, "a privilege is missing", detail=str(leaf))
    if isinstance(leaf, ApplianceError | OSError):
        return problem(409, "it cannot be done now", detail=describe(leaf))
    raise exc
