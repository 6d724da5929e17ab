"""What types cannot tell about sinks: which keys and items go with which kind."""

from __future__ import annotations

import fnmatch
from typing import Any

from appliance.config.addresses import check_connect
from appliance.config.lines import Key
from appliance.config.report import Report, nearest, one_of, quote
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config

__all__ = ["check_outlets", "check_sinks", "outlets"]

_OWNERS = {
    "topic": ("Broker", "broker"),
    "unsolicited": ("Broker", "broker"),
    "via": ("Broker", "broker"),
    "pool": ("Broker", "broker"),
    "key": ("Broker", "broker"),
    "endpoint": ("ZeroMQ", "zmq"),
}
_NO_LOGS = ("event:", "print:", "node:")
_LONGEST_TOPIC = (1 << 16) - 1  # Broker counts its bytes in 16 bits
_LOCAL = "<$>"  # where Broker's endpoints talk to themselves and about their peerings


def check_sinks(config: Config, report: Report) -> None:
    """Report what is wrong with each sink."""
    for key, sink in select(config, "sink", EACH):
        if sink.kind is HOLE:
            continue
        _check_foreign_keys(key, sink, report)
        if sink.kind == "broker":
            _check_topic(key, sink, report)
        if sink.kind == "zmq":
            _check_zmq(key, sink, report)
        if sink.kind == "tsv":
            _check_tsv(key, sink, report)


def outlets(config: Config) -> list[str]:
    """The doors through which the appliance can publish."""
    found = []
    is_node = any(backend == "broker" for _, backend in select(config, "cluster", "backend"))
    for _, broker in select(config, "broker"):
        if is_node or HOLE in (broker.listen, broker.connect) or broker.is_endpoint:
            found.append("broker")
    for _, cluster in select(config, "cluster"):
        zeromq = cluster.zeromq
        if zeromq is HOLE or HOLE in (cluster.backend, zeromq.read, zeromq.write) or cluster.is_zeromq_node:
            found.append("cluster")
    return found + [f"websocket.{name}" for _, name in select(config, "websocket", EACH, "name")]


def _check_node(config: Config, report: Report) -> None:
    """Report sinks for a pool, if we are no node of a cluster."""
    backends = [backend for _, backend in select(config, "cluster", "backend")]
    for key, pool in select(config, "sink", EACH, "pool"):
        if pool and backends == ["none"]:
            report.add(key, "we are no node of a cluster", "write [cluster] with a backend")


def check_outlets(config: Config, report: Report) -> None:
    """Report sinks that publish, if there is nothing to publish with, and doors through which nothing goes out."""
    _check_node(config, report)
    doors = outlets(config)
    for key, kind in select(config, "sink", EACH, "kind"):
        if kind == "broker" and not doors:
            report.add(
                key,
                "there is no endpoint to publish with",
                "write [broker] with listen or connect, [cluster.zeromq] with read and write, or [[websocket]]",
            )
    _check_carried(config, doors, report)
    for consumer in ("hook", "sink"):
        for key, entry in select(config, consumer, EACH, "via", EACH):
            if not any(fnmatch.fnmatchcase(door, entry) for door in doors):
                meant = nearest(entry, doors)
                hint = f"did you mean {quote(meant)}?" if meant else f"there is {one_of(doors)}" if doors else ""
                report.add(key, f"nothing can be published through {quote(entry)}", hint)


def _check_carried(config: Config, doors: list[str], report: Report) -> None:
    """Report logs and prints that are to go out through nothing but WebSockets and ZeroMQ, which carry only events."""
    for key, sink in select(config, "sink", EACH):
        if sink.kind != "broker" or sink.via is HOLE or HOLE in sink.via:
            continue
        open_ = [door for door in doors if not sink.via or any(fnmatch.fnmatchcase(door, glob) for glob in sink.via)]
        if not open_ or not all(door == "cluster" or door.startswith("websocket.") for door in open_):
            continue
        way = "ZeroMQ" if "cluster" in open_ else "a WebSocket"
        for place, entry in select(sink, "on", EACH):
            if entry.startswith(("log:", "print:")):
                told = f"{quote(entry)} cannot go out through {way}, only events can"
                report.add((*key, *place), told, 'write [broker], or on = ["event:*"]')


def _check_foreign_keys(key: Key, sink: Any, report: Report) -> None:
    for name in sorted(sink.foreign_keys):
        if (*key, name) in report.places:
            is_for, kind = _OWNERS.get(name, ("files", "jsonl"))
            report.add((*key, name), f"is for {is_for}", f"leave it out, or write kind = {quote(kind)}")


def _check_topic(key: Key, sink: Any, report: Report) -> None:
    for place, entry in select(sink, "on", EACH):
        if entry.startswith("node:"):
            report.add(
                (*key, *place), f"{quote(entry)} is not published", "every node of the cluster sees it by itself"
            )
    if HOLE in (sink.topic, sink.pool, sink.key):
        return
    if sink.pool or sink.key:
        _check_pool(key, sink, report)
        return
    if not sink.topic and any(entry.startswith(_NO_LOGS[:2]) for _, entry in select(sink, "on", EACH)):
        report.add((*key, "topic"), "missing", "events and prints need one")
    elif sink.topic.startswith(_LOCAL):
        report.add((*key, "topic"), f"{quote(sink.topic)} is one of Broker's own")
    elif len(sink.topic.encode()) > _LONGEST_TOPIC:
        report.add((*key, "topic"), f"is longer than {_LONGEST_TOPIC} bytes")


def _check_pool(key: Key, sink: Any, report: Report) -> None:
    if not sink.pool:
        report.add((*key, "key"), "needs a pool", 'write pool = "proxy", or leave it out')
        return
    for name in ("topic", "unsolicited"):
        if getattr(sink, name):
            report.add((*key, name), "has no effect with pool", "leave it out")


def _check_zmq(key: Key, sink: Any, report: Report) -> None:
    for place, entry in select(sink, "on", EACH):
        if not entry.startswith("log:"):
            report.add((*key, *place), f"{quote(entry)} is no log", 'write kind = "broker"')
    if sink.endpoint is HOLE:
        return
    if not sink.endpoint:
        report.add((*key, "endpoint"), "missing", 'where the subscriber binds: "tcp://host:port" or "ipc:///path"')
        return
    try:
        check_connect(sink.endpoint)
    except ValueError as exc:
        report.add((*key, "endpoint"), str(exc))


def _check_tsv(key: Key, sink: Any, report: Report) -> None:
    for place, entry in select(sink, "on", EACH):
        if entry.startswith(_NO_LOGS):
            told = f"has no columns for {quote(entry)}, only for logs"
            report.add((*key, *place), told, 'write kind = "jsonl"')
    if HOLE in (sink.add_fields, sink.time_format):
        return
    for name, is_set in (("add_fields", bool(sink.add_fields)), ("time_format", sink.time_format != "epoch")):
        if is_set:
            report.add((*key, name), "is for JSON lines", 'leave it out, or write kind = "jsonl"')
