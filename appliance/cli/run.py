"""``broappliance --config FILE``: run, check or print a configuration."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
from importlib import import_module
from typing import cast

__all__ = ["call"]

SWITCH_INTERVAL_S = 0.0005


def call(arguments: argparse.Namespace) -> int:
    """Run the appliance, or only look at its file."""
    from appliance.config import load, render

    loaded = load(arguments.config)
    if arguments.print_config:
        print(render(loaded.config, loaded.taken), end="")
        return 0

    _import_log_library()
    from appliance.parts import prepare
    from appliance.runtime.logs import configure_logs

    configure_logs(level=loaded.config.log.level, style=loaded.config.log.format)
    prepared = prepare(loaded)
    if arguments.check:
        for remark in loaded.remarks:
            print(remark.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
        files = ", ".join(os.fspath(path) for path in loaded.files)
        print(f"{files}: no mistakes")
        return 0

    import trio

    from appliance.app import run

    # A watchdog ends a stuck loop with SIGABRT: the log then says in which line it was stuck. A crash in C likewise.
    faulthandler.enable(2)

    # A hook that computes in its thread lets go of the interpreter only when asked, by default after 5 ms, and the loop
    # asks twice for each turn. Measured with one such hook: 160 turns per second with 5 ms, 550 with this.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    code, final = trio.run(run, prepared, arguments.config, os.environ)
    if final is not None:
        _say_goodbye(final, code, loaded.config.log.format)
    return code


def _import_log_library() -> None:
    """Import structlog without rich, which it takes if it is there, for tracebacks that we do not print: 30 ms, 3 MiB.

    None is Python's own word for a module that is not to be found. No other thread runs yet, and nothing of a site's.
    """
    modules = cast("dict[str, object]", sys.modules)
    is_ours = modules.setdefault("rich", None) is None
    try:
        import_module("structlog")
    finally:
        if is_ours:
            del modules["rich"]


def _say_goodbye(final: object, code: int, style: str) -> None:
    """The final ledger: a table for people, log lines for machines."""
    import msgspec

    status = msgspec.to_builtins(final)
    if style == "console" or (style == "auto" and sys.stderr.isatty()):
        from .tables import print_ledger

        print_ledger(status, title="final ledger", file=sys.stderr)
        return
    import structlog

    log = structlog.get_logger("appliance")
    for line in status["ledger"]:
        log.info("final ledger", **line["account"])
    log.info("stopped", lost=status["lost"], exit_code=code)
