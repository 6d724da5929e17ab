"""What is wrong in a configuration and only who works with it knows: imports, expressions, patterns, certificates."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.config import Config, Loaded
from appliance.errors import ApplianceError, ConfigError

from .hook_parts import Packages, look_at_packages, make_filter, prepare_hooks

__all__ = ["Prepared", "prepare"]

CAPTURE_FIELDS = {"name", "capture", "recorder", "host", "pid", "seq"}


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was checked as far as possible without opening anything."""

    loaded: Loaded
    targets: dict[str, Any]
    """`HookCallable` of each hook, by the hook's key; of one with ``sites`` `Described`, and a `Callee` of each of its
    hooks."""
    filters: dict[str, Any]
    """`Filter` of each hook."""

    @property
    def config(self) -> Config:
        return self.loaded.config


def prepare(loaded: Loaded, packages: Packages | None = None) -> Prepared:
    """Import hooks, compile expressions, and read certificates of Broker peers.

    Args:
        loaded: the configuration.
        packages: what `look_at_packages` found; None: look at them now, which can take minutes.

    Raises:
        ExceptionGroup: one `ConfigError` for each mistake.
    """
    if loaded.config.hook or loaded.config.capture:
        from appliance.runtime.imports import extend_path

        extend_path(loaded.config.appliance.python_path)
    targets, filters, mistakes = prepare_hooks(loaded, look_at_packages(loaded) if packages is None else packages)
    for i, evidence in enumerate(loaded.config.evidence):
        try:
            filters[f"evidence.{evidence.name}"] = make_filter(evidence)
        except ValueError as exc:
            mistakes.append(loaded.error(f"evidence[{i}].where", str(exc)))
    mistakes += _pattern_mistakes(loaded) + _transform_mistakes(loaded) + _tls_mistakes(loaded)
    mistakes += _credential_mistakes(loaded)
    mistakes += _capture_filter_mistakes(loaded)
    if mistakes:
        raise ExceptionGroup("the configuration has mistakes", mistakes)
    return Prepared(loaded=loaded, targets=targets, filters=filters)


def _pattern_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Patterns whose names could become too long: what only the room that renders them knows."""
    if not (loaded.config.sink or loaded.config.capture or loaded.config.evidence):
        return []
    from appliance.runtime.pattern import PathPattern

    mistakes: list[ConfigError] = []
    found = [
        (f"sink[{i}].path", sink.path, {"path", "node", "source"})
        for i, sink in enumerate(loaded.config.sink)
        if "path" not in sink.foreign_keys
    ]
    for i, evidence in enumerate(loaded.config.evidence):
        from appliance.evidence.names import FIELDS, file_pattern

        found.append((f"evidence[{i}].directory", file_pattern(evidence.directory, evidence.name), FIELDS))
    for i, capture in enumerate(loaded.config.capture):
        for j, handler in enumerate(capture.handler):
            whole = f"{handler.log_dir}/{handler.file_name_pattern}"
            found.append((f"capture[{i}].handler[{j}].file_name_pattern", whole, CAPTURE_FIELDS))
    for key, template, fields in found:
        try:
            PathPattern(template, fields=fields)
        except ValueError as exc:
            mistakes.append(loaded.error(key, str(exc)))
    return mistakes


def _capture_filter_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Filters of recorders that are none, as far as that can be told without their interfaces."""
    mistakes: list[ConfigError] = []
    for i, recorder in enumerate(loaded.config.recorder):
        if recorder.filter:
            from appliance.native.bpf import compile_filter

            try:
                compile_filter(recorder.filter, snaplen=recorder.snaplen)
            except ValueError as exc:
                mistakes.append(loaded.error(f"recorder[{i}].filter", str(exc)))
            except ApplianceError as exc:
                mistakes.append(loaded.error(f"recorder[{i}].filter", exc.message, hint=exc.hint))
    return mistakes


def _transform_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Transforms that cannot be imported or called."""
    mistakes: list[ConfigError] = []
    for i, capture in enumerate(loaded.config.capture):
        for j, handler in enumerate(capture.handler):
            for k, name in enumerate(handler.pre_write_transforms):
                from appliance.capture.transform import load_chain

                try:
                    load_chain([name])
                except ValueError as exc:
                    key = f"capture[{i}].handler[{j}].pre_write_transforms[{k}]"
                    mistakes.append(loaded.error(key, str(exc)))
    return mistakes


def _credential_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Tokens and a certificate of the API that are no use."""
    table = loaded.config.api
    if not (table.token_file or table.certificate):
        return []
    from appliance.api.credentials import read_credentials

    try:
        read_credentials(table)
    except ConfigError as exc:
        return [loaded.error(exc.key, exc.message, hint=exc.hint)]
    return []


def _tls_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Certificates of Broker peers that are no use, or a TLS library that is none."""
    if not loaded.config.is_peer:
        return []
    from appliance.broker.tls import make_contexts

    try:
        make_contexts(loaded.config.broker)
    except ConfigError as exc:
        return [loaded.error(exc.key, exc.message, hint=exc.hint)]
    return []
