"""Relative paths made absolute: inputs from the folder of their file, outputs from ``state_dir``."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from appliance.config import addresses, patterns
from appliance.config.tables import Capture, Config, Handler, Hook, Sink

__all__ = ["SOCKETS_FILE", "absolute", "handler_pattern", "make_absolute", "output_pattern"]

SOCKETS_FILE = "api.sockets"
"""In ``state_dir``: the Unix sockets of [api] that are served now, a path in each line."""
_CREDENTIALS = ("ca", "certificate", "key", "passphrase_file", "authorization_file")


def absolute(path: str, folder: str) -> str:
    """The path as seen from a folder, its ``..`` taken out: path patterns, which begin with it, refuse them."""
    return os.path.normpath(Path(folder, path))


def output_pattern(pattern: str, state_dir: str) -> str:
    """An absolute path pattern; what is special in a pattern is escaped in the part that `state_dir` contributes."""
    if pattern.startswith("/"):
        return str(Path(pattern))
    return str(Path(patterns.escape(state_dir), pattern))


def handler_pattern(capture: str, handler: str, log_dir: str, file_name_pattern: str, state_dir: str) -> str:
    """The path pattern of a handler's files with its own names filled in."""
    whole = os.path.join(output_pattern(log_dir, state_dir), file_name_pattern)  # noqa: PTH118 (a pattern, no path)
    return patterns.substitute(whole, {"capture": capture, "name": handler})


def make_absolute(config: Config, *, folder: str, python_folder: str) -> Config:
    """Resolve every path of a valid configuration.

    Args:
        config: as written.
        folder: the absolute folder of the main file, for ``state_dir``.
        python_folder: the absolute folder of the file that has ``python_path``.
    """
    state_dir = absolute(config.appliance.state_dir, folder)
    python_path = tuple(absolute(path, python_folder) for path in config.appliance.python_path)
    zmq = (replace(door, bind=tuple(addresses.parse_bind(b, state_dir)[0] for b in door.bind)) for door in config.zmq)
    zeromq, stores = config.cluster.zeromq, config.cluster.stores
    if stores.default_store_dir:
        stores = replace(stores, default_store_dir=absolute(stores.default_store_dir, state_dir))
    files = [name for name in zeromq.__struct_fields__ if name.endswith("_key_file")]
    keys = {name: absolute(value, folder) for name in files if (value := getattr(zeromq, name))}
    credentials = {
        name: absolute(value, folder) for name in _CREDENTIALS[:-1] if (value := getattr(config.broker, name))
    }
    layout = absolute(config.cluster.layout, folder) if config.cluster.layout else ""
    bind = {
        name: addresses.parse_bind(text, state_dir)[0]
        for name in ("log_bind", "read", "write")
        if (text := getattr(zeromq, name))
    }
    tail = (replace(tail, paths=tuple(absolute(path, folder) for path in tail.paths)) for tail in config.tail)
    watch = (
        replace(
            each,
            directory=absolute(each.directory, folder),
            **{name: absolute(into, state_dir) for name in ("archive", "failed") if (into := getattr(each, name))},
        )
        for each in config.watch
    )
    sink = (_sink(each, state_dir) for each in config.sink)
    websocket = (
        replace(each, **{name: absolute(value, folder) for name in _CREDENTIALS if (value := getattr(each, name))})
        for each in config.websocket
    )
    hook = (_hook(hook, state_dir, folder) for hook in config.hook)
    listen = tuple(addresses.parse_listen(each, state_dir)[0] for each in config.api.listen)
    named = ("token_file", "certificate", "key")
    files_of_api = {name: absolute(value, folder) for name in named if (value := getattr(config.api, name))}
    return replace(
        config,
        appliance=replace(config.appliance, state_dir=state_dir, python_path=python_path),
        zmq=tuple(zmq),
        broker=replace(config.broker, **credentials),
        cluster=replace(config.cluster, layout=layout, zeromq=replace(zeromq, **keys, **bind), stores=stores),
        store=tuple(replace(each, path=absolute(each.path, state_dir)) if each.path else each for each in config.store),
        websocket=tuple(websocket),
        tail=tuple(tail),
        watch=tuple(watch),
        capture=tuple(_capture(capture, state_dir, folder) for capture in config.capture),
        recorder=tuple(
            replace(each, directory=absolute(each.directory or f"recorder/{each.name}", state_dir))
            for each in config.recorder
        ),
        sink=tuple(sink),
        evidence=tuple(replace(e, directory=output_pattern(e.directory, state_dir)) for e in config.evidence),
        hook=tuple(hook),
        api=replace(config.api, listen=listen, **files_of_api),
    )


def _sink(sink: Sink, state_dir: str) -> Sink:
    if sink.kind == "zmq":
        return replace(sink, endpoint=addresses.parse_bind(sink.endpoint, state_dir)[0])
    return sink if "path" in sink.foreign_keys else replace(sink, path=output_pattern(sink.path, state_dir))


def _hook(hook: Hook, state_dir: str, folder: str) -> Hook:
    if hook.workdir:
        escaped = state_dir.replace("{", "{{").replace("}", "}}")
        hook = replace(hook, workdir=absolute(hook.workdir, escaped))
    if not hook.sites:
        return hook
    logs_path = absolute(hook.logs_path, state_dir) if hook.logs_path else ""
    return replace(hook, sites=absolute(hook.sites, folder), logs_path=logs_path)


def _capture(capture: Capture, state_dir: str, folder: str) -> Capture:
    def resolve(handler: Handler) -> Handler:
        return replace(handler, log_dir=output_pattern(handler.log_dir, state_dir))

    keys = {name: absolute(value, folder) for name in ("ca", "certificate", "key") if (value := getattr(capture, name))}
    return replace(capture, handler=tuple(map(resolve, capture.handler)), **keys)
