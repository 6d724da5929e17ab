"""The paths below ``/ui``.

GET  /ui/           the page
GET  /ui/live       what changes on it, as server-sent events
GET  /ui/log        log records, as text; for browsers without the script
GET  /ui/extract    packets, as a file
POST /ui/act        what a button says
POST /ui/start      start a handler
GET  /ui/login      a form for a token, and POST of it: a session begins
POST /ui/logout     it ends

What makes the page is imported when somebody wants to see it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from urllib.parse import parse_qsl, urlencode

import structlog

from appliance.api.credentials import Credentials
from appliance.api.exchange import Answer, Exchange, Reply, Request, problem
from appliance.api.roles import Identity, Role
from appliance.api.sessions import read_cookie
from appliance.api.table import Endpoint
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.history import History
from appliance.runtime.ledger import Ledger

from .actions import Done, act, start
from .asking import Asking, explain
from .forms import PACKET_FIELDS
from .gallery import Gallery
from .guard import HEADERS, Guard, Notes, page
from .live import Live, Sections
from .view import look

__all__ = ["UiRoutes"]

log = structlog.get_logger("audit")

FORM = "application/x-www-form-urlencoded"
HTML = "text/html"
MAX_FORM = 1 << 16
_MAX_FIELDS = 32
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_SEVERAL = ("host", "port")
"""Conditions that may be given twice: in one line of the form, with a space or a comma between them."""


class UiRoutes:
    """See the module.

    Args:
        endpoints: the API's table: what the page shows and does.
        credentials: with whom those who come over TCP sign in.
        history: the last hour.
        dispatcher, ledger: as `Live` takes them.
        name: of the appliance, for the names of files.
        now_s: the time, seconds since the epoch.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        credentials: Credentials,
        history: History,
        dispatcher: Dispatcher,
        ledger: Ledger,
        name: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._asking = Asking(endpoints)
        self._credentials = credentials
        self._gallery = Gallery(history)
        self._live = Live(self._sections, dispatcher=dispatcher, ledger=ledger)
        self._guard = Guard()
        self._notes = Notes()
        self._name, self._now_s = name, now_s

    def endpoints(self) -> list[Endpoint]:
        made = [
            _page("GET", "/ui", Role.OPEN, "To the page", _to_page),
            _page("GET", "/ui/", Role.READ, "The page", self._show),
            _page("GET", "/ui/live", Role.READ, "What changes on the page", self._watch, produces="text/event-stream"),
            _page("GET", "/ui/log", Role.READ, "Log records as text", self._follow, produces="text/plain"),
            _page("GET", "/ui/extract", Role.READ, "Packets as a file", self._extract),
            _page("POST", "/ui/act", Role.OPERATE, "What a button says", self._changing(self._act)),
            _page("POST", "/ui/start", Role.OPERATE, "Start a handler", self._changing(self._start)),
            _page("GET", "/ui/login", Role.OPEN, "Where to sign in", self._show_sign_in),
            _page("POST", "/ui/login", Role.OPEN, "Sign in", self._sign_in),
            _page("POST", "/ui/logout", Role.READ, "Sign out", self._sign_out),
        ]
        made += [
            _page("GET", f"/ui/{name}", Role.OPEN, "A part of the page", partial(_asset, name), produces=kind)
            for name, kind in _ASSETS.items()
        ]
        return made

    # ── looking ──

    async def _sections(self, who: Identity, plotted: str) -> Sections:
        from .page import render

        view = await look(self._asking, who, self._gallery, plotted)
        return render(view) if view is not None else {}

    async def _show(self, request: Request) -> Answer:
        from .page import make_page

        given = _fields(request.query)
        view = await look(self._asking, request.who, self._gallery, given.get("plot", ""))
        if view is None:
            return problem(503, "there is no status")
        return page(
            make_page(
                view,
                request.who,
                token=self._guard.token(request.who, _session(request)),
                query=given,
                note=self._notes.take(request.who, given.get("note", "")),
                can_leave=request.who.name.startswith("token:"),
            )
        )

    async def _watch(self, request: Request) -> Reply:
        given = _fields(request.query)
        return self._live.watch(
            request.who, plotted=given.get("plot", ""), path=given.get("path", ""), contains=given.get("contains", "")
        )

    async def _follow(self, request: Request) -> Reply:
        given = _fields(request.query)
        return self._live.follow(given.get("path") or "*", given.get("contains", ""))

    async def _extract(self, request: Request) -> Reply:
        given = _fields(request.query)
        wanted = [
            (name, value)
            for name in (*(name for name, _, _ in PACKET_FIELDS), "recorder")
            for value in (given.get(name, "").replace(",", " ").split() if name in _SEVERAL else [given.get(name, "")])
            if value.strip()
        ]
        path = "/v1/extract/pcap"
        if not self._asking.may(request.who, "GET", path):
            return problem(404, "there is no recorder")
        reply = await self._asking.ask(request.who, "GET", path, query=urlencode(wanted))
        if isinstance(reply, Answer):
            return self._refused(request, given, reply)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._now_s()))
        pour = reply

        async def send(exchange: Exchange) -> Answer | None:
            exchange.headers["content-disposition"] = f'attachment; filename="{self._name}-{stamp}.pcap"'
            answer = await pour(exchange)
            exchange.headers.clear()
            return answer and self._refused(request, given, answer)

        return send

    def _refused(self, request: Request, given: Mapping[str, str], answer: Answer) -> Answer:
        """Back to the form, with what was in it."""
        return self._to(request.who, Done(False, explain(answer), "recorders"), given)

    # ── changing ──

    def _changing(
        self, change: Callable[[Identity, Mapping[str, str]], Awaitable[Done]]
    ) -> Callable[[Request], Awaitable[Answer]]:
        async def handle(request: Request) -> Answer:
            form = _fields(request.body.decode("latin-1"))
            if not self._guard.knows(form.get("csrf", ""), request.who, _session(request)):
                done = Done(False, "the page was too old, and nothing was done; this one is new", "head")
            else:
                done = await change(request.who, form)
                log.info("changed on the page", who=request.who.name, address=request.who.address, ok=done.ok,
                         asked=form.get("act") or request.path.rpartition("/")[2], told=done.told)  # fmt: skip
            return self._to(request.who, done, {})

        return handle

    async def _act(self, who: Identity, form: Mapping[str, str]) -> Done:
        return await act(self._asking, who, form.get("act", ""))

    async def _start(self, who: Identity, form: Mapping[str, str]) -> Done:
        return await start(self._asking, who, form)

    # ── coming and going ──

    async def _show_sign_in(self, request: Request) -> Answer:
        from .page import make_sign_in_page

        return page(make_sign_in_page()) if request.who.challenge else _see_other("./")

    async def _sign_in(self, request: Request) -> Answer:
        from .page import make_sign_in_page

        if not request.who.challenge:
            return _see_other("./")
        given = _fields(request.body.decode("latin-1"))
        said = self._credentials.sign_in(given.get("token", "").strip(), request.who)
        if isinstance(said, Answer):
            return page(make_sign_in_page(explain(said)), said.status)
        return _see_other("./", {"set-cookie": said})

    async def _sign_out(self, request: Request) -> Answer:
        form = _fields(request.body.decode("latin-1"))
        if not self._guard.knows(form.get("csrf", ""), request.who, _session(request)):
            return self._to(request.who, Done(False, "the page was too old; try again", "head"), {})
        return _see_other("login", {"set-cookie": self._credentials.sign_out(request.headers)})

    def _to(self, who: Identity, done: Done, given: Mapping[str, str]) -> Answer:
        """To the page, which tells what became of it."""
        fields = {**given, "note": self._notes.put(who, done.told, ok=done.ok)}
        return _see_other(f"./?{urlencode(fields)}#{done.section}")


def _page(
    method: str,
    path: str,
    role: Role,
    summary: str,
    handle: Callable[[Request], Awaitable[Reply]],
    *,
    produces: str = HTML,
) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        role=role,
        summary=summary,
        handle=handle,
        produces=produces,
        body=dict if method == "POST" else None,
        consumes=(FORM,),
        max_body=MAX_FORM,
        is_stream=path in ("/ui/live", "/ui/log", "/ui/extract"),
        sign_in="/ui/login",
    )


async def _to_page(request: Request) -> Answer:
    del request
    return _see_other("/ui/")


async def _asset(name: str, request: Request) -> Answer:
    from importlib.resources import files

    del request
    data = files("appliance.ui").joinpath(name).read_bytes()
    return Answer(200, data, f"{_ASSETS[name]}; charset=utf-8", HEADERS)


def _see_other(where: str, more: Mapping[str, str] | None = None) -> Answer:
    return Answer(303, b"", "text/plain", {"location": where, **HEADERS, **(more or {})})


def _fields(text: str) -> dict[str, str]:
    """The first value of each field; nothing if there are too many."""
    try:
        return dict(reversed(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)))
    except ValueError:
        return {}


def _session(request: Request) -> str:
    return read_cookie(request.headers.get("cookie", ""))
