"""``broappliance import``: another program's configuration as ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import ApplianceError, ConfigError

__all__ = ["call"]


def call(arguments: argparse.Namespace) -> int:
    """Print the TOML on standard output, or write it; the warnings go to standard error."""
    from appliance.ait.convert import convert
    from appliance.ait.document import MAX_BYTES, parse_document
    from appliance.ait.render import render_captures

    file: Path = arguments.file
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", file=str(file)) from exc
    converted = convert(parse_document(str(file), content), home=str(Path.home()))
    text = render_captures(converted.captures, str(file))
    _check(text, file)
    if arguments.output is None:
        print(text, end="")
    else:
        _write(arguments.output, text)
    for warning in converted.warnings:
        print(warning, file=sys.stderr)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x") as stream:
            stream.write(text)
    except FileExistsError:
        raise ApplianceError(f"{path} exists, nothing is overwritten") from None
    except OSError as exc:
        raise ApplianceError(f"cannot write {path}: {exc.strerror}") from exc


def _check(text: str, source: Path) -> None:
    """What comes out must be a configuration that runs; what it is not is told of the file that it was made from."""
    from appliance.config import load
    from appliance.parts import prepare

    with TemporaryDirectory() as folder:
        path = Path(folder, "imported.toml")
        path.write_text(text)
        try:
            prepare(load(path, environ={}))
        except* ConfigError as group:
            found = [
                ConfigError(exc.message, file=str(source), key=exc.key, hint=exc.hint)
                for exc in group.exceptions
                if isinstance(exc, ConfigError)
            ]
            raise ExceptionGroup("what was made of the file has mistakes", found) from None
