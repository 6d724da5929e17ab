"""The page without sockets: an API of canned documents below it, and somebody who asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import trio

from appliance.api.application import make_application
from appliance.api.credentials import Credentials
from appliance.api.exchange import Answer, Exchange, Reply, Request, problem
from appliance.api.roles import Identity, Role
from appliance.api.table import Endpoint
from appliance.api.tokens import make_token
from appliance.config import Api
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.history import History
from appliance.runtime.ledger import Ledger
from appliance.ui.routes import FORM, UiRoutes

EVIL = "<script>alert(1)</script>'\"&"
"""As a name; there are stricter rules for most of them."""
OPERATOR = Identity(name="uid:0", role=Role.OPERATE)
READER = Identity(name="uid:7", role=Role.READ)
STRANGER = Identity(name="", address="192.0.2.1:5", challenge=True)
RATES = {"last_1s": 1.0, "last_10s": 2.5, "last_60s": 3.0}


def queue(records: int = 3) -> dict[str, Any]:
    return {"policy": "block", "records": records, "size": 2048, "max_records": 100, "stalled": False}


def service(name: str, figures: Any = None, *, state: str = "running", queued: int | None = None) -> dict[str, Any]:
    told = {"name": name, "state": state, "since_s": 61.0, "restarts": 2, "last_error": EVIL}
    return {"service": told, "figures": figures, "queue": None if queued is None else queue(queued)}


def account(name: str, *, lost: int = 0, unit: str = "records") -> dict[str, Any]:
    counts = {"received": 12345, "delivered": 12000, "queued": 45, "lost": lost, "imbalance": 0}
    return {"account": {"name": name, "unit": unit, "dropped": {"unwanted": 300}, **counts}, "rates": RATES}


def documents(evil: str = EVIL) -> dict[str, Any]:
    """By path: an appliance with one of everything."""
    recorder = {
        "interface": "eth1", "state": "recording", "packets_per_s": RATES, "disk_bytes": 5 << 30, "disk_limit": 9 << 30,
        "oldest_ns": 1_700_000_000 * 10**9, "span_s": 7200.0, "kernel_drops": 4, "disk_drops": 1, "gaps": 2,
    }  # fmt: skip
    peer = {
        "peer": evil, "node": "", "address": "192.0.2.9:1", "direction": "in", "since_s": 5.0, "messages_in": 77,
        "messages_out": 66, "queued": 5, "dropped": 0,
    }  # fmt: skip
    broker = {
        "peers": [peer],
        "dialers": [{"address": "192.0.2.8:9999", "state": "waiting", "last_error": evil}],
        "cluster": {"nodes": [{"name": "worker-1", "type": "worker", "is_up": True, "since_s": 1.0}]},
    }
    status = {
        "name": evil, "version": "1", "state": "running", "generation": 3, "uptime_s": 99.0, "lost": 7,
        "last_reload": {"ok": False, "errors": [evil]},
        "services": [
            service("zmq.a"), service("hook.h", queued=90, state="backing-off"), service("recorder.edge", recorder),
            service("broker", broker), service("cluster", {"up": ["logger-2"]}),
        ],
        "ledger": [account("zmq.a", lost=7), account(evil, unit="packets")],
        "attention": [
            {"about": "service", "text": "hook.h is backing-off"},
            {"about": "connection", "text": f"broker does not reach 192.0.2.8:9999: {evil}"},
            {"about": "account", "text": "zmq.a lost 7"},
            {"about": "reload", "text": f"the last reload was refused: {evil}"},
        ],
    }  # fmt: skip
    handler = {
        "name": "raw",
        "statistics": {
            "packets": 42, "packets_per_s": RATES, "bytes": 4200, "kernel_drops": 0, "handler_drops": 1,
            "open_file": f"/x/{evil}.part", "segments": 8,
        },
    }  # fmt: skip
    idle = {"name": "idle", "statistics": None}
    capture = {"name": evil, "conn_type": "udp", "address": ["", 8500], "handlers": [handler, idle]}
    hook = {"name": "h", "state": "running", "waiting": 1, "retrying": 2, "dead": 9, "queue": None,
            "figures": {"calls": 5, "failed": 4, "last_error": evil}}  # fmt: skip
    letter = {"id": 17, "hook": "h", "kind": "log", "name": evil, "source": "zmq.a", "attempts": 5, "first_ns": 1,
              "last_ns": 1_700_000_000 * 10**9, "reason": "hook_error", "error": evil}  # fmt: skip
    return {
        "/v1/status": status,
        "/v1/captures": {"captures": [capture]},
        "/v1/hooks": {"hooks": [hook], "dead_letters": None},
        "/v1/hooks/dead": {"letters": [letter], "next": None},
    }


async def _pour(exchange: Exchange) -> None:
    """Some packets."""
    await exchange.begin_stream("application/vnd.tcpdump.pcap", {"extract-report": "/x"})
    await exchange.send_part(b"pcap")
    await exchange.end_stream()


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Desk:
    """See the module. `asked` has what reached the API."""

    def __init__(self, folder: Path, *, evil: str = EVIL) -> None:
        self.documents = documents(evil)
        self.asked: list[Request] = []
        self.refusal: Answer | None = None
        self.token, line = make_token("grafana", "read")
        (folder / "tokens").write_text(line)
        self.credentials = Credentials(Api(token_file=str(folder / "tokens")))
        self.history, self.dispatcher, self.ledger = History(), Dispatcher(), Ledger()
        self.pages = UiRoutes(
            self._api(),
            credentials=self.credentials,
            history=self.history,
            dispatcher=self.dispatcher,
            ledger=self.ledger,
            name="node-1",
            now_s=lambda: 0.0,
        ).endpoints()
        self.application = make_application(self.pages)

    def _api(self) -> list[Endpoint]:
        changes = {
            ("POST", "/v1/captures"): {"capture": "udp-1", "handlers": [{"name": "b"}]},
            ("POST", "/v1/captures/{capture}/{handler}/rotate"): {"segments": [{"path": "/x/a.pcap"}]},
            ("DELETE", "/v1/captures/{capture}/{handler}"): {"stopped": 1},
            ("POST", "/v1/hooks/retry"): {"count": 1},
            ("POST", "/v1/hooks/purge"): {"count": 2},
        }
        made = [self._endpoint("GET", path, Role.READ, None) for path in self.documents]
        made += [self._endpoint(method, path, Role.OPERATE, told) for (method, path), told in changes.items()]
        made.append(self._endpoint("GET", "/v1/extract/pcap", Role.READ, {}))
        return made

    def _endpoint(self, method: str, path: str, role: Role, told: Any) -> Endpoint:
        async def handle(request: Request) -> Reply:
            self.asked.append(request)
            if self.refusal is not None and told is not None:
                return self.refusal
            if told == {}:
                return _pour
            return Answer(200, msgspec.json.encode(self.documents[path] if told is None else told))

        return Endpoint(method=method, path=path, role=role, summary="", handle=handle)

    async def ask(
        self,
        method: str,
        target: str,
        form: dict[str, str] | None = None,
        *,
        who: Identity = OPERATOR,
        cookie: str = "",
    ) -> Response:
        """Somebody's request."""
        path, _, query = target.partition("?")
        messages = [{"type": "http.request", "body": urlencode(form or {}).encode()}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop() if messages else await trio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"cookie", cookie.encode())] if cookie else []
        headers += [(b"content-type", FORM.encode())] if form is not None else []
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers,
            "state": {"who": who},
        }  # fmt: skip
        await self.application(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Response(sent[0]["status"], told, b"".join(each["body"] for each in sent[1:]).decode())

    async def csrf(self, who: Identity = OPERATOR, cookie: str = "") -> str:
        """What a form on his page has."""
        text = (await self.ask("GET", "/ui/", who=who, cookie=cookie)).text
        return text.partition('name="csrf" value="')[2].partition('"')[0]

    async def change(self, target: str, **form: str) -> tuple[Response, str]:
        """Send a form of the page; the answer, and what the page tells afterwards."""
        answer = await self.ask("POST", target, {"csrf": await self.csrf(), **form})
        where = answer.headers["location"].removeprefix("./").partition("#")[0]
        page = (await self.ask("GET", f"/ui/{where}")).text
        return answer, page.partition('id="note" role="status">')[2].partition("</div>")[0]

    def last(self) -> tuple[str, Any, Any]:
        """Path, names and body of the last change that reached the API."""
        request = [each for each in self.asked if each.method != "GET"][-1]
        return request.path, dict(request.params), json.loads(request.body or b"null")


def refusal(status: int = 409) -> Answer:
    mistakes = [{"key": "handler[0].name", "message": "is no name", "hint": "use letters"}]
    return problem(status, "it cannot be done now", detail=f"the {EVIL} is away", mistakes=mistakes)
