"""What types cannot tell: names used twice, doors that do not exist, addresses bound twice, paths that would collide.

The checks see the tables as written, with holes where a value was refused already, and pass over those.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from appliance.config import addresses, paths, patterns
from appliance.config.api_checks import check_api
from appliance.config.broker_checks import check_broker
from appliance.config.capture_checks import check_captures
from appliance.config.cluster_checks import check_cluster
from appliance.config.evidence_checks import check_evidence
from appliance.config.hook_checks import check_hooks
from appliance.config.lines import Key
from appliance.config.recorder_checks import check_recorders
from appliance.config.report import Report, nearest, one_of, quote, show_key
from appliance.config.shape import EACH, HOLE, Each, select
from appliance.config.sink_checks import check_outlets, check_sinks
from appliance.config.sockets import address_of
from appliance.config.store_checks import check_stores
from appliance.config.tables import Capture, Config
from appliance.config.watch_checks import check_watches
from appliance.config.websocket_checks import check_websockets
from appliance.config.zeromq_checks import zeromq_bound
from appliance.errors import ConfigError
from appliance.units import Size

__all__ = ["check", "mistakes_in_captures"]

_HANDLER_FIELDS = ("name", "capture", "host", "pid", "seq")
_SINK_FIELDS = ("path", "node", "source")
_KINDS = {
    "hook": ("log", "event", "print", "segment", "file", "folder", "store", "node"),
    "sink": ("log", "event", "print", "node"),
    "evidence": ("log", "event"),
}
_STATUSES = ("up", "down")
_DOORS = ("zmq", "websocket", "tail", "watch", "capture", "recorder", "store")
_POSITIVE: tuple[tuple[str | Each, ...], ...] = (
    ("zmq", EACH, "heartbeat"),
    ("zmq", EACH, "max_wait"),
    ("zmq", EACH, "max_record"),
    ("cluster", "retry_interval"),
    ("cluster", "zeromq", "max_wait"),
    ("cluster", "zeromq", "max_message"),
    ("cluster", "zeromq", "queue_bytes"),
    ("tail", EACH, "poll"),
    ("tail", EACH, "max_record"),
    ("tail", EACH, "max_wait"),
    ("watch", EACH, "settle"),
    ("watch", EACH, "poll"),
    ("capture", EACH, "receive_buffer"),
    ("recorder", EACH, "segment_every"),
    ("store", EACH, "resync_interval"),
    ("store", EACH, "expire_after"),
    ("hook", EACH, "timeout"),
    ("hook", EACH, "exit_timeout"),
    ("hook", EACH, "backoff"),
    ("hook", EACH, "backoff_max"),
    ("hook", EACH, "queue_bytes"),
    ("journal", "dead_letters_size"),
    ("evidence", EACH, "queue_bytes"),
    ("evidence", EACH, "max_span"),
    ("uids", "queue_bytes"),
    ("uids", "keep"),
    ("sink", EACH, "queue_bytes"),
    ("sink", EACH, "rotate_every"),
    ("sink", EACH, "flush_every"),
)
_ROTATE_SIZES: tuple[tuple[str | Each, ...], ...] = (
    ("capture", EACH, "handler", EACH, "rotate_size"),
    ("sink", EACH, "rotate_size"),
)
_FOLDERS: tuple[tuple[str | Each, ...], ...] = (("appliance", "state_dir"), ("appliance", "python_path", EACH))
_SMALLEST_FILE = Size(4 << 10)  # below that, rotation costs more than writing
_LARGEST_BUFFER = (1 << 31) - 1  # setsockopt(2) takes an int


def check(config: Config, report: Report, *, state_dir: str, complete: bool) -> None:
    """Report everything that is wrong across keys and tables.

    Args:
        config: the tables, with holes.
        report: takes the mistakes.
        state_dir: absolute; where relative outputs go.
        complete: whether every file and every door could be read; if not, nobody is blamed for naming a missing door.
    """
    _check_names(config, report)
    _check_values(config, report)
    _check_texts(config, report)
    _check_on(config, report)
    if complete:
        _check_from(config, report)
        check_outlets(config, report)
    check_broker(config, report)
    check_cluster(config, report, complete=complete)
    check_websockets(config, report)
    check_hooks(config, report)
    check_watches(config, report, state_dir=state_dir)
    check_stores(config, report, state_dir=state_dir, complete=complete)
    check_sinks(config, report)
    check_evidence(config, report, complete=complete)
    check_captures(config, report, check_run=_check_run)
    check_api(config, report)
    check_recorders(config, report)
    _check_addresses(config, report, state_dir)
    _check_patterns(config, report)
    _check_outputs(config, report, state_dir)


def mistakes_in_captures(captures: tuple[Capture, ...], state_dir: str) -> list[ConfigError]:
    """What is wrong with captures that are in no file, in the words that a file's would be told in."""
    report = Report("captures")
    check(Config(capture=captures), report, state_dir=state_dir, complete=False)
    return report.errors()


