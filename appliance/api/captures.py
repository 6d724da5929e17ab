"""``/v1/captures``: what captures, and starting, stopping and rotating handlers while the appliance runs.

    GET    /v1/captures                              every capture with its handlers
    PUT    /v1/captures/{capture}/{handler}          as that for one handler, unless it runs just so already
    POST   /v1/captures                              add handlers: the body is a ``[[capture]]`` table in JSON
    GET    /v1/captures/{capture}/{handler}          one handler
    DELETE /v1/captures/{capture}/{handler}          stop it
    POST   /v1/captures/{capture}/{handler}/rotate   end its file; answers with what became of it

Changes survive a restart and a reload. Code and arbitrary places on the disk are the file's alone to name: a handler
from here has no transforms, and its files are below ``state_dir`` or the folder of a handler that there is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog
import trio

from appliance.config import Capture
from appliance.config.request import parse_capture
from appliance.errors import ApplianceError, ConfigError, PrivilegeError
from appliance.model import Segment
from appliance.runtime.pattern import PathPattern
from appliance.runtime.supervisor import describe, leaf_of

from .exchange import Answer, RefusedError, Request, decode_body, problem, to_json
from .roles import Role
from .schemas import CaptureList, CaptureRequest, HandlerDocument, Rotated, Started, Stopped
from .table import Endpoint

__all__ = ["PATH", "CaptureRoutes", "Control", "refuse_beyond"]

log = structlog.get_logger("api")

PATH = "/v1/captures"
PATIENCE_S = 60.0
"""How long the end and the compression of a rotated file may take. Changes have limits of their own; none is left half
done.
"""
_TOLD = ("name", "conn_type", "address", "handler")
_FIELDS = frozenset({"name", "capture", "host", "pid", "seq"})


class Control(Protocol):
    """What changes captures; see `appliance.capture.control`."""

    def captures(self) -> Sequence[Capture]: ...

    def statistics(self) -> dict[str, Any]: ...

    def find(self, name: str) -> list[tuple[str, str]]: ...

    async def start(self, capture: Capture) -> None: ...

    async def stop(self, name: str) -> int: ...

    async def rotate(self, name: str) -> list[Segment]: ...


class CaptureRoutes:
    """See the module.

    Args:
        control: gives what changes captures; asked for each request.
        state_dir: absolute.
    """

    def __init__(self, control: Callable[[], Control], *, state_dir: str) -> None:
        self._control = control
        self._state_dir = state_dir

    def endpoints(self) -> list[Endpoint]:
        """Cancellation: as in `Control`; a segment that is rotated ends all the same."""
        one = f"{PATH}/{{capture}}/{{handler}}"
        refusals = (403, 404, 409, 422, 504)
        return [
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="Every capture with its handlers",
                handle=_guarded(self._list), reply=CaptureList,
            ),
            Endpoint(
                method="POST", path=PATH, role=Role.OPERATE, summary="Start handlers",
                handle=_guarded(self._start), body=CaptureRequest, reply=Started, status=201, refusals=refusals,
                told=_TOLD,
            ),
            Endpoint(
                method="GET", path=one, role=Role.READ, summary="One handler",
                handle=_guarded(self._show), reply=HandlerDocument, refusals=(404,),
            ),
            Endpoint(
                method="PUT", path=one, role=Role.OPERATE, summary="Start a handler unless it runs just so",
                handle=_guarded(self._put), body=CaptureRequest, reply=HandlerDocument, status=201,
                refusals=(200, *refusals), told=_TOLD,
            ),
            Endpoint(
                method="DELETE", path=one, role=Role.OPERATE, summary="Stop a handler",
                handle=_guarded(self._stop), reply=Stopped, refusals=refusals,
            ),
            Endpoint(
                method="POST", path=f"{one}/rotate", role=Role.OPERATE, summary="End a handler's file",
                handle=_guarded(self._rotate), reply=Rotated, refusals=refusals,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        del request
        return to_json({"captures": describe_captures(self._control())})

    async def _show(self, request: Request) -> Answer:
        return to_json(_one(self._control(), request.params["capture"], request.params["handler"]))

    async def _stop(self, request: Request) -> Answer:
        control = self._control()
        return to_json({"stopped": await control.stop(_known(control, request.params))})

    async def _put(self, request: Request) -> Answer:
        control, (name, handler) = self._control(), (request.params["capture"], request.params["handler"])
        data = decode_body(request, dict[str, Any])
        tables = data.get("handler", [{}])
        if not isinstance(tables, list) or len(tables) != 1 or not isinstance(tables[0], dict):
            return problem(422, "there are mistakes in it", where="handler", detail="expected one table")
        named = {**data, "name": name, "handler": [{**tables[0], "name": handler}]}
        capture = parse_capture(named, state_dir=self._state_dir)
        refuse_beyond(control, capture, self._state_dir)
        other = next((each for each in control.captures() if each.name == name), None)
        there = next((each for each in other.handler if each.name == handler), None) if other is not None else None
        if other is None or there is None:
            await control.start(capture)
            return to_json(_one(control, name, handler), 201)
        if there != capture.handler[0] or (other.conn_type, other.address) != (capture.conn_type, capture.address):
            return problem(409, "there is such a handler", detail=f"{name}/{handler} runs otherwise; delete it first")
        return to_json(_one(control, name, handler))

    async def _start(self, request: Request) -> Answer:
        control = self._control()
        data = decode_body(request, Any)
        if isinstance(data, dict):
            data = {"name": _name_for(control, data), **data}
        capture = parse_capture(data, state_dir=self._state_dir)
        refuse_beyond(control, capture, self._state_dir)
        for handler in capture.handler:
            if control.find(f"{capture.name}/{handler.name}"):
                return problem(409, "there is such a handler", detail=f"{capture.name}/{handler.name} runs already")
        await control.start(capture)
        started = [_one(control, capture.name, handler.name) for handler in capture.handler]
        return to_json({"capture": capture.name, "handlers": started}, 201)

    async def _rotate(self, request: Request) -> Answer:
        control = self._control()
        name = _known(control, request.params)
        with trio.move_on_after(PATIENCE_S):
            return to_json({"segments": msgspec.to_builtins(await control.rotate(name))})
        return problem(504, "not done in time", detail=f"the file ends, which takes longer than {PATIENCE_S:.0f} s")


def refuse_beyond(control: Control, capture: Capture, state_dir: str) -> None:
    """Refuse what only the file may name; see the module.

    Raises:
        ExceptionGroup: of `ConfigError`.
    """
    mistakes = []
    roots = {state_dir} | {_root(each) for table in control.captures() for each in table.handler}
    for number, handler in enumerate(capture.handler):
        key = f"handler[{number}]"
        if handler.pre_write_transforms:
            told = "transforms can only be named in the file"
            mistakes.append(ConfigError(told, key=f"{key}.pre_write_transforms"))
        if not any(_is_below(_root(handler), root) for root in roots):
            told = f"{handler.log_dir!r} is neither below {state_dir} nor below the folder of a handler"
            mistakes.append(ConfigError(told, key=f"{key}.log_dir"))
    mistakes += [
        ConfigError("files with keys can only be named in the file", key=name)
        for name in ("ca", "certificate", "key")
        if getattr(capture, name)
    ]
    if mistakes:
        raise ExceptionGroup("the capture goes beyond what is allowed", mistakes)


def describe_captures(control: Control) -> list[dict[str, Any]]:
    """Every capture: its table, in values that `parse_capture` takes, and figures of its socket and handlers."""
    figures = list(control.statistics().values())
    by_handler = {(each.capture, each.name): each for socket in figures for each in socket.handlers}
    described = []
    for capture in control.captures():
        table = msgspec.to_builtins(capture, enc_hook=str)
        socket = next((each for each in figures if any(h.capture == capture.name for h in each.handlers)), None)
        handlers = [
            {
                "name": config["name"],
                "config": config,
                "statistics": _figures(by_handler.get((capture.name, config["name"]))),
            }
            for config in table.pop("handler")
        ]
        described.append({**table, "socket": _figures(socket), "handlers": handlers})
    return described


def _figures(figures: Any) -> dict[str, Any] | None:
    if figures is None:
        return None
    made: dict[str, Any] = msgspec.to_builtins(figures)
    made.pop("handlers", None)
    return made


def _one(control: Control, capture: str, handler: str) -> dict[str, Any]:
    for table in describe_captures(control):
        for each in table["handlers"]:
            if (table["name"], each["name"]) == (capture, handler):
                return {"capture": capture, **each}
    raise KeyError(f"{capture}/{handler}")


def _known(control: Control, params: Mapping[str, str]) -> str:
    name = f"{params['capture']}/{params['handler']}"
    if not control.find(name):
        raise KeyError(name)
    return name


def _name_for(control: Control, data: dict[str, Any]) -> str:
    """The capture that is meant by an address, or a name for a new one."""
    conn_type, address = data.get("conn_type"), data.get("address")
    for capture in control.captures():
        if (capture.conn_type, list(capture.address)) == (conn_type, address):
            return capture.name
    number = address[-1] if isinstance(address, list) and address else ""
    return f"{conn_type}-{number}"[:64]


def _root(handler: Any) -> str:
    return PathPattern(f"{handler.log_dir}/{handler.file_name_pattern}", fields=_FIELDS).static_root


def _is_below(path: str, root: str) -> bool:
    return root != "/" and (path == root or path.startswith(f"{root}/"))


def _guarded(handle: Callable[[Request], Awaitable[Answer]]) -> Callable[[Request], Awaitable[Answer]]:
    async def answer(request: Request) -> Answer:
        try:
            return await handle(request)
        except RefusedError as exc:
            return exc.answer
        except Exception as exc:  # noqa: BLE001 - whatever it was, nothing has changed and the client must know
            return _refusal(exc)

    return answer


def _refusal(exc: Exception) -> Answer:
    if isinstance(exc, KeyError):
        return problem(404, "there is no such handler", detail=str(exc.args[0]))
    if isinstance(exc, ExceptionGroup):
        mistakes, others = exc.split(ConfigError)
        if mistakes is not None and others is None:
            found = [{"key": each.key, "message": each.message, "hint": each.hint} for each in _leaves(mistakes)]
            return problem(422, "there are mistakes in it", mistakes=found)
    if isinstance(exc, trio.TooSlowError):
        return problem(504, "not done in time", detail="it is stopped; its file ends when the disk allows")
    leaf = leaf_of(exc)
    if isinstance(leaf, PrivilegeError):
        return problem(403, "a privilege is missing", detail=str(leaf))
    if isinstance(leaf, ApplianceError | OSError):
        return problem(409, "it cannot be done now", detail=describe(leaf))
    log.error("a request failed", error=describe(leaf), exc_info=exc)
    return problem(500, "it failed", detail=describe(leaf))


def _leaves(exc: BaseException) -> Iterator[ConfigError]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    elif isinstance(exc, ConfigError):
        yield exc
