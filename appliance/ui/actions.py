"""From a form to the API's own change, and from its answer to a line for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from appliance.api.exchange import Answer
from appliance.api.roles import Identity

from .asking import Asking, explain
from .words import count

__all__ = ["Done", "act", "start"]


class Done(NamedTuple):
    """What became of a change."""

    ok: bool
    told: str
    section: str
    """Where it can be seen."""


class _Change(NamedTuple):
    method: str
    path: str
    section: str


_ONE = "/v1/captures/{capture}/{handler}"
_CHANGES = {
    "rotate": _Change("POST", f"{_ONE}/rotate", "captures"),
    "stop": _Change("DELETE", _ONE, "captures"),
    "retry": _Change("POST", "/v1/hooks/retry", "hooks"),
    "retry-hook": _Change("POST", "/v1/hooks/retry", "hooks"),
    "purge": _Change("POST", "/v1/hooks/purge", "hooks"),
}


async def act(asking: Asking, who: Identity, said: str) -> Done:
    """Do what a button says: ``rotate:telemetry/raw``, ``retry:17``.

    Cancellation: as in the API; what was begun may be done.
    """
    what, _, value = said.partition(":")
    change = _CHANGES.get(what)
    if change is None or not asking.may(who, change.method, change.path):
        return Done(False, "there is no such button", "head")
    params: dict[str, str] = {}
    body: dict[str, Any] | None = None
    if change.section == "captures":
        params["capture"], _, params["handler"] = value.partition("/")
    elif what == "retry-hook":
        body = {"hook": value}
    elif value.isascii() and value.isdecimal() and len(value) < 20:
        body = {"ids": [int(value)]}
    else:
        return Done(False, f"{value[:40]!r} is no letter", change.section)
    answer = await asking.ask(who, change.method, change.path, params=params, body=body)
    assert isinstance(answer, Answer)
    if answer.status >= 300:
        return Done(False, explain(answer), change.section)
    return Done(True, _tell(what, value, msgspec.json.decode(answer.body)), change.section)


def _tell(what: str, value: str, document: dict[str, Any]) -> str:
    if what == "rotate":
        files = ", ".join(segment["path"] for segment in document["segments"])
        return f"{value}: finished {files}" if files else f"{value}: there was no file to finish"
    if what == "stop":
        return f"{value} is stopped"
    verb = "deleted" if what == "purge" else "tried again"
    return f"{count(document['count'], 'letter')} {verb}"


async def start(asking: Asking, who: Identity, form: Mapping[str, str]) -> Done:
    """Start the handler that a form describes."""
    port, every = form.get("port", ""), form.get("every", "") or "1"
    for what, text in (("the port", port), ("how often a new file begins", every)):
        if not (text.isascii() and text.isdecimal() and len(text) < 8):
            return Done(False, f"{what} is no number: {text[:40]!r}", "captures")
    handler: dict[str, Any] = {
        "name": form.get("name", ""),
        "log_dir": form.get("log_dir") or None,
        "rotate_log_index": form.get("unit") or "days",
        "rotate_log_delta": int(every),
    }
    capture = {
        "conn_type": form.get("conn_type", ""),
        "address": [form.get("host", ""), int(port)],
        "handler": [handler],
    }
    answer = await asking.ask(who, "POST", "/v1/captures", body=capture)
    assert isinstance(answer, Answer)
    if answer.status >= 300:
        return Done(False, explain(answer), "captures")
    document = msgspec.json.decode(answer.body)
    names = ", ".join(f"{document['capture']}/{each['name']}" for each in document["handlers"])
    return Done(True, f"{names} is started", "captures")
