"""The status document as tables for people."""

from __future__ import annotations

from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .details import describe, show_span

__all__ = ["make_console", "make_ledger", "make_status", "make_table", "needs_attention", "print_ledger"]

STYLES = {"running": "green", "starting": "yellow", "backing-off": "bold red", "failed": "bold red"}


def make_console(file: IO[str] | None = None) -> Console:
    """A console that never cuts a table when its output goes to a file or a pipe."""
    console = Console(file=file, highlight=False)
    return console if console.is_terminal else Console(file=file, highlight=False, width=160)


def needs_attention(status: dict[str, Any]) -> list[str]:
    """What an operator should look at, one phrase each; empty if all is well."""
    if "attention" not in status:
        return [f"version {status['version']} does not say what needs attention"]
    return [concern["text"] for concern in status["attention"]]


def make_table(title: str, *columns: str) -> Table:
    """Columns whose name ends in ``>`` are numbers, in ``!`` are never broken."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        name = column.rstrip(">!")
        table.add_column(
            name,
            justify="right" if column.endswith(">") else "left",
            no_wrap=column.endswith((">", "!")),
            overflow="fold",
        )
    return table


def make_ledger(status: dict[str, Any], *, title: str = "ledger") -> Table:
    """received = delivered + queued + filtered + refused + lost, a line for each door and consumer."""
    table = make_table(
        title, "account!", "received>", "delivered>", "queued>", "filtered>", "refused>", "lost>", "per s>",
        "dropped, by reason", "balance!",
    )  # fmt: skip
    for line in status["ledger"]:
        account = line["account"]
        reasons = " ".join(f"{reason}={count:,}" for reason, count in sorted(account["dropped"].items()))
        lost = Text(f"{account['lost']:,}", style="bold red" if account["lost"] else "green")
        wrong = account["imbalance"]
        table.add_row(
            account["name"],
            *(f"{account[column]:,}" for column in ("received", "delivered", "queued", "filtered", "refused")),
            lost, f"{line['rates']['last_10s']:,.0f}", reasons,
            Text(f"{wrong:+,}", style="bold red") if wrong else Text("ok", style="green"),
        )  # fmt: skip
    return table


def _make_peers(status: dict[str, Any]) -> list[RenderableType]:
    """A line for each peer of Broker and WebSockets; nothing without any."""
    found = [(line["figures"] or {}).get("peers") for line in status["services"]]
    lines = [peer for peers in found if isinstance(peers, list | tuple) for peer in peers if "filter_entries" in peer]
    if not lines:
        return []
    table = make_table(
        "peers", "endpoint!", "address!", "direction!", "for>", "prefixes>", "in>", "out>", "queued>", "dropped>"
    )
    for peer in lines:
        numbers = (f"{peer[key]:,}" for key in ("filter_entries", "messages_in", "messages_out", "queued", "dropped"))
        name = peer.get("node") or peer["peer"]
        table.add_row(name, peer["address"], peer["direction"], f"{peer['since_s']:,.0f} s", *numbers)
    return [table, Text()]


def _make_nodes(status: dict[str, Any]) -> list[RenderableType]:
    """A line for each node of the cluster."""
    views = [(line["figures"] or {}).get("cluster") or {} for line in status["services"]]
    lines = [node for view in views if view.get("announced") for node in view["nodes"]]
    if not lines:
        return []
    table = make_table("nodes", "node!", "type!", "state!", "for>", "id!")
    for node in lines:
        state = Text("up", style="green") if node["is_up"] else Text("down", style="yellow")
        table.add_row(
            node["name"], node["type"], state, f"{node['since_s']:,.0f} s" if node["is_up"] else "", node["id"]
        )
    return [table, Text()]


def _make_services(status: dict[str, Any]) -> Table:
    table = make_table("services", "service!", "state!", "for>", "restarts>", "detail", "last error")
    for line in status["services"]:
        service = line["service"]
        table.add_row(
            service["name"],
            Text(service["state"], style=STYLES.get(service["state"], "")),
            f"{service['since_s']:,.0f} s",
            str(service["restarts"]),
            describe(line),
            Text(service["last_error"], style="red"),
        )
    return table


def make_status(status: dict[str, Any], *, is_verdict_first: bool = False) -> RenderableType:
    """The whole document. What matters most is where one looks first: at the prompt, or at the top of a screen."""
    head = Text.assemble(
        (status["name"], "bold"),
        f"  {status['state']}, generation {status['generation']}, up {show_span(status['uptime_s'])}, "
        f"pid {status['pid']}, version {status['version']}, {', '.join(status['files'])}",
    )
    trouble = needs_attention(status)
    verdict = Text("needs attention: " + "; ".join(trouble), "bold red") if trouble else Text("all is well", "green")
    if not is_verdict_first:  # at the prompt, or in a script that takes the last line: however long, it is one
        verdict.no_wrap, verdict.overflow = True, "ignore"
    peers = [*_make_nodes(status), *_make_peers(status)]
    tables = [_make_services(status), Text(), *peers, make_ledger(status)]
    return Group(head, verdict, Text(), *tables) if is_verdict_first else Group(head, Text(), *tables, Text(), verdict)


def print_ledger(status: dict[str, Any], *, title: str, file: IO[str]) -> None:
    """Print the ledger alone."""
    make_console(file).print(make_ledger(status, title=title))
