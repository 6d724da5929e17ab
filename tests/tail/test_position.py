"""Positions on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.tail.position import Position, load_positions, save_positions
from appliance.zeek.tsv_header import TsvHeader

HEADER = TsvHeader(separator=b"\xff", path="x", names=("a", "b"), types=("count", "set[string]"))


def test_positions_are_read_as_they_were_saved(tmp_path: Path) -> None:
    """Names and separators that are no text, too; the time of ``#open`` does not matter for reading on."""
    positions = [
        Position(device=1, inode=2, path="/a/\udcff.log", offset=10, head_len=10, head="ab", rows=1, header=HEADER),
        Position(device=1, inode=3, path="/b", size=5, mtime_ns=7, is_skipping=True),
    ]
    save_positions(tmp_path / "new" / "state.json", positions)
    assert load_positions(tmp_path / "new" / "state.json") == positions
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.json"]


def test_no_file_means_no_earlier_run(tmp_path: Path) -> None:
    """That is not the same as an earlier run that saw nothing."""
    assert load_positions(tmp_path / "state.json") is None
    save_positions(tmp_path / "state.json", [])
    assert load_positions(tmp_path / "state.json") == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"version":2,"headers":[],"files":[]}', '{"version":1,"headers":[],"files":[{"header":0}]}',
     '{"version":1,"headers":[{"path":1}],"files":[]}', '{"version":1,"headers":[{}],"files":[{"header":0,"path":5}]}'],
)  # fmt: skip
def test_what_is_no_file_of_positions_is_refused(tmp_path: Path, text: str) -> None:
    """With the name of the file."""
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"state\.json"):
        load_positions(tmp_path / "state.json")


def test_failure_leaves_the_old_positions(tmp_path: Path) -> None:
    """A disk that says no costs nothing that was saved."""
    path = tmp_path / "state.json"
    save_positions(path, [])
    path.with_name("state.json.part").mkdir()
    with pytest.raises(OSError, match="part"):
        save_positions(path, [Position(device=1, inode=2, path="/a")])
    assert load_positions(path) == []
