"""Compression: the same bytes come back, and at no moment is there less than the plain or the complete file."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.runtime.compress import compress, remove_leftover
from tests.sinks.harness import content

ROOT = Path(__file__).parents[2]
TEXT = b'{"a":1}\n' * 1000


def make(folder: Path, name: str = "22.log", data: bytes = TEXT) -> Path:
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o604)
    os.utime(path, ns=(5, 1_600_000_000_123_456_789))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_file_is_replaced_by_its_compressed_form(tmp_path: Path) -> None:
    """Same content, time and permissions; smaller, and checked when it is read."""
    path = make(tmp_path)
    packed = compress(path)
    assert packed == tmp_path / "22.log.zst"
    assert names(tmp_path) == {"22.log.zst"}
    assert content(packed) == TEXT
    status = packed.stat()
    assert (status.st_mtime_ns, status.st_mode & 0o777) == (1_600_000_000_123_456_789, 0o604)
    assert status.st_size < len(TEXT) // 10
    broken = bytearray(packed.read_bytes())
    broken[-1] ^= 1
    packed.write_bytes(broken)
    with pytest.raises(Exception, match="checksum"):
        content(packed)


@settings(deadline=None)  # disks
@given(st.binary(max_size=3000), st.integers(1, 2000))
def test_identical_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, times: int) -> None:
    """Whatever they are, also of more than one chunk."""
    folder = tmp_path_factory.mktemp("c")
    assert content(compress(make(folder, data=data * times))) == data * times


@pytest.mark.parametrize("there", [b"", b"something else", TEXT])
def test_name_that_is_taken_gets_a_number(tmp_path: Path, there: bytes) -> None:
    """What was there is not touched, unless it is the same."""
    (tmp_path / "22.log.zst").write_bytes(there)
    assert compress(make(tmp_path)) == tmp_path / "22-1.log.zst"
    assert (tmp_path / "22.log.zst").read_bytes() == there
    assert content(tmp_path / "22-1.log.zst") == TEXT


def test_compressed_form_of_other_content_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Longer, shorter, or different."""
    for number, other in enumerate([TEXT[:-1], TEXT + b"\n", TEXT[:-2] + b"]\n"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        compress(make(folder, data=other))
        compress(make(folder))
        assert {content(path) for path in folder.iterdir()} == {TEXT, other}


def test_link_in_the_place_of_the_archive_is_not_followed(tmp_path: Path) -> None:
    """Whatever it points to."""
    (tmp_path / "elsewhere").mkdir()
    other = compress(make(tmp_path / "elsewhere"))
    (tmp_path / "22.log.zst").symlink_to(other)
    assert compress(make(tmp_path)).name == "22-1.log.zst"
    link = tmp_path / "23.log"
    link.symlink_to(other)
    with pytest.raises(OSError, match="symbolic"):
        compress(link)


def test_one_compressor_at_a_time(tmp_path: Path) -> None:
    """Another one is told."""
    path = make(tmp_path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            compress(path)
    assert names(tmp_path) == {"22.log"}


def test_missing_file_is_told(tmp_path: Path) -> None:
    """It is not ours to wonder where it went."""
    with pytest.raises(FileNotFoundError):
        compress(tmp_path / "22.log")


def test_interruption_leaves_the_file(tmp_path: Path) -> None:
    """And nothing else."""

    def pause() -> None:
        raise KeyboardInterrupt

    path = make(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compress(path, pause=pause)
    assert names(tmp_path) == {"22.log"}


def test_file_that_changes_meanwhile_stays(tmp_path: Path) -> None:
    """It was not finished."""
    path = make(tmp_path, data=bytes(3 << 20))

    def pause() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(ValueError, match="changed while it was read"):
        compress(path, pause=pause)
    assert names(tmp_path) == {"22.log"}


def test_full_disk_leaves_the_file(tmp_path: Path) -> None:
    """The error is the caller's, half a file is nobody's."""
    path = make(tmp_path, data=os.urandom(1 << 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            compress(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == {"22.log"}


@pytest.mark.slow
def test_kill_at_every_step(tmp_path: Path) -> None:
    """There is the plain file or the complete one; whoever comes next cleans up and has one file of the same bytes."""
    done = False
    for step in range(60):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = make(folder)
        command = [sys.executable, "-m", "tests.sinks.crash", "compress", str(path), str(step)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        done = run.stdout == "done"
        assert done or run.returncode == -9, run.stderr
        packed = folder / "22.log.zst"
        assert path.exists() or packed.exists()
        assert not path.exists() or path.read_bytes() == TEXT
        assert not packed.exists() or content(packed) == TEXT
        part = folder / "22.log.zst.part"
        assert remove_leftover(part) == part.exists() or not part.exists()
        if path.exists():
            compress(path)
        assert names(folder) == {"22.log.zst"}
        assert content(packed) == TEXT
        if done:
            break
    assert done
    assert step > 10


@pytest.mark.parametrize(
    ("data", "gone"), [(b"", True), (b"\x28\xb5", True), (b"\x28\xb5\x2f\xfd..", True), (b"{", False)]
)
def test_only_half_an_archive_is_removed(tmp_path: Path, data: bytes, gone: bool) -> None:
    """A log may be called ``x.zst``, and its part is no compressor's."""
    part = tmp_path / "x.zst.part"
    part.write_bytes(data)
    assert remove_leftover(part) is gone
    assert part.exists() is not gone


def test_part_that_somebody_writes_is_not_removed(tmp_path: Path) -> None:
    """Its writer has the lock."""
    part = tmp_path / "x.zst.part"
    part.write_bytes(b"")
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not remove_leftover(part)
    assert part.exists()
    assert not remove_leftover(tmp_path / "y.zst.part")
