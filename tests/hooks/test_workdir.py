"""Folders that commands work in: named when they ended well, deleted when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.hooks.steer import Reject
from appliance.hooks.workdir import Workdir
from appliance.model import FolderReady


async def test_a_folder_gets_its_name_at_the_end(tmp_path: Path) -> None:
    """With a number if that is taken; the item tells where it is and what it holds."""
    workdir = Workdir(str(tmp_path / "logs" / "{name}"), hook="zeek", produces="logs")
    produced: list[FolderReady] = []
    for _ in range(2):
        async with workdir.open({"name": "a.pcap"}, produced.append) as folder:
            (Path(folder) / "deep").mkdir()
            (Path(folder) / "deep" / "conn.log").write_text("12345")
            assert Path(folder).name.startswith(".")
            assert not produced or not (tmp_path / "logs" / "a.pcap.1").exists()
    assert [item.relative for item in produced] == ["a.pcap", "a.pcap.1"]
    assert {(item.watch, item.source, item.disk_size, item.files) for item in produced} == {("logs", "hook.zeek", 5, 1)}
    assert Path(produced[1].path, "deep", "conn.log").read_text() == "12345"


async def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Nor does what a crash left of an earlier attempt come into the next one."""
    workdir = Workdir(str(tmp_path / "{name}"), hook="zeek", produces="logs")
    produced: list[FolderReady] = []
    (tmp_path / ".a.part").mkdir()
    (tmp_path / ".a.part" / "old").touch()

    async def fail() -> None:
        async with workdir.open({"name": "a"}, produced.append) as folder:
            assert list(Path(folder).iterdir()) == []
            (Path(folder) / "new").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert (list(tmp_path.iterdir()), produced) == ([], [])


async def test_calls_at_the_same_time_have_folders_of_their_own(tmp_path: Path) -> None:
    """Also with the same name; nobody is told where nothing is produced."""
    workdir = Workdir(str(tmp_path / "{name}"), hook="zeek", produces="")
    produced: list[FolderReady] = []
    async with workdir.open({"name": "a"}, produced.append) as one, workdir.open({"name": "a"}, produced.append) as two:
        assert one != two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.1"]
    assert produced == []


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\0b"])
async def test_a_name_stays_within_the_folder(tmp_path: Path, name: str) -> None:
    """A value from the network chooses no other place."""
    workdir = Workdir(str(tmp_path / "{name}"), hook="zeek", produces="logs")
    with pytest.raises(Reject):
        async with workdir.open({"name": name}, print):
            pass
    assert list(tmp_path.iterdir()) == []
