"""The variables that are meant for this process and for no child of it."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["child_environment", "without_bundle"]

_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})
_OF_BUNDLE = ("_PYI_", "_MEIPASS2")
"""How the variables begin by which a bundled program finds itself."""
_REPLACED = ("LD_LIBRARY_PATH", "LD_PRELOAD")
"""A bundled program finds its own libraries through these, and keeps what was there under ``…_ORIG``."""


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` without what is meant for us alone.

    Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3); see `without_bundle`, too.
    """
    return {name: value for name, value in without_bundle(environ).items() if name not in _OURS}


def without_bundle(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as it was before a bundled program was started.

    Source: PyInstaller's manual, "LD_LIBRARY_PATH / LIBPATH considerations" and "Using PyInstaller-frozen executables
    as sub-processes".
    """
    found = {name: value for name, value in environ.items() if not name.startswith(_OF_BUNDLE)}
    is_of_bundle = len(found) < len(environ)
    for name in _REPLACED:
        before = found.pop(f"{name}_ORIG", None)
        if before is not None:
            found[name] = before
        elif is_of_bundle:
            found.pop(name, None)
    return found
