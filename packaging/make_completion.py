"""Print the completion of the command line for a shell, made from its parser: ``make_completion.py bash``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab

from appliance.cli.parser import make_parser

# What does not depend on the width of a terminal can be compared with the file in the repository.
os.environ["COLUMNS"] = "100"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse tells it nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                yield from parsers(each)


whole = make_parser()
for each in parsers(whole):
    for action in each._actions:  # noqa: SLF001
        if action.type is Path:
            kind = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
            action.complete = kind  # type: ignore[attr-defined]
sys.stdout.write(shtab.complete(whole, shell=sys.argv[1]))
