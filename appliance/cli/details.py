"""What is worth a glance of each kind of service, in words for a line of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["describe", "show_span"]

_MAX_PLAIN = 8
"""Figures of a service that nothing is known about."""


def _detail_of_zmq(figures: dict[str, Any]) -> list[str]:
    peers = figures["writers"]
    words = [*figures["endpoints"], f"{peers['connected']} writers"]
    words += [f"{peers['cut']:,} cut"] if peers["cut"] else []
    return words + [f"{figures[key]:,} {key}" for key in ("missing", "unseen", "untracked") if figures[key]]


def _place(cluster: dict[str, Any]) -> list[str]:
    shown = f"{cluster['up']} of {len(cluster['nodes'])} other nodes up" if cluster["announced"] else "silent"
    words = [f"{cluster['node']} ({cluster['role']})", shown]
    return words + [f"{reason}={count:,}" for reason, count in sorted(cluster["refused"].items())]


def _detail_of_node(figures: dict[str, Any]) -> list[str]:
    lost = [link for link in (figures["read"], figures["write"]) if link and not link["is_connected"]]
    words = [*_place(figures["cluster"]), "ready" if figures["is_ready"] and not lost else "not ready"]
    words += [f"{link['endpoint']}: {link['last_error']}" for link in lost]
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
    words += _place(figures["cluster"]) if figures["cluster"] else []
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


def _detail_of_sites(figures: dict[str, Any]) -> list[str]:
    words = [f"{figures['processes']} processes", f"{figures['exits_done']} EXIT callables ended"]
    return words + ([f"{figures['exits_failed']} failed: {figures['last_error']}"] if figures["exits_failed"] else [])


def _bytes(number: int) -> str:
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number / 1024:,.0f} KiB"


def show_span(seconds: float) -> str:
    for unit, scale in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _detail_of_recorder(figures: dict[str, Any]) -> list[str]:
    words = [f"{figures['interface']} {figures['state']}", f"{figures['packets_per_s']['last_10s']:,.0f} packets/s"]
    kept = f"{figures['disk_segments']:,} segments, {_bytes(figures['disk_bytes'])}"
    words.append(kept + (f" of {_bytes(figures['disk_limit'])}" if figures["disk_limit"] else ""))
    words += [f"{_bytes(figures['memory_bytes'])} in memory"] if figures["memory_bytes"] else []
    words.append(f"back {show_span(figures['span_s'])}")
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
        aim = f"pool {figures['pool']}" if figures.get("pool") else f"topic {figures['topic']}"
        return [aim, f"{figures['messages']:,} messages", f"{figures['logs']:,} logs announced"]
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
    "sites": _detail_of_sites,
    "recorder": _detail_of_recorder,
    "evidence": _detail_of_evidence,
    "uids": _detail_of_uids,
    "sink": _detail_of_sink,
    "api": _detail_of_api,
    "metrics": _detail_of_metrics,
}


def describe(line: dict[str, Any]) -> str:
    """What is worth a glance about a service of the status document; figures of a kind that is not known here, as an
    appliance of another version may have, are shown as they are.
    """
    figures, kind = line["figures"], line["service"]["name"].partition(".")[0]
    words: list[str] = []
    if figures:
        try:
            words += _DETAILS[kind](figures)
        except (KeyError, TypeError, ValueError, AttributeError):
            words += _plain(figures)
    if queue := line["queue"]:
        shown = "durable" if queue.get("durable") else queue["policy"]
        words.append(f"queue {queue['records']:,}/{queue['max_records']:,} {shown}")
        words += [f"{queue['retrying']:,} to be tried again"] if queue.get("retrying") else []
        words += [f"{queue['dead']:,} dead"] if queue.get("dead") else []
        words += ["STALLED"] if queue["stalled"] else []
    return ", ".join(words)


def _plain(figures: dict[str, Any]) -> list[str]:
    words = [
        f"{key}={len(value) if isinstance(value, list | tuple | dict) else value}"
        for key, value in figures.items()
        if value not in (None, "", 0)
    ]
    return words[:_MAX_PLAIN]
