"""The lower part of the page: peers and nodes, recorders, captures, hooks and their dead letters. Pure."""

from __future__ import annotations

from typing import Any

from .markup import Child, Html, join, tag
from .overview import mark, row, table
from .view import View
from .words import count, moment, number, per_second, size, span

__all__ = ["make_captures", "make_hooks", "make_peers", "make_recorders"]


def button(label: str, act: str, value: str, *, about: str, ask: str | None = None) -> Html:
    """A button of the form that all changes go through.

    Args:
        act, value: what is to be done, and with what.
        about: what it is for, for those who do not see the line that it is in.
        ask: what is asked before.
    """
    said = f"{act}:{value}"
    return tag(
        "button", label, form="act", name="act", value=said, id=said, aria_label=f"{label} {about}", data_ask=ask
    )


def make_peers(view: View) -> Html:
    """Who is connected, who should be, and the nodes of the cluster."""
    rows = [*_connections(view), *_nodes(view)]
    return table("Peer or node|State|For>|In>|Out>|Queued>|Dropped>", rows, "There is no peer and no cluster.")


def _connections(view: View) -> list[Html]:
    rows = []
    for name, figures in view.figures("broker", "websocket"):
        rows += [_connection(name, peer) for peer in figures["peers"]]
        for dialer in figures["dialers"]:
            if dialer["state"] != "peered":
                error = tag("small", f"{name} {dialer['last_error']}")
                rows.append(_node(join(dialer["address"], error), "failed", dialer["state"]))
    return rows


def _connection(name: str, peer: dict[str, Any]) -> Html:
    return row(
        join(peer.get("node") or peer["address"], tag("small", f"{name} {peer['direction']} {peer['peer']}")),
        join(mark("running"), "peered"),
        (span(peer["since_s"]),),
        *((number(peer[key]),) for key in ("messages_in", "messages_out", "queued", "dropped")),
    )


def _nodes(view: View) -> list[Html]:
    rows = []
    for _, figures in view.figures("broker"):
        for node in (figures.get("cluster") or {}).get("nodes", ()):
            name = join(node["name"], tag("small", node["type"]))
            up = node["is_up"]
            rows.append(_node(name, "running" if up else "stopped", "up" if up else "down", node["since_s"]))
    for _, figures in view.figures("cluster"):
        rows += [_node(join(node, tag("small", "ZeroMQ")), "running", "up") for node in figures.get("up", ())]
    return rows


def _node(name: Html, shape: str, state: str, since_s: float = 0.0) -> Html:
    """Somebody whose messages are counted elsewhere, or not at all."""
    return row(name, join(mark(shape), state), (span(since_s) if since_s else "",), *(("",),) * 4)


def make_recorders(view: View) -> Html:
    """Disk, span and drops of each recorder."""
    rows = []
    for name, figures in view.figures("recorder"):
        used: Child = size(figures["disk_bytes"])
        if limit := figures["disk_limit"]:
            share = f"{size(figures['disk_bytes'])} of {size(limit)}"
            used = join(tag("meter", share, value=figures["disk_bytes"], max=limit), " ", share)
        since = moment(figures["oldest_ns"]) if figures["oldest_ns"] else "nothing yet"
        drops = figures["kernel_drops"] + figures["disk_drops"]
        told = f"kernel {figures['kernel_drops']:,} · disk {figures['disk_drops']:,}"
        told += f" · {count(figures['gaps'], 'gap')}" if figures["gaps"] else ""
        rows.append(
            row(
                join(name.partition(".")[2], tag("small", figures["interface"])),
                join(mark("running" if figures["state"] == "recording" else "failed"), figures["state"]),
                (f"{per_second(figures['packets_per_s']['last_10s'])}",),
                used,
                join(span(figures["span_s"]), tag("small", f"since {since}")),
                (join(tag("span", number(drops), class_="bad" if drops else None), tag("small", told)),),
            )
        )
    return table("Recorder|State|Packets/s>|Disk|Goes back|Drops>", rows, "There is no recorder.")


def make_captures(view: View) -> Html:
    """The handlers of each capture, with what can be done to them."""
    rows = [
        _handler(capture, handler, may=view.may_capture)
        for capture in view.captures
        for handler in capture["handlers"]
    ]  # fmt: skip
    columns = "Handler|Packets>|Per s>|Bytes>|Drops>|File" + ("|" if view.may_capture else "")
    return table(columns, rows, "Nothing is captured.")


def _handler(capture: dict[str, Any], handler: dict[str, Any], *, may: bool) -> Html:
    name = f"{capture['name']}/{handler['name']}"
    where = f"{capture['conn_type']} " + ":".join(map(str, capture["address"]))
    told = handler["statistics"]
    if told is None:
        return row(join(name, tag("small", where)), ("",), ("",), ("",), ("",), "does not run", *([""] if may else []))
    drops = told["kernel_drops"] + told["handler_drops"]
    does = join(
        button("Rotate", "rotate", name, about=name),
        " ",
        button(
            "Stop", "stop", name, about=name, ask=f"Stop {name}? Its file ends, and nothing more is captured for it."
        ),
    )
    return row(
        join(name, tag("small", where)),
        (number(told["packets"]),),
        (per_second(told["packets_per_s"]["last_10s"]),),
        (size(told["bytes"]),),
        (tag("span", number(drops), class_="bad" if drops else None),),
        join(
            tag("code", (told["open_file"] or "none is open").rpartition("/")[2], title=told["open_file"]),
            tag("small", f"{told['segments']:,} finished"),
        ),
        *([does] if may else []),
    )


def make_hooks(view: View) -> Html:
    """The hooks, and the oldest dead letters."""
    rows = []
    for hook in view.hooks:
        told = hook["figures"] or {}
        again = button("Retry all", "retry-hook", hook["name"], about=f"dead letters of {hook['name']}")
        rows.append(
            row(
                join(hook["name"], tag("small", told["last_error"]) if told.get("last_error") else None),
                join(mark(hook["state"]), hook["state"]),
                (number(hook["waiting"]),),
                (number(hook["retrying"]),),
                (number(told.get("calls", 0)),),
                (number(told.get("failed", 0)),),
                (tag("span", number(hook["dead"]), class_="bad" if hook["dead"] else None),),
                *([again if hook["dead"] else ""] if view.may_retry else []),
            )
        )
    columns = "Hook|State|Waiting>|Retrying>|Calls>|Failed>|Dead>" + ("|" if view.may_retry else "")
    return join(table(columns, rows, "There is no hook."), _letters(view))


def _letters(view: View) -> Child:
    if not view.letters:
        return None
    dead = sum(hook["dead"] for hook in view.hooks)
    rows = [
        row(
            join("№ ", letter["id"], tag("small", f"{letter['hook']} · {letter['kind']}:{letter['name']}")),
            moment(letter["last_ns"]),
            (number(letter["attempts"]),),
            join(letter["error"] or letter["reason"]),
            *(
                [
                    join(
                        button("Retry", "retry", str(letter["id"]), about=f"letter {letter['id']}"),
                        " ",
                        button(
                            "Delete", "purge", str(letter["id"]), about=f"letter {letter['id']}",
                            ask=f"Delete letter {letter['id']}? Its record is gone then.",
                        ),
                    )
                ]
                if view.may_retry
                else []
            ),
        )
        for letter in view.letters
    ]  # fmt: skip
    columns = "Dead letter|Last attempt, UTC|Attempts>|Error" + ("|" if view.may_retry else "")
    title = tag("h3", f"The oldest {len(rows)} of {count(dead, 'dead letter')}" if dead > len(rows) else "Dead letters")
    return join(title, table(columns, rows, ""))
