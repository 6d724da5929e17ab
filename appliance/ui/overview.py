"""The upper part of the page: how it is altogether, the services, and what passes through. Pure."""

from __future__ import annotations

from typing import Any

from .markup import Child, Html, join, tag
from .plot import plot
from .view import View
from .words import count, number, per_second, size, span

__all__ = ["attention", "make_head", "make_rates", "make_services", "table"]

_TROUBLE = ("backing-off", "failed", "stopped")
_DOORS = ("zmq", "websocket", "cluster", "tail", "capture", "recorder", "broker")
_NEARLY_FULL = 0.8
_SECTIONS = {
    "service": "services",
    "recorder": "recorders",
    "connection": "peers",
    "account": "rates",
    "reload": "head",
}
"""What a concern is about → the section that has more of it."""


def table(columns: str, rows: list[Html], empty: str) -> Html:
    """Rows below columns, whose names are separated by ``|`` and end in ``>`` if they are numbers."""
    if not rows:
        return tag("p", empty, class_="empty")
    heads = [
        tag("th", name.rstrip(">"), scope="col", class_="n" if ">" in name else None) for name in columns.split("|")
    ]
    made = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return tag("div", made, class_="wide", tabindex=0, role="group", aria_label=columns.partition("|")[0])


def row(name: Child, *cells: Child | tuple[Child], class_: str | None = None) -> Html:
    """A line of a table: what it is about, and its cells; one in a tuple is a number."""
    made = [tag("td", cell[0], class_="n") if isinstance(cell, tuple) else tag("td", cell) for cell in cells]
    return tag("tr", tag("th", name, scope="row"), *made, class_=class_)


def attention(view: View) -> list[tuple[str, str]]:
    """What an operator should look at: the section where it is, and a phrase. The page tells of what may become
    grave, too: queues that fill, and dead letters.
    """
    found = [(_SECTIONS.get(each["about"], "head"), each["text"]) for each in view.status["attention"]]
    for line in view.status["services"]:
        queue = line["queue"]
        if queue and queue["records"] > _NEARLY_FULL * queue["max_records"]:
            found.append(("services", f"the queue of {line['service']['name']} is nearly full"))
    found += [("hooks", f"{hook['name']}: {count(hook['dead'], 'dead letter')}") for hook in view.hooks if hook["dead"]]
    return found


def make_head(view: View) -> Html:
    """Name, state, and what needs attention."""
    status, found = view.status, attention(view)
    arriving = sum(
        line["rates"]["last_10s"]
        for line in status["ledger"]
        if line["account"]["name"].startswith(_DOORS) and line["account"]["unit"] in ("records", "packets")
    )
    facts = (
        ("state", status["state"]), ("up for", span(status["uptime_s"])), ("arriving", f"{per_second(arriving)}/s"),
        ("lost", number(status["lost"])), ("generation", status["generation"]), ("version", status["version"]),
    )  # fmt: skip
    told: Child = tag("p", mark("running"), "Nothing needs attention", class_="well")
    if found:
        items = [tag("li", tag("a", phrase, href=f"#{where}")) for where, phrase in found]
        told = tag("div", tag("p", mark("failed"), f"{count(len(found), 'thing')} to look at"), tag("ul", *items),
                   class_="ill")  # fmt: skip
    title = f"{status['name']}: {count(len(found), 'thing')} to look at" if found else status["name"]
    return tag(
        "div",
        tag("h1", status["name"]),
        tag("dl", *(tag("div", tag("dt", what), tag("dd", value)) for what, value in facts)),
        told,
        class_="head",
        data_title=title,
    )


def mark(state: str) -> Html:
    """A state as a shape and a colour; the word stands beside it."""
    shapes = {"running": "●", "starting": "◐", "backing-off": "▲", "failed": "▲", "stopped": "■"}
    return join(tag("span", shapes.get(state, "◇"), class_=f"mark {state}", aria_hidden="true"), " ")


def gauge(queue: dict[str, Any] | None) -> Child:
    """How full a queue is."""
    if not queue:
        return None
    told = f"{queue['records']:,} of {queue['max_records']:,}, {size(queue['size'])}, {queue['policy']}"
    meter = tag(
        "meter", told, value=queue["records"], max=queue["max_records"], high=int(_NEARLY_FULL * queue["max_records"]),
        optimum=0, title=told,
    )  # fmt: skip
    return join(meter, " ", number(queue["records"]), " stalled" if queue["stalled"] else None)


def make_services(view: View) -> Html:
    """The services, those in trouble first."""
    lines = sorted(view.status["services"], key=lambda line: line["service"]["state"] not in _TROUBLE)
    rows = []
    for line in lines:
        service = line["service"]
        error = tag("small", service["last_error"]) if service["last_error"] else None
        again = tag("small", count(service["restarts"], "restart")) if service["restarts"] else None
        rows.append(
            row(
                join(service["name"], error),
                join(mark(service["state"]), service["state"], again),
                (span(service["since_s"]),),
                gauge(line["queue"]),
            )
        )
    return table("Service|State|For>|Queue", rows, "No service runs.")


def make_rates(view: View) -> Html:
    """The accounts with their last hour, and one of them at large."""
    lines = view.status["ledger"]
    names = {line["account"]["name"]: line for line in lines}
    chosen = names.get(view.plotted) or max(lines, key=_busy, default=None)
    rows = []
    for line in lines:
        account = line["account"]
        reasons = [
            tag("span", f"{reason} ", tag("b", number(dropped)), class_="reason")
            for reason, dropped in sorted(account["dropped"].items())
        ]
        rate = per_second(line["rates"]["last_10s"])
        link = tag(
            "a", account["name"], href=f"?plot={account['name']}#rates", data_plot=account["name"],
            aria_current="true" if line is chosen else None, id=f"plot-{account['name']}",
        )  # fmt: skip
        rows.append(
            row(
                link,
                view.spark(account["name"]),
                (rate,),
                (number(account["received"]),),
                (number(account["delivered"]),),
                (number(account["queued"]),),
                join(*reasons),
                (tag("span", number(account["lost"]), class_="bad" if account["lost"] else None),),
            )
        )
    large = None
    if chosen is not None:
        account = chosen["account"]
        large = plot(account["name"], account["unit"], view.points(account["name"]))
    columns = "Account|Last hour|Per s>|Received>|Delivered>|Queued>|Dropped, by reason|Lost>"
    return join(large, table(columns, rows, "Nothing has come yet."))


def _busy(line: dict[str, Any]) -> tuple[bool, int]:
    account = line["account"]
    return account["name"].startswith(_DOORS), account["received"]
