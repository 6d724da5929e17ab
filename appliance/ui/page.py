"""The page as a whole, from its parts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.api.roles import Identity

from .details import make_captures, make_hooks, make_peers, make_recorders
from .forms import hidden, make_log_form, make_packet_form, make_sign_in, make_start_form
from .markup import Child, Html, join, tag
from .overview import make_head, make_rates, make_services
from .view import View

__all__ = ["SECTIONS", "make_page", "make_sign_in_page", "render"]

SECTIONS = {
    "head": make_head,
    "rates": make_rates,
    "services": make_services,
    "recorders": make_recorders,
    "captures": make_captures,
    "hooks": make_hooks,
    "peers": make_peers,
}
"""What changes by itself, by the id of the element that it is in."""


def render(view: View) -> dict[str, Html]:
    """Every section as it is now."""
    return {name: make(view) for name, make in SECTIONS.items()}


def make_page(
    view: View,
    who: Identity,
    *,
    token: str,
    query: Mapping[str, str],
    note: tuple[bool, str] | None,
    can_leave: bool,
) -> str:
    """The whole document.

    Args:
        view: what is to be seen.
        who: looks at it.
        token: of the forms, see `appliance.ui.guard`.
        query: fields that are filled in already.
        note: whether the last change went well, and what is to be told of it.
        can_leave: there is a session to be ended.
    """
    parts = render(view)
    recorders = [name.partition(".")[2] for name, _ in view.figures("recorder")]

    def panel(name: str, title: str, *children: Child) -> Html:
        live = tag("div", parts[name], id=f"{name}-now") if name in parts else None
        return tag("section", tag("h2", title, id=f"{name}-title"), live, *children, id=name,
                   aria_labelledby=f"{name}-title")  # fmt: skip

    told = None
    if note is not None:
        told = tag("p", note[1], class_="note" if note[0] else "note bad")
    leave = tag("form", hidden(token), tag("button", "Sign out"), method="post", action="logout") if can_leave else None
    logs = tag("ol", id="lines", aria_label="Records as they arrive", tabindex=0)
    start = make_start_form(token) if view.may_capture else None
    body = join(
        tag("a", "To the services", href="#services", class_="skip"),
        tag(
            "header",
            tag("div", parts["head"], id="head-now"),
            tag("div", tag("span", f"{who.name or 'nobody'}, {who.role.word}"), leave,
                tag("span", "as of loading", id="live"), class_="who"),
            id="head",
        ),
        tag("div", told, id="note", role="status"),
        tag(
            "main",
            panel("rates", "What passes through"),
            panel("services", "Services"),
            panel("peers", "Peers and nodes"),
            panel("recorders", "Recorders", tag("h3", "Search packets"), make_packet_form(recorders, query)),
            panel("captures", "Captures", start),
            panel("hooks", "Hooks"),
            panel("log", "Log records", make_log_form(query), logs,
                  tag("noscript", tag("p", "Without the script, Show opens the records as text, and the rest of this "
                                      "page is as of when it was loaded.", class_="empty"))),
        ),
        tag("form", hidden(token), id="act", method="post", action="act", data_change=True),
    )  # fmt: skip
    return document(body, view.status["name"])


def make_sign_in_page(told: str = "") -> str:
    """For those who have shown no token."""
    return document(make_sign_in(told), "broappliance")


def document(body: Html, title: str) -> str:
    """A document around a body."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="page.css"),
        tag("script", src="page.js", defer=True),
    )
    return "<!doctype html>" + tag("html", head, tag("body", body), lang="en")
