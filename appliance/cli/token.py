"""``broappliance token``: bearer tokens for the API on TCP. Works on the file, without an appliance."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from appliance.errors import ApplianceError, ConfigError

__all__ = ["call_list", "call_new"]

_NAME = re.compile(r"[^\s#]\S{0,63}")


def call_new(arguments: argparse.Namespace) -> int:
    """Print a new token, which nobody can read again, and add its line to the file."""
    from appliance.api.tokens import make_token, read_tokens

    if not _NAME.fullmatch(arguments.name):
        raise ConfigError("a name has up to 64 characters, and no spaces among them", key="NAME")
    token, line = make_token(arguments.name, arguments.role)
    file: Path | None = arguments.file
    if file is None:
        print(line, file=sys.stderr)
    else:
        if file.exists() and any(name == arguments.name for name, _ in read_tokens(os.fspath(file)).names()):
            raise ApplianceError(f"{arguments.name!r} has a token already", hint=f"delete its line in {file}")
        _append(file, line)
    print(token)
    return 0


def _append(file: Path, line: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "a+b") as out:
            size = out.seek(0, os.SEEK_END)
            is_torn = size > 0 and file.read_bytes()[-1:] != b"\n"
            out.write((b"\n" if is_torn else b"") + line.encode() + b"\n")
    except OSError as exc:
        raise ApplianceError(f"cannot write {file}: {exc.strerror}") from exc


def call_list(arguments: argparse.Namespace) -> int:
    """Print names and roles."""
    from appliance.api.tokens import read_tokens

    for name, role in read_tokens(os.fspath(arguments.file)).names():
        print(f"{role:8}{name}")
    return 0
