"""A capture that somebody asks for while the appliance runs: the same tables, the same checks as in the file."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from appliance.config.checks import mistakes_in_captures
from appliance.config.paths import output_pattern
from appliance.config.report import Report
from appliance.config.shape import build
from appliance.config.tables import Capture
from appliance.errors import ConfigError

__all__ = ["parse_capture"]

_PREFIXES = ("capture[0].", "capture.")


def parse_capture(data: Any, *, state_dir: str) -> Capture:
    """Make a table of plain values.

    Args:
        data: a ``[[capture]]`` table as `tomllib` or JSON gives it; a key whose value is None is left out.
        state_dir: absolute; where relative outputs go.

    Returns:
        The table, its handlers' folders absolute.

    Raises:
        ExceptionGroup: of `ConfigError`: every mistake, with the key below the table.
    """
    report = Report("capture")
    capture = build(_without_none(data), Capture, ("capture",), report)
    mistakes = report.errors() or mistakes_in_captures((capture,), state_dir)
    if mistakes:
        raise ExceptionGroup("the capture has mistakes", [_without_place(mistake) for mistake in mistakes])
    handlers = tuple(replace(each, log_dir=output_pattern(each.log_dir, state_dir)) for each in capture.handler)
    made: Capture = replace(capture, handler=handlers)
    return made


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value


def _without_place(mistake: ConfigError) -> ConfigError:
    key = next((mistake.key.removeprefix(p) for p in _PREFIXES if mistake.key.startswith(p)), "")
    return ConfigError(mistake.message, key=key, hint=mistake.hint)