def _once(found: Iterable[tuple[Key, Hashable]], report: Report, say: Callable[[Any, str], str]) -> None:
    """Report every value that was there before; `say` gets the value and the key of the first one."""
    first: dict[Hashable, Key] = {}
    for key, value in found:
        other = first.setdefault(value, key)
        if other is not key:
            file, line = report.place(other)
            report.add(key, say(value, f"{show_key(other)} at {file}:{line}"))


def _check_names(config: Config, report: Report) -> None:
    def say(name: Any, other: str) -> str:
        return f"the name {quote(name)} is used twice, first by {other}"

    for kind in (*_DOORS, "hook", "sink", "evidence"):
        _once(select(config, kind, EACH, "name"), report, say)


def _check_values(config: Config, report: Report) -> None:
    for steps in _POSITIVE:
        for key, value in select(config, *steps):
            if value == 0:
                report.add(key, "must be more than 0")
    for key, size in select(config, "capture", EACH, "receive_buffer"):
        if size > _LARGEST_BUFFER:
            report.add(key, f"must be at most {_LARGEST_BUFFER} bytes, got {size}")
    for steps in _ROTATE_SIZES:
        for key, size in select(config, *steps):
            if size is not None and size < _SMALLEST_FILE:
                report.add(key, f"must be at least {_SMALLEST_FILE}, got {size}")


def _check_texts(config: Config, report: Report) -> None:
    for key, run in select(config, "hook", EACH, "run"):
        if run:
            _check_run(key, run, report)
    for key, rename in select(config, "zmq", EACH, "rename"):
        for old, new in rename.items():
            if new is not HOLE and not (old and new):
                report.add((*key, old), "a log path must not be empty")
            elif old == new:
                report.add((*key, old), f"renames {quote(old)} to itself")
    for steps in _FOLDERS:
        for key, path in select(config, *steps):
            if not path.strip() or "\0" in path:
                report.add(key, f"{quote(path)} is not the path of a folder")


def _check_run(key: Key, run: str, report: Report) -> None:
    module, colon, attribute = run.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        return
    package, dot, last = run.rpartition(".")
    meant = not colon and dot and all(part.isidentifier() for part in run.split("."))
    hint = f"did you mean {quote(f'{package}:{last}')}?" if meant else ""
    report.add(key, f'expected "package.module:attribute", got {quote(run)}', hint)


def _check_on(config: Config, report: Report) -> None:
    for consumer, kinds in _KINDS.items():
        for key, entry in select(config, consumer, EACH, "on", EACH):
            mistake, hint = _mistake_in_on(consumer, kinds, entry)
            if mistake:
                report.add(key, mistake, hint)


def _mistake_in_on(consumer: str, kinds: tuple[str, ...], entry: str) -> tuple[str, str]:
    kind, colon, glob = entry.partition(":")
    possible = one_of(f"{each}:" for each in kinds)
    if not colon:
        return (
            f"{quote(entry)} does not say what it is",
            f"write {one_of(f'{each}:{entry}' for each in kinds if each != 'node')}",
        )
    if kind not in kinds:
        if kind in _KINDS["hook"]:
            return f"a {consumer} takes only {possible}, got {quote(entry)}", ""
        meant = nearest(kind, kinds)
        return (
            f"unknown kind {quote(f'{kind}:')}",
            f"did you mean {quote(f'{meant}:')}?" if meant else f"use {possible}",
        )
    if kind == "print":
        return _mistake_in_prefix(glob)
    if kind == "node" and not fnmatch.filter(_STATUSES, glob):
        return f"a node is never {quote(glob)}", 'use "node:up", "node:down" or "node:*"'
    return ("", "") if glob.strip() else (f"nothing follows {quote(f'{kind}:')}", f"write {quote(f'{kind}:*')} for all")


def _mistake_in_prefix(prefix: str) -> tuple[str, str]:
    if "*" not in prefix:
        return "", ""
    meant = f"print:{prefix.partition('*')[0]}"
    return f"{quote(f'print:{prefix}')} is no glob but a prefix of the topic", f"write {quote(meant)}"


def _check_from(config: Config, report: Report) -> None:
    doors = [f"{kind}.{name}" for kind in _DOORS for _, name in select(config, kind, EACH, "name")]
    doors += [
        "broker"
        for _, broker in select(config, "broker")
        if HOLE in (broker.listen, broker.connect) or broker.is_endpoint
    ]
    for _, backend in select(config, "cluster", "backend"):
        doors += {"broker": ["broker", "cluster"], "zeromq": ["cluster"]}.get(backend, [])
    hooks = [f"hook.{name}" for _, name in select(config, "hook", EACH, "name")]  # for what they emit
    for consumer in _KINDS:
        for key, entry in select(config, consumer, EACH, "from", EACH):
            if not any(fnmatch.fnmatchcase(source, entry) for source in doors + hooks):
                report.add(key, *_missing_door(entry, doors))


