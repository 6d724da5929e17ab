"""What types cannot tell about [cluster.zeromq]: what goes together, and which keys are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.config import addresses
from appliance.config.lines import Key
from appliance.config.report import Report, quote
from appliance.config.shape import EACH, HOLE, select

__all__ = ["check_zeromq", "zeromq_bound"]

_TABLE = ("cluster", "zeromq")
_PLACES = ("read", "write")
_LOCAL = "<$>"


def check_zeromq(cluster: Any, report: Report) -> None:
    """Report everything that is wrong in the table, apart from addresses that others occupy."""
    zeromq = cluster.zeromq
    if HOLE in (cluster.backend, zeromq):
        return
    _check_subscribe(zeromq, report)
    if HOLE in [getattr(zeromq, name) for name in zeromq.__struct_fields__]:
        return
    for name in ("log_bind", "read", "write"):
        if getattr(zeromq, name) and cluster.backend != "zeromq":
            report.add((*_TABLE, name), "needs the ZeroMQ backend", 'write backend = "zeromq"')
    _check_places(zeromq, report)
    _check_keys(zeromq, report)


def zeromq_bound(config: Any) -> Iterator[tuple[Key, str]]:
    """The endpoints that we bind."""
    for _, zeromq in select(config, *_TABLE):
        names = ("log_bind", *(_PLACES if zeromq.run_proxy is True else ()))
        for name in names:
            if (text := getattr(zeromq, name)) and text is not HOLE:
                yield (*_TABLE, name), text


def _check_subscribe(zeromq: Any, report: Report) -> None:
    for key, topic in select(zeromq, "subscribe", EACH):
        if topic.startswith(_LOCAL):
            report.add((*_TABLE, *key), f"{quote(topic)} is one of Broker's own")


def _check_places(zeromq: Any, report: Report) -> None:
    for name, other in (_PLACES, _PLACES[::-1]):
        text = getattr(zeromq, name)
        if text:
            _check_endpoint((*_TABLE, name), text, report)
        elif getattr(zeromq, other):
            report.add((*_TABLE, name), f"missing, {other} needs it", "events come from the one and go to the other")
    if zeromq.read and zeromq.read == zeromq.write:
        report.add((*_TABLE, "write"), "is the same as read", "the proxy has an address for each")
    if not (zeromq.read or zeromq.write):
        for name in ("subscribe", "run_proxy", "curve_server_public_key_file"):
            if getattr(zeromq, name):
                report.add((*_TABLE, name), "has no effect without events", "set read and write")


def _check_endpoint(key: Key, text: str, report: Report) -> None:
    try:
        addresses.check_connect(text)
    except ValueError as exc:
        report.add(key, str(exc))


def _check_keys(zeromq: Any, report: Report) -> None:
    def missing(key: str, what: str, hint: str) -> None:
        report.add((*_TABLE, key), what, hint)

    is_server = bool(zeromq.log_bind or zeromq.run_proxy)
    if zeromq.curve_client_public_key_file and not zeromq.curve_secret_key_file:
        missing("curve_client_public_key_file", "needs the server's secret key", "set curve_secret_key_file")
    if zeromq.curve_server_public_key_file:
        if not (zeromq.curve_client_secret_key_file or (zeromq.curve_secret_key_file and not is_server)):
            name = "curve_client_secret_key_file" if is_server else "curve_secret_key_file"
            missing("curve_server_public_key_file", "needs the client's secret key", f"set {name}")
        return
    for name in ("curve_public_key_file", "curve_client_secret_key_file"):
        if getattr(zeromq, name):
            missing(name, "needs the server's public key", "set curve_server_public_key_file")
    if zeromq.curve_secret_key_file and zeromq.read and (zeromq.run_proxy or not is_server):
        missing("curve_secret_key_file", "needs the server's public key for events", "set curve_server_public_key_file")
