"""The modules that hooks of BroAPT import from its main program, under their old names: ``const``, ``utils`` and
``logparser``. They are there before the package is, as its main program was.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import math
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from . import logs

__all__ = ["install"]


def install(logs_path: str) -> None:
    """Put the modules where ``import`` finds them.

    Args:
        logs_path: for ``const.LOGS_PATH``; empty: whoever imports that is told that it is not configured.
    """
    for module in (_make_const(logs_path), _make_utils(logs_path), _make_logparser()):
        sys.modules[module.__name__] = module


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name, f"Stands in for BroAPT's module {name!r}.")
    vars(module).update(members)
    return module


def _make_const(logs_path: str) -> ModuleType:
    members: dict[str, Any] = {
        "EXIT_SUCCESS": 0,
        "EXIT_FAILURE": 1,
        "CPU_CNT": os.cpu_count() or 1,
        "HOOK_CPU": 1,
        "INTERVAL": 10.0,
        "MAX_RETRY": 3,
        "DUMP_PATH": os.environ.get("BROAPT_DUMP_PATH", "extract_files"),
        "PCAP_PATH": os.environ.get("BROAPT_PCAP_PATH", "/pcap/"),
        "ROOT": os.getcwd(),  # noqa: PTH109 - text, as there
    }
    if logs_path:
        files = {"FILE": "file.log", "TIME": "time.log", "DUMP": "dump.log", "FAIL": "fail.log"}
        members |= {"LOGS_PATH": logs_path} | {n: os.path.join(logs_path, f) for n, f in files.items()}  # noqa: PTH118

    def missing(name: str) -> Any:
        if name == "LOGS_PATH":
            raise ImportError("there is no LOGS_PATH, because the hook has no logs_path")
        raise AttributeError(f"module 'const' has no attribute {name!r}")

    return _module("const", __getattr__=missing, **members)


def _make_utils(logs_path: str) -> ModuleType:
    default = os.path.join(logs_path, "time.log") if logs_path else None  # noqa: PTH118

    def print_file(s: object, file: str | None = default) -> None:
        """Append a line to a file; processes take turns."""
        if file is None:
            raise ValueError("print_file needs a file, because the hook has no logs_path")
        with Path(file).open("a", encoding="utf-8", errors="surrogateescape") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.write(f"{s}\n")

    return _module("utils", is_nan=is_nan, print_file=print_file, IPAddressJSONEncoder=IPAddressJSONEncoder)


def _make_logparser() -> ModuleType:
    return _module("logparser", parse=logs.parse, TEXTInfo=logs.TEXTInfo, JSONInfo=logs.JSONInfo)


def is_nan(value: object) -> bool:
    """Whether a value of a parsed log is not set."""
    return value is None or (isinstance(value, float) and math.isnan(value))


class IPAddressJSONEncoder(json.JSONEncoder):
    """Writes addresses as text."""

    def default(self, o: Any) -> Any:
        if isinstance(o, ipaddress.IPv4Address | ipaddress.IPv6Address | ipaddress.IPv4Network | ipaddress.IPv6Network):
            return str(o)
        return super().default(o)
