"""What is told about watches."""

from __future__ import annotations

import pytest

from .conftest import Mistakes

WATCH = "[[watch]]\nname = 'w'\ndirectory = '/srv/in'\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", None),
        ("what = 'folders'\nmarker = 'DONE'", None),
        ("on_success = 'archive'\narchive = '/srv/old'\nfailed = 'bad'", None),
        ("recursive = false\nfailed = '/srv/in/bad'", None),
        ("marker = 'DONE'", 'site.toml:4: watch[0].marker: is for folders, leave it out, or write what = "folders"'),
        ("what = 'folders'\nmarker = 'a/b'", 'site.toml:5: watch[0].marker: "a/b" is not the name of a file'),
        ("match = ['sub/*']", 'site.toml:4: watch[0].match[0]: "sub/*" is no glob over a name'),
        ("settle = '0s'", "site.toml:4: watch[0].settle: must be more than 0"),
        ("on_success = 'archive'", "site.toml:4: watch[0].on_success: needs a folder, write archive = the folder"),
        ("archive = '/a'",
         'site.toml:4: watch[0].archive: is of no effect, leave it out, or write on_success = "archive"'),
        ("failed = '/srv/in/bad'",
         ('site.toml:4: watch[0].failed: is in the folder that is watched, "/srv/in", choose one outside of it')),
    ],
)  # fmt: skip
def test_each_mistake_is_told(mistakes: Mistakes, more: str, told: str | None) -> None:
    """Once, with its place and what to do."""
    assert mistakes(WATCH + more) == ([told] if told else [])


def test_a_watch_is_a_door(mistakes: Mistakes) -> None:
    """Which `from` may name."""
    hook = "[[hook]]\nname = 'h'\nrun = 'a:b'\non = ['file:w', 'folder:*']\nfrom = ['watch.w']\n"
    assert mistakes(WATCH + hook) == []
    assert mistakes(WATCH.replace("'/srv/in'", "' '")) == [
        'site.toml:3: watch[0].directory: " " is not the path of a folder'
    ]


COMMAND = "[[hook]]\nname = 'h'\non = ['file:w']\ncommand = ['/bin/true']\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("workdir = 'logs/{name}'\nproduces = 'folder:logs'", None),
        ("produces = 'folder:logs'",
         "site.toml:5: hook[0].produces: needs a folder to work in, write workdir = \"logs/{name}\""),
        ("workdir = 'logs'",
         "site.toml:5: hook[0].workdir: every call would have the same folder, write {name} in its last part"),
        ("workdir = 'logs/{nmae}'",
         "site.toml:5: hook[0].workdir: unknown placeholder {nmae}, did you mean {name}?"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_folder_to_work_in_is_told(mistakes: Mistakes, more: str, told: str | None) -> None:
    """And that it is for commands."""
    assert mistakes(COMMAND + more) == ([told] if told else [])
