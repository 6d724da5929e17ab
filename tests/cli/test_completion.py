"""Completion on the command line: it is that of this version, and it completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = ROOT / "packaging" / "completion" / "broappliance.bash"
ASK = """
source {file}
COMP_WORDS=(broappliance "$@")
COMP_CWORD=$#
_shtab_broappliance
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(("shell", "name"), [("bash", "broappliance.bash"), ("zsh", "_broappliance")])
def test_it_is_that_of_this_version(shell: str, name: str) -> None:
    """`make completion` writes it anew."""
    pytest.importorskip("shtab")
    script = ROOT / "packaging" / "make_completion.py"
    done = subprocess.run([sys.executable, script, shell], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == BASH.with_name(name).read_text()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("rel",), {"reload"}),
        (("hooks", "re"), {"retry"}),
        (("capture", "st"), {"start", "stop"}),
        (("reload", "--w"), {"--wait"}),
        (("capture", "start", "x", ""), {"udp", "tcp", "ethernet"}),
    ],
)
def test_words_are_completed(words: tuple[str, ...], found: set[str]) -> None:
    """Commands, what they do, their options, and the values that there are."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(file=BASH), "bash", *words],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == found


def test_files_are_completed(tmp_path: Path) -> None:
    """Where an option or an argument is one."""
    (tmp_path / "site.toml").touch()
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(file=BASH), "bash", "--config", "si"],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=os.environ,
    )  # fmt: skip
    assert done.stdout.split() == ["site.toml"]
