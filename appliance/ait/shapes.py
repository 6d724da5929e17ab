"""What AIT's calls return, made of our tables and figures: numbers, or on request its texts with units. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.capture.figures import CaptureFigures, HandlerFigures
from appliance.config import Capture, Handler

__all__ = ["config_data", "key_of", "stats_of"]

_MORE = (
    "packets_per_s", "bytes_per_s", "kernel_drops", "handler_drops", "truncated", "transformed_away",
    "transform_errors", "write_errors", "queued", "last_packet_ns", "age_s", "segments",
)  # fmt: skip


def key_of(capture: Capture) -> str:
    """By what AIT's dicts know a socket: the text of its address list."""
    return str(list(capture.address))


def config_data(capture: Capture, figures: CaptureFigures | None) -> list[dict[str, Any]]:
    """One dict for each handler: ``handler``, ``log_file_path`` (empty: none is open), ``conn_type``, ``address``."""
    open_files = {each.name: each.open_file for each in _handlers(capture, figures)}
    return [
        {
            "handler": _plain(handler),
            "log_file_path": open_files.get(handler.name, ""),
            "conn_type": capture.conn_type,
            "address": list(capture.address),
        }
        for handler in capture.handler
    ]


def _plain(handler: Handler) -> dict[str, Any]:
    """The handler's keys as plain values; what has none is left out."""
    plain: dict[str, Any] = msgspec.to_builtins(handler, enc_hook=str)
    made = {key: value for key, value in plain.items() if value is not None}
    made["pre_write_transforms"] = list(made["pre_write_transforms"])
    return made


def stats_of(capture: Capture, figures: CaptureFigures | None, *, legacy: bool) -> list[dict[str, Any]]:
    """One dict for each handler that runs: ``name``, ``reads``, ``data_read_length``, ``approx_data_rate``.

    Args:
        capture: whose handlers.
        figures: of its socket; None: it does not run.
        legacy: lengths and rates as texts with units, and nothing else; otherwise bytes, bytes per second over the last
            ten seconds, and the figures that AIT does not have.
    """
    return [_legacy(each) if legacy else _numbers(each) for each in _handlers(capture, figures)]


def _handlers(capture: Capture, figures: CaptureFigures | None) -> list[HandlerFigures]:
    names = {handler.name for handler in capture.handler}
    handlers = figures.handlers if figures else ()
    return [each for each in handlers if each.capture == capture.name and each.name in names]


def _legacy(figures: HandlerFigures) -> dict[str, Any]:
    return {
        "name": figures.name,
        "reads": figures.packets,
        "data_read_length": f"{figures.bytes} bytes",
        "approx_data_rate": f"{figures.bytes_per_s.last_10s} bytes/second",
    }


def _numbers(figures: HandlerFigures) -> dict[str, Any]:
    more = msgspec.to_builtins({key: getattr(figures, key) for key in _MORE})
    return {
        "name": figures.name,
        "reads": figures.packets,
        "data_read_length": figures.bytes,
        "approx_data_rate": figures.bytes_per_s.last_10s,
        **more,
    }
