"""What the documentation names is there: files, sections, commands and their options, targets of the Makefile."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.parser import make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"(?ms)^( *)```[^\n]*\n(.*?)^ *```|`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OURS = re.compile(r"(?<![\w/.}~-])(?:appliance|benchmarks|conf|docs|native|packaging|tests)/[\w./*+-]*\w")
PROGRAM = re.compile(
    r"(?m)(?:^|[|;&] *)(?:sudo +)?(?:\.venv/bin/|\./|/usr/bin/)?broappliance(?:-[\d.]+-linux-x86_64)? +([^`|>&;#\n]+)"
)
PLACEHOLDER = re.compile(r"[A-Z|…<\[]|\.\.\.")
"""How something begins that the reader is to put there."""


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_of(text: str) -> Iterator[str]:
    """What is set as code, blocks and words."""
    for match in CODE.finditer(text):
        yield (match[2] or match[3]).replace("\\\n", " ")


def anchors_of(text: str) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def mistakes_in(words: list[str], parser: argparse.ArgumentParser) -> Iterator[str]:
    """What of a command line the parser does not know, as far as words tell."""
    for word in words:
        commands = commands_of(parser)
        if PLACEHOLDER.match(word) or (word in ("-", "--") or not word):
            return
        if re.match(r"-\D", word):
            if word.partition("=")[0] not in parser._option_string_actions:
                yield word
        elif commands and word in commands:
            parser = commands[word]
        elif commands and re.fullmatch(r"[a-z-]+", word) and not any(each.startswith("-") for each in words):
            yield word


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file of ours, and to a section that it has."""
    for target in LINK.findall(page.read_text()):
        name, _, section = target.partition("#")
        if "://" in name:
            continue
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not section or section in anchors_of(path.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_are_there(page: Path) -> None:
    """By their place in the repository."""
    for code in code_of(page.read_text()):
        for match in OURS.finditer(code):
            assert list(ROOT.glob(match[0])), match[0]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_are_known(page: Path) -> None:
    """With every option that they are shown with."""
    parser = make_parser()
    for code in code_of(page.read_text()):
        for line in PROGRAM.findall(code):
            try:
                words = shlex.split(line)
            except ValueError:
                words = line.split()
            assert list(mistakes_in(words, parser)) == [], line


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_targets_of_the_makefile_are_known(page: Path) -> None:
    """`make help` lists them."""
    known = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for code in code_of(page.read_text()):
        assert set(re.findall(r"(?m)^(?:\$ |sudo )?make ([a-z][a-z-]*)", code)) <= known, code


def test_a_wrong_command_is_found() -> None:
    """The test above would say it."""
    parser = make_parser()
    assert list(mistakes_in(["statsu"], parser)) == ["statsu"]
    assert list(mistakes_in(["hooks", "lits"], parser)) == ["lits"]
    assert list(mistakes_in(["status", "--wacth"], parser)) == ["--wacth"]
    assert list(mistakes_in(["hooks", "retry", "NAME"], parser)) == []
