"""``/v1/hooks``: what waits for hooks, what failed at them, and another try for it.

    GET    /v1/hooks               every hook with its queue and its figures, and what waits for hooks that nobody runs
    GET    /v1/hooks/dead          dead letters; ``?hook=NAME&after=ID&limit=N``
    GET    /v1/hooks/dead/{id}     one of them with its record, traceback and attempts
    POST   /v1/hooks/retry         try dead letters again: ``{"ids": […]}``, ``{"hook": NAME}`` or ``{"all": true}``
    POST   /v1/hooks/purge         delete them, chosen the same way; with ``"hook"`` and ``"waiting": true`` what waits
                                   for a hook that nobody runs

A letter that is not dead any more is left alone, so asking twice does nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
import structlog
import trio

from appliance.errors import ApplianceError
from appliance.runtime.intake import QueueFigures
from appliance.runtime.journal.desk import Desk
from appliance.runtime.journal.documents import full_document, short_document
from appliance.runtime.supervisor import describe
from appliance.zeek.plain import plain_record

from .exchange import Answer, Request, parameters, problem, to_json
from .paging import Page, cursor_of, read_cursor
from .roles import Role
from .schemas import Changed, DeadLetter, DeadLetters, HookList
from .table import Endpoint

__all__ = ["PATH", "HookLine", "HookRoutes"]

log = structlog.get_logger("api")

PATH = "/v1/hooks"
PATIENCE_S = 60.0
"""For one request: the journal's disk may be slow."""
MAX_IDS = 10_000
_MAX_ID = (1 << 63) - 1


class HookLine(NamedTuple):
    """A hook that runs."""

    state: str
    figures: Any
    queue: QueueFigures


_TOLD = ("ids", "hook", "all", "waiting")


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters are meant."""

    ids: list[int] | None = None
    hook: str | None = None
    all: bool = False
    waiting: bool = False


class DeadQuery(Page, frozen=True):
    hook: str | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=_MAX_ID, description="letters with higher ids")] = 0


class _BadRequestError(ValueError):
    """What the client asks for makes no sense."""


class HookRoutes:
    """See the module.

    Args:
        desk: the journal's; None: there is none.
        running: hooks that run, by name.
    """

    def __init__(
        self, desk: Callable[[], Awaitable[Desk | None]], running: Callable[[], Mapping[str, HookLine]]
    ) -> None:
        self._desk = desk
        self._running = running

    def endpoints(self) -> list[Endpoint]:
        """Cancellation: as in `Desk`; a change is made or not, as a whole."""
        refusals = (409, 504)
        return [
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="Every hook with its queue",
                handle=_guarded(self._list), reply=HookList, refusals=refusals,
            ),
            Endpoint(
                method="GET", path=f"{PATH}/dead", role=Role.READ, summary="Dead letters",
                handle=_guarded(self._dead), query=DeadQuery, reply=DeadLetters, refusals=refusals,
            ),
            Endpoint(
                method="GET", path=f"{PATH}/dead/{{id}}", role=Role.READ, summary="One dead letter with its record",
                handle=_guarded(self._show), reply=DeadLetter, refusals=(404, *refusals),
            ),
            Endpoint(
                method="POST", path=f"{PATH}/retry", role=Role.OPERATE, summary="Try dead letters again",
                handle=_guarded(partial(self._change, "retry")), body=Choice, reply=Changed, refusals=refusals,
                told=_TOLD,
            ),
            Endpoint(
                method="POST", path=f"{PATH}/purge", role=Role.OPERATE, summary="Delete dead letters",
                handle=_guarded(partial(self._change, "purge")), body=Choice, reply=Changed, refusals=refusals,
                told=_TOLD,
            ),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        del request
        desk = await self._desk()
        kept = {each.hook: each for each in (await desk.backlogs() if desk is not None else ())}
        running = self._running()
        hooks = []
        for name in [*running, *(name for name in kept if name not in running)]:
            line, left = running.get(name), kept.get(name)
            dead, retrying = (left.dead, left.retrying) if left is not None else (0, 0)
            waiting = left.waiting if left is not None else 0
            if line is not None:  # it knows better what is on its way
                waiting, retrying = line.queue.records - line.queue.retrying, line.queue.retrying
            hooks.append(
                {
                    "name": name,
                    "state": line.state if line is not None else "absent",
                    "waiting": waiting,
                    "retrying": retrying,
                    "dead": dead,
                    "queue": line and line.queue,
                    "figures": line and line.figures,
                }
            )
        letters = await desk.statistics() if desk is not None else None
        return to_json({"hooks": hooks, "dead_letters": letters})

    async def _dead(self, request: Request) -> Answer:
        given = parameters(request, DeadQuery)
        after = max(given.after, read_cursor(given.cursor, int, 0))
        desk = await self._desk()
        letters = await desk.dead(given.hook, after=after, limit=given.limit) if desk is not None else []
        following = cursor_of(letters[-1].id) if letters and len(letters) == given.limit else None
        return to_json({"letters": [short_document(letter) for letter in letters], "next": following})

    async def _show(self, request: Request) -> Answer:
        number = request.params["id"]
        desk = await self._desk()
        is_number = number.isascii() and number.isdecimal() and int(number[:20]) <= _MAX_ID
        letter = await desk.show(int(number)) if desk is not None and is_number else None
        if letter is None:
            return problem(404, "there is no such dead letter", detail=f"{number}: tried again, purged, or never there")
        return to_json(full_document(letter, plain_record(letter.item)))

    async def _change(self, verb: str, request: Request) -> Answer:
        choice = _choice(verb, request.body)
        desk = await self._desk()
        if desk is None:
            count = 0
        elif choice.waiting:
            assert choice.hook is not None
            count = await desk.purge_backlog(choice.hook)
        else:
            change = desk.retry if verb == "retry" else desk.purge
            count = await change(choice.hook, ids=choice.ids)
        log.info(f"{verb} of dead letters", count=count, hook=choice.hook, by_id=choice.ids is not None)
        return to_json({"count": count})


def _guarded(handle: Callable[[Request], Awaitable[Answer]]) -> Callable[[Request], Awaitable[Answer]]:
    async def answer(request: Request) -> Answer:
        with trio.move_on_after(PATIENCE_S):
            try:
                return await handle(request)
            except _BadRequestError as exc:
                return problem(400, "this makes no sense", detail=str(exc))
            except (ApplianceError, OSError, trio.ClosedResourceError) as exc:
                return problem(409, "it cannot be done now", detail=describe(exc))
        return problem(504, "not done in time", detail=f"the journal did not answer within {PATIENCE_S:.0f} s")

    return answer


def _choice(verb: str, body: bytes) -> Choice:
    """What the body of a change says.

    Raises:
        _BadRequestError: nothing, or too much.
    """
    try:
        choice = msgspec.json.decode(body or b"{}", type=Choice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _BadRequestError(f"the body is not what is taken here: {exc}") from None
    if choice.waiting and (verb != "purge" or choice.hook is None or choice.ids is not None):
        raise _BadRequestError("'waiting' is for purging what waits for one hook")
    if choice.ids is None and choice.hook is None and not choice.all:
        raise _BadRequestError("say which: 'ids', 'hook', or 'all'")
    if choice.all and (choice.ids is not None or choice.hook is not None):
        raise _BadRequestError("'all' leaves nothing to choose")
    if choice.ids is not None and len(choice.ids) > MAX_IDS:
        raise _BadRequestError(f"more than {MAX_IDS} ids")
    if any(not 0 < each <= _MAX_ID for each in choice.ids or ()):
        raise _BadRequestError("ids are positive numbers")
    return choice
