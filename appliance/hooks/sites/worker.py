"""The process of a package: ``python -m appliance.hooks.sites.worker``, started by this room only.

It may hang, crash or be killed at any moment. What it prints goes into the appliance's log.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import msgspec

from appliance.hooks.steer import Reject, Retry
from appliance.runtime.environment import child_environment

from .messages import CONNECTION, MAX_PACKET, Broken, Call, FromWorker, Result, Setup, from_text
from .package import Package, load_package
from .stand_ins import install

__all__ = ["main"]

_EASY_VICTIM = b"500"
"""When the machine runs out of memory the kernel takes this process before the appliance."""
MAX_ERROR = 500
MAX_TRACE = 16_384
MAX_FRAMES = 50


def main() -> int:
    """Load the package, then make calls until the appliance wants no more."""
    _settle_in()
    connection = socket.socket(fileno=CONNECTION)
    setup = msgspec.json.decode(connection.recv(MAX_PACKET), type=Setup)
    sys.path[:0] = [folder for folder in setup.import_path if folder not in sys.path]
    install(setup.logs_path)
    try:
        package = load_package(setup.package)
    except ValueError as exc:
        _send(connection, Broken(error=_shown(str(exc), 4000)))
        return 1
    _send(connection, package.describe())
    ours = os.getpid()
    while data := connection.recv(MAX_PACKET):
        result = _call(package, msgspec.json.decode(data, type=Call))
        if os.getpid() != ours:  # the hook has forked, and its child has come here
            os._exit(0)
        _flush()
        _send(connection, result)
    return 0


def _settle_in() -> None:
    """Be a process of its own: what others do to it, and what its own children inherit."""
    faulthandler.enable()
    os.set_inheritable(CONNECTION, False)
    environment = child_environment()
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_EASY_VICTIM)
    # A service manager tells the whole group to end; but there are exit hooks to be run. A handler, because what is
    # ignored would be ignored by the programs that a hook starts.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _send(connection: socket.socket, message: FromWorker) -> None:
    connection.send(msgspec.json.encode(message))


def _call(package: Package, call: Call) -> Result:
    try:
        if call.is_exit:
            package.call_exit(call.number)
        else:
            package.call_hook(call.number, from_text(call.name), from_text(call.path))
    except Retry as exc:
        return Result(outcome="retry", error=_shown(str(exc), MAX_ERROR), after_s=exc.after_s)
    except Reject as exc:
        return Result(outcome="rejected", error=_shown(str(exc), MAX_ERROR))
    except BaseException as exc:  # noqa: BLE001 - whatever a hook raises is an outcome
        trace = "".join(traceback.format_exception(exc, limit=-MAX_FRAMES))
        error = "".join(traceback.format_exception_only(exc)).strip()
        return Result(outcome="error", error=_shown(error, MAX_ERROR), trace=_shown(trace[-MAX_TRACE:], MAX_TRACE))
    return Result(outcome="done")


def _shown(text: str, limit: int) -> str:
    return text.encode("utf-8", "backslashreplace").decode()[:limit]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the hook may have closed it
            continue


if __name__ == "__main__":
    sys.exit(main())
