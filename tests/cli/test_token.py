"""``broappliance token``: tokens are made, kept as hashes, and listed without them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from appliance.api.tokens import read_tokens
from appliance.cli import main


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The token that a command prints, and nothing else."""
    assert main(["token", "new", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("bro_")
    assert captured.out.count("\n") == 1
    return captured.out.strip()


def test_a_token_that_was_made_opens_the_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its hash alone: the file, which only its owner and group can read, does not have it."""
    file = tmp_path / "api.tokens"
    reading, operating = (
        made(capsys, "a", "--file", str(file)),
        made(capsys, "b", "--role", "operate", "--file", str(file)),
    )
    tokens = read_tokens(str(file))
    for token, name, role in ((reading, "token:a", "read"), (operating, "token:b", "operate")):
        found = tokens.find(token, "here")
        assert found is not None
        assert (found.name, found.role.word) == (name, role)
        assert token not in file.read_text()
    assert tokens.find(f"{reading}x", "here") is None
    assert not stat.S_IMODE(file.stat().st_mode) & 0o037
    assert main(["token", "list", "--file", str(file)]) == 0
    assert capsys.readouterr().out.split() == ["read", "a", "operate", "b"]


def test_a_line_without_an_end_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's editor left it so."""
    file = tmp_path / "api.tokens"
    file.write_text("# ours")
    made(capsys, "a", "--file", str(file))
    assert [name for name, _ in read_tokens(str(file)).names()] == ["a"]


def test_without_a_file_the_line_is_told_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, so that the token alone can be kept; and it fits to it."""
    assert main(["token", "new", "a"]) == 0
    captured = capsys.readouterr()
    file = tmp_path / "api.tokens"
    file.write_text(captured.err)
    assert read_tokens(str(file)).find(captured.out.strip(), "here") is not None


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("a", 1, "has a token already"),
        ("two words", 2, "no spaces"),
        ("#a", 2, "no spaces"),
        ("x" * 65, 2, "64 characters"),
    ],
    ids=["twice", "spaces", "comment", "long"],
)
def test_a_name_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, said: str
) -> None:
    """Nothing is written, and no token is printed."""
    file = tmp_path / "api.tokens"
    made(capsys, "a", "--file", str(file))
    before = file.read_text()
    assert main(["token", "new", name, "--file", str(file)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert file.read_text() == before


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what the system says about it."""
    assert main(["token", "new", "a", "--file", str(tmp_path / "none" / "file")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["token", "list", "--file", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
