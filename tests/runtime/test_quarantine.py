"""What is kept of refused input: whole files, the newest ones, no more of them than said."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from appliance.runtime.quarantine import Quarantine


class Clock:
    def __init__(self, *times: int) -> None:
        self._times = list(times)

    def __call__(self) -> int:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


def test_messages_are_kept_byte_for_byte(tmp_path: Path) -> None:
    """In files of their own, in a folder that is made for them and that not everybody may read."""
    folder = tmp_path / "a" / "b"
    quarantine = Quarantine(folder)
    assert not folder.exists()
    paths = [quarantine.save(data) for data in (b"one", b"", b"\0\xff\n")]
    assert [path.read_bytes() for path in paths] == [b"one", b"", b"\0\xff\n"]
    assert sorted(folder.iterdir()) == paths
    assert stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0
    assert stat.S_IMODE(paths[0].stat().st_mode) & 0o007 == 0


def test_the_oldest_go(tmp_path: Path) -> None:
    """Also those of an earlier run; other people's files stay."""
    (tmp_path / "notes.txt").touch()
    for number in range(10):
        Quarantine(tmp_path, max_files=4, clock_ns=Clock(number)).save(b"%d" % number)
    assert [file.read_bytes() for file in sorted(tmp_path.glob("*.bin"))] == [b"6", b"7", b"8", b"9"]
    Quarantine(tmp_path, max_files=1, clock_ns=Clock(10)).save(b"10")
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["00000000000000000010.bin", "notes.txt"]


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    assert Quarantine(tmp_path, max_bytes=5).save(b"123456789").read_bytes() == b"12345"


def test_a_clock_that_stands_still_overwrites_nothing(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, clock_ns=Clock(7))
    paths = [quarantine.save(b"%d" % number) for number in range(3)]
    assert [path.read_bytes() for path in paths] == [b"0", b"1", b"2"]
    assert sorted(paths) == paths


def test_what_a_crash_left_is_overwritten(tmp_path: Path) -> None:
    """And nobody's file is written through a symlink."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "quarantine"
    folder.mkdir()
    (folder / "new.part").symlink_to(victim)
    assert Quarantine(folder).save(b"bad").read_bytes() == b"bad"
    assert victim.read_bytes() == b"precious"
    assert len(list(folder.iterdir())) == 1


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """However often: a disk that is full does not fill with halves."""
    quarantine = Quarantine(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                quarantine.save(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert quarantine.save(b"x" * 100_000).stat().st_size == 100_000


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Quarantine(tmp_path / "file" / "folder").save(b"")
