"""The status document as tables for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["make_console", "make_ledger", "make_status", "make_table", "needs_attention", "print_ledger"]

STYLES = {"running": "green", "starting": "yellow", "backing-off": "bold red", "failed": "bold red"}


def make_console(file: IO[str] | None = None) -> Console:
    """A console that never cuts a table when its output goes to a file or a pipe."""
    console = Console(file=file, highlight=False)
    return console if console.is_terminal else Console(file=file, highlight=False, width=160)


def needs_attention(status: dict[str, Any]) -> list[str]:
    """What an operator should look at, one phrase each; empty if all is well."""
    found = [
        f"{line['service']['name']} is {line['service']['state']}"
        for line in status["services"]
        if line["service"]["state"] in ("backing-off", "failed", "stopped") and status["state"] == "running"
    ]
    for line in status["ledger"]:
        account = line["account"]
        if account["lost"]:
            found.append(f"{account['name']} lost {account['lost']:,}")
        if account["imbalance"]:
            found.append(f"the books of {account['name']} do not balance by {account['imbalance']:,}")
    last = status["last_reload"]
    if last and not last["ok"]:
        found.append("the last reload was refused: " + "; ".join(last["errors"]))
    return found


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


def _detail_of_zmq(figures: dict[str, Any]) -> list[str]:
    peers = figures["writers"]
    words = [*figures["endpoints"], f"{peers['connected']} writers"]
    words += [f"{peers['cut']:,} cut"] if peers["cut"] else []
    return words + [f"{figures[key]:,} {key}" for key in ("missing", "unseen", "untracked") if figures[key]]


def _detail_of_node(figures: dict[str, Any]) -> list[str]:
    words = [figures["node"], "ready" if figures["is_ready"] else "not ready"]
    for link in filter(None, (figures["read"], figures["write"])):
        words += [] if link["is_connected"] else [f"{link['endpoint']}: {link['last_error']}"]
    words.append(f"up: {' '.join(figures['up']) or 'nobody else'}")
    words += [f"{reason}={count:,}" for reason, count in sorted(figures["oddities"].items())]
    return words + ([f"{figures['quarantined']:,} messages kept for inspection"] if figures["quarantined"] else [])


def _detail_of_proxy(figures: dict[str, Any]) -> list[str]:
    words = [figures["read"], figures["write"]] if figures["read"] else ["not bound"]
    return words + ([f"{figures['refused']:,} refused"] if figures["refused"] else [])


def _detail_of_cluster(figures: dict[str, Any]) -> list[str]:
    if "node_id" in figures:  # of a node, and not of the logger
        return _detail_of_node(figures)
    words = [*figures["endpoints"], f"{figures['senders']['connected']} senders", f"{len(figures['nodes'])} nodes"]
    return words + ([f"{figures['quarantined']:,} batches kept for inspection"] if figures["quarantined"] else [])


def _detail_of_broker(figures: dict[str, Any]) -> list[str]:
    words = [*figures["listening"], f"{len(figures['peers'])} peers"]
    if cluster := figures.get("cluster"):
        shown = f"{cluster['up']} of {len(cluster['nodes'])} nodes up"
        words.append(f"{cluster['node']} ({cluster['role']}), {shown if cluster['announced'] else 'silent'}")
        words += [f"{count:,} {reason}" for reason, count in sorted(cluster["refused"].items())]
    words += [
        f"{dialer['address']} {dialer['state']}: {dialer['last_error'] or 'no answer yet'}"
        for dialer in figures["dialers"]
        if dialer["state"] != "peered"
    ]
    words += [f"{figures['refused']:,} refused"] if figures["refused"] else []
    return words + ([f"{figures['quarantined']:,} messages kept for inspection"] if figures["quarantined"] else [])


def _detail_of_websocket(figures: dict[str, Any]) -> list[str]:
    first, *more = figures["dialers"] or [{"address": "", "state": "", "last_error": ""}]
    is_connected = first["state"] == "peered"
    words = [first["address"] if is_connected else f"{first['address']} {first['state']}: {first['last_error']}"]
    words += [f"Zeek {peer['version']}" for peer in figures["peers"][: int(is_connected)]]
    words += [f"{len(more)} connections for who asks for more"] if more else []
    return words + [f"{figures[key]:,} {key}" for key in ("refused", "mended") if figures[key]]


def _make_peers(status: dict[str, Any]) -> list[RenderableType]:
    """A line for each Broker peer; nothing without any."""
    lines = [peer for line in status["services"] for peer in (line["figures"] or {}).get("peers", ())]
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
    """A line for each node of the cluster, if Broker is its backend."""
    figures = [line["figures"] for line in status["services"] if line["service"]["name"] == "broker"]
    lines = [node for each in figures for node in ((each or {}).get("cluster") or {}).get("nodes", ())]
    if not lines:
        return []
    table = make_table("nodes", "node!", "type!", "state!", "for>", "endpoint!")
    for node in lines:
        state = Text("up", style="green") if node["is_up"] else Text("down", style="yellow")
        table.add_row(
            node["name"], node["type"], state, f"{node['since_s']:,.0f} s" if node["is_up"] else "", node["id"]
        )
    return [table, Text()]


def _detail_of_tail(figures: dict[str, Any]) -> list[str]:
    return [f"{figures['files']:,} files, {figures['open_files']:,} open"]


def _detail_of_capture(figures: dict[str, Any]) -> list[str]:
    handlers = figures["handlers"]
    names = [handler["open_file"] for handler in handlers if handler["open_file"]]
    words = [f"{figures['connections']} connections"] if figures["conn_type"] == "tcp" else []
    words += [f"{len(handlers)} handlers"] if len(handlers) > 1 else []
    words.append(f"{figures['segments']:,} finished files")
    words.append(names[0] if len(names) == 1 else f"{len(names)} open files" if names else "no open file")
    return [figures["address"] or "not connected", *words]


def _detail_of_hook(figures: dict[str, Any]) -> list[str]:
    words = [f"{figures['calls']:,} calls", f"{figures['errors']:,} errors", f"{figures['timeouts']:,} timeouts"]
    return words + ([f"{figures['hung']} hung"] if figures["hung"] else [])


def _bytes(number: int) -> str:
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1024:,.0f} KiB"


def _span(seconds: float) -> str:
    for unit, scale in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _detail_of_recorder(figures: dict[str, Any]) -> list[str]:
    words = [f"{figures['interface']} {figures['state']}", f"{figures['packets_per_s']['last_10s']:,.0f} packets/s"]
    kept = f"{figures['disk_segments']:,} segments, {_bytes(figures['disk_bytes'])}"
    words.append(kept + (f" of {_bytes(figures['disk_limit'])}" if figures["disk_limit"] else ""))
    words += [f"{_bytes(figures['memory_bytes'])} in memory"] if figures["memory_bytes"] else []
    words.append(f"back {_span(figures['span_s'])}")
    counts = {
        "cut off": figures["cutoff_packets"],
        "truncated": figures["truncated"],
        "write errors": figures["write_errors"],
        "without index": figures["index_errors"],
    }
    return words + [f"{count:,} {what}" for what, count in counts.items() if count]


def _detail_of_evidence(figures: dict[str, Any]) -> list[str]:
    words = [f"{figures['pending']:,} pending", f"{figures['finished']:,} finished"]
    return words + [f"{figures[key]:,} {key.replace('_', ' ')}" for key in ("incomplete", "left_out") if figures[key]]


def _detail_of_uids(figures: dict[str, Any]) -> list[str]:
    return [f"{figures['flows']:,} flows"]


def _detail_of_watch(figures: dict[str, Any]) -> list[str]:
    words = [
        f"{figures['handed_on']:,} handed on",
        f"{figures['ready']:,} ready",
        f"{figures['unfinished']:,} unfinished",
    ]
    words += [f"failed: {' '.join(figures['failed'])}"] if figures["failed"] else []
    words += [] if figures["is_told"] else ["looks every second"]
    return words + list(figures["troubles"])


def _detail_of_sink(figures: dict[str, Any]) -> list[str]:
    if "link" in figures:  # of kind zmq
        link = figures["link"] or {"is_connected": False, "endpoint": "", "last_error": ""}
        words = [link["endpoint"] if link["is_connected"] else f"{link['endpoint']}: {link['last_error']}"]
        return [*words, f"{figures['records']:,} records"]
    if "topic" in figures:  # of kind broker
        return [f"topic {figures['topic']}", f"{figures['messages']:,} messages", f"{figures['logs']:,} logs announced"]
    return [f"{figures['open_files']} open files", f"{figures['finished_files']:,} finished"]


def _detail_of_api(figures: dict[str, Any]) -> list[str]:
    words = [*(figures["sockets"] or ["off"]), f"{figures['requests']:,} requests"]
    return words + ([f"{figures['subscribers']} subscribers"] if figures["subscribers"] else [])


def _detail_of_metrics(figures: dict[str, Any]) -> list[str]:
    return [*(figures["listening"] or ["not bound"]), f"{figures['requests']:,} requests"]


def _detail_of_store(figures: dict[str, Any]) -> list[str]:
    words = [figures["role"], figures["state"], f"{figures['entries']:,} entries"]
    names = ("clones", "writers", "unsettled", "resyncs", "conflicts", "untold")
    words += [f"{figures[name]:,} {name}" for name in names if figures[name]]
    return words + [f"{reason}={count:,}" for reason, count in sorted(figures["refused"].items())]


_DETAILS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "zmq": _detail_of_zmq,
    "cluster": _detail_of_cluster,
    "proxy": _detail_of_proxy,
    "broker": _detail_of_broker,
    "websocket": _detail_of_websocket,
    "tail": _detail_of_tail,
    "watch": _detail_of_watch,
    "store": _detail_of_store,
    "capture": _detail_of_capture,
    "hook": _detail_of_hook,
    "recorder": _detail_of_recorder,
    "evidence": _detail_of_evidence,
    "uids": _detail_of_uids,
    "sink": _detail_of_sink,
    "api": _detail_of_api,
    "metrics": _detail_of_metrics,
}


def _detail(line: dict[str, Any]) -> str:
    """What is worth a glance, by kind of service."""
    describe = _DETAILS.get(line["service"]["name"].partition(".")[0])
    words = describe(line["figures"]) if describe else []
    if line["queue"]:
        queue = line["queue"]
        kind = "durable" if queue.get("durable") else queue["policy"]
        words.append(f"queue {queue['records']:,}/{queue['max_records']:,} {kind}")
        words += [f"{queue['retrying']:,} to be tried again"] if queue.get("retrying") else []
        words += [f"{queue['dead']:,} dead"] if queue.get("dead") else []
        words += ["STALLED"] if queue["stalled"] else []
    return ", ".join(words)


def _make_services(status: dict[str, Any]) -> Table:
    table = make_table("services", "service!", "state!", "for>", "restarts>", "detail", "last error")
    for line in status["services"]:
        service = line["service"]
        table.add_row(
            service["name"],
            Text(service["state"], style=STYLES.get(service["state"], "")),
            f"{service['since_s']:,.0f} s",
            str(service["restarts"]),
            _detail(line),
            Text(service["last_error"], style="red"),
        )
    return table


def make_status(status: dict[str, Any], *, is_verdict_first: bool = False) -> RenderableType:
    """The whole document. What matters most is where one looks first: at the prompt, or at the top of a screen."""
    head = Text.assemble(
        (status["name"], "bold"),
        f"  {status['state']}, generation {status['generation']}, up {_span(status['uptime_s'])}, "
        f"pid {status['pid']}, version {status['version']}, {', '.join(status['files'])}",
    )
    trouble = needs_attention(status)
    verdict = Text("needs attention: " + "; ".join(trouble), "bold red") if trouble else Text("all is well", "green")
    peers = [*_make_nodes(status), *_make_peers(status)]
    tables = [_make_services(status), Text(), *peers, make_ledger(status)]
    return Group(head, verdict, Text(), *tables) if is_verdict_first else Group(head, Text(), *tables, Text(), verdict)


def print_ledger(status: dict[str, Any], *, title: str, file: IO[str]) -> None:
    """Print the ledger alone."""
    make_console(file).print(make_ledger(status, title=title))
