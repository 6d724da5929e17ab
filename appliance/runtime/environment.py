"""The variables that are meant for this process and for no child of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["child_environment"]

_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
                   "_MEIPASS2"})  # fmt: skip
_OURS_BY_PREFIX = ("_PYI_",)
_REPLACED = ("LD_LIBRARY_PATH", "LD_PRELOAD")
"""A bundled program finds its own libraries through these, and keeps what was there under ``…_ORIG``."""


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` without what is meant for us alone.

    Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3); PyInstaller's manual, "LD_LIBRARY_PATH / LIBPATH
    considerations" and "Using PyInstaller-frozen executables as sub-processes".
    """
    found = {k: v for k, v in environ.items() if k not in _OURS and not k.startswith(_OURS_BY_PREFIX)}
    for name in _REPLACED:
        before = found.pop(f"{name}_ORIG", None)
        if before is not None:
            found[name] = before
        elif "_PYI_APPLICATION_HOME_DIR" in environ or "_MEIPASS2" in environ:
            found.pop(name, None)
    return found