def _missing_door(entry: str, doors: list[str]) -> tuple[str, str]:
    table, _, name = entry.partition(".")
    same = next((door for door in doors if door.partition(".")[2] == (name or table)), None)
    meant = same or nearest(entry, doors)
    if meant:
        return f"no door matches {quote(entry)}", f"did you mean {quote(meant)}?"
    return f"no door matches {quote(entry)}", f"there is {one_of(doors)}" if doors else "there are no doors"


def _check_addresses(config: Config, report: Report, state_dir: str) -> None:
    bound: list[tuple[Key, addresses.Endpoint]] = []
    for key, value in (
        *select(config, "zmq", EACH, "bind", EACH),
        *zeromq_bound(config),
        *select(config, "broker", "listen", EACH),
        *_listeners(config),
        *select(config, "api", "listen", EACH),
        *_metrics(config),
    ):
        if isinstance(value, tuple) and HOLE in value:
            continue
        try:
            endpoint = _endpoint(key, value, state_dir)
        except ValueError as exc:
            report.add(key, str(exc))
            continue
        other = next((other for other, taken in bound if endpoint.collides(taken)), None)
        if other is not None:
            file, line = report.place(other)
            report.add(key, f"is bound already by {show_key(other)} at {file}:{line}")
        bound.append((key, endpoint))


def _listeners(config: Config) -> Iterator[tuple[Key, Any]]:
    """The addresses that captures listen at for streams, each once; the others are nobody else's business."""
    seen: set[object] = set()
    for key, capture in select(config, "capture", EACH):
        if capture.conn_type != "tcp" or capture.mode != "listen" or HOLE in (capture.address, *capture.address):
            continue
        try:
            address = address_of(capture)
        except ValueError:
            continue  # told already
        if address is not None and address not in seen:
            seen.add(address)
            yield (*key, "address"), address


def _metrics(config: Config) -> Iterator[tuple[Key, Any]]:
    if config.metrics is not None:
        yield from ((key, listen) for key, listen in select(config, "metrics", "listen") if listen)


def _endpoint(key: Key, value: Any, state_dir: str) -> addresses.Endpoint:
    if key[0] == "capture":
        return addresses.parse_udp(*value)._replace(family="tcp")
    if key[0] in ("broker", "metrics"):
        return addresses.Endpoint("tcp", *addresses.parse_peer(value))
    parse = addresses.parse_bind if key[0] in ("zmq", "cluster") else addresses.parse_listen
    return parse(value, state_dir)[1]


def _check_patterns(config: Config, report: Report) -> None:
    found = [
        *((key, text, _HANDLER_FIELDS) for key, text in select(config, "capture", EACH, "handler", EACH, "log_dir")),
        *((key, text, _HANDLER_FIELDS) for key, text in _file_names(config)),
        *((key, text, _SINK_FIELDS) for key, text in _sink_paths(config)),
    ]
    for key, text, fields in found:
        for mistake, hint in patterns.mistakes_in(text, fields):
            report.add(key, mistake, hint)
        if key[-1] == "log_dir":
            continue
        if text and text.rpartition("/")[2] in ("", "."):
            report.add(key, f"{quote(text)} names a folder, not a file")
        if text.endswith(".part"):
            report.add(key, 'must not end in ".part", which marks files that are being written')
    for key, text in _file_names(config):
        if text.startswith("/"):
            report.add(key, f"{quote(text)} is absolute", "the folder is log_dir")


def _sink_paths(config: Config) -> Iterator[tuple[Key, str]]:
    for key, sink in select(config, "sink", EACH):
        if "path" not in sink.foreign_keys and sink.path is not HOLE:
            yield (*key, "path"), sink.path


def _file_names(config: Config) -> Iterator[tuple[Key, str]]:
    return select(config, "capture", EACH, "handler", EACH, "file_name_pattern")


def _check_outputs(config: Config, report: Report, state_dir: str) -> None:
    found: list[tuple[Key, str]] = []
    for place, capture in select(config, "capture", EACH):
        for key, handler in select(capture, "handler", EACH):
            names = (capture.name, handler.name, handler.log_dir, handler.file_name_pattern)
            if HOLE not in names:
                where = "file_name_pattern"
                found.append(((*place, *key, where), paths.handler_pattern(*names, state_dir)))
    found += [(key, paths.output_pattern(path, state_dir)) for key, path in _sink_paths(config)]
    _once(found, report, lambda _, other: f"writes the same files as {other}")
