"""From the name of a log file to Zeek's log path."""

from __future__ import annotations

import re

__all__ = ["ARCHIVES", "is_log_path", "log_path_of"]

ARCHIVES = (".gz", ".zst")
"""Endings of compressed files."""
LOG_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_AFTER_LOG = re.compile(r"\.log(?:[.-].*)?$")
"""``conn.log.1`` and ``conn.log-20261121`` are ``conn``."""
_NAME = re.compile(
    r"""
    (?:json_streaming_)?        # the JSON streaming package puts this before every path
    (?P<path>.+?)
    (?:                         # what rotation puts behind it:
        [.-](?:\d\d){1,2}-\d\d-\d\d.*  # conn.2026-11-21-02-00-00.log, conn-26-11-21_02.00.00.log (Zeek)
      | [.-]\d{8}.*             #   conn-20261121.log, conn.log-20261121 (logrotate, dateext)
      | [.]\d\d[:_-]\d\d[:_-]\d\d-.*  # conn.02:00:00-03:00:00.log (zeekctl's archive)
      | [.]\d{1,3}              #   json_streaming_conn.1.log (the JSON streaming package)
      | __.*                    #   conn__2026-11-21-02-00-00__2026-11-21-03-00-00__.log (zeek-archiver's queue)
    )?
    """,
    re.VERBOSE,
)


def is_log_path(text: str) -> bool:
    """Whether `text` is a log path that other parts can use as it is, e.g. in a file name."""
    return LOG_PATH.fullmatch(text) is not None


def log_path_of(name: str) -> str:
    """The log path that a file name without folder tells: ``conn`` for ``conn.log`` and for its rotated successors.

    Source: Zeek's base/frameworks/logging (default rotation names), zeekctl's archive-log, zeek-archiver, logrotate(8).
    """
    for ending in ARCHIVES:
        name = name.removesuffix(ending)
    stem = _AFTER_LOG.sub("", name)
    match = _NAME.fullmatch(stem)
    path = match["path"] if match else stem
    path = re.sub(r"[^A-Za-z0-9_.-]", "_", path)[:255].lstrip(".-")
    return path or "unknown"
