from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import appliance
from appliance.runtime import partfile
from appliance.runtime.partfile import Leftover, PartFile, Repair, find_parts, finish_leftovers, repair_lines
from appliance.runtime.pattern import PathPattern

ROOT = Path(appliance.__file__).parents[1]


@pytest.fixture
def pattern(tmp_path: Path) -> PathPattern:
    return PathPattern(f"{PathPattern.escape(str(tmp_path))}/{{path}}/%H.log", fields={"path"})


@pytest.fixture
def part(tmp_path: Path) -> Iterator[PartFile]:
    file = PartFile.create(tmp_path / "06.log")
    yield file
    file.abandon()


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def leave(path: Path, data: bytes) -> Path:
    """Leave a ``.part`` as a crash does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def test_a_file_appears_by_rename(tmp_path: Path) -> None:
    """While it is written only the part exists; then only the final name, with everything in it."""
    file = PartFile.create(tmp_path / "06.log")
    assert file.path == tmp_path / "06.log.part"
    file.write([b"one\n", b"", b"two\n"])
    file.write([])
    file.write([b"three\n"])
    assert file.size == 14
    assert names(tmp_path) == ["06.log.part"]
    assert file.finish() == tmp_path / "06.log" == file.path
    assert names(tmp_path) == ["06.log"]
    file.discard()
    assert file.path.read_bytes() == b"one\ntwo\nthree\n"
    assert file.fd == -1


def test_modes(tmp_path: Path, open_umask: None) -> None:
    """New directories, the outer ones too, and files are closed to others."""
    file = PartFile.create(tmp_path / "a" / "b" / "06.log")
    file.write([b"x\n"])
    file.finish(sync=False)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o750, 0o750]
    assert file.path.stat().st_mode & 0o777 == 0o640


def test_many_buffers(part: PartFile) -> None:
    """More buffers than one system call takes are written in order."""
    buffers = [b"%d\n" % number for number in range(2 * os.sysconf("SC_IOV_MAX") + 7)]
    part.write(buffers)
    assert part.path.read_bytes() == b"".join(buffers)


def test_short_writes_are_continued(part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that takes only some bytes, ending anywhere in a buffer, is followed by others for the rest."""
    writev = os.writev
    for limit in range(1, 8):
        monkeypatch.setattr(os, "writev", lambda fd, views, limit=limit: writev(fd, [b"".join(views)[:limit]]))
        part.write([b"abc", b"d", b"efg\n"])
    assert part.path.read_bytes() == b"abcdefg\n" * 7
    assert part.size == 56


def test_an_empty_file_is_removed(tmp_path: Path, part: PartFile) -> None:
    """A file to which nothing was written leaves no trace."""
    assert part.finish() is None
    assert names(tmp_path) == []


def test_discard(tmp_path: Path, part: PartFile) -> None:
    """A discarded file is gone whatever it holds."""
    part.write([b"header"])
    part.discard()
    assert names(tmp_path) == []


def test_abandon(tmp_path: Path, part: PartFile) -> None:
    """An abandoned file stays a part and is no longer locked; doing it twice does no harm."""
    part.write([b"one\n"])
    part.abandon()
    part.abandon()
    assert names(tmp_path) == ["06.log.part"]
    with part.path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


LIMITED = """
import resource, sys
from pathlib import Path
from appliance.runtime.partfile import PartFile
file = PartFile.create(Path(sys.argv[1]))
file.write([b"whole\\n"])
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        file.write([b"torn 1\\n", b"torn 2\\n"])
    except OSError as exc:
        print(exc.errno, exc.filename, file.size, file.path.stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.write([b"torn 1\\n", b"torn 2\\n"])
print(file.finish().read_bytes())
"""


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Bytes of a write that the disk cuts short are removed; the same buffers can be written again later."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "06.log")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    failure = f"{errno.EFBIG} {tmp_path}/06.log.part 6 6"
    assert done.stdout.splitlines() == [failure, failure, str(b"whole\ntorn 1\ntorn 2\n")]


def test_the_tear_is_cut_later(part: PartFile, tmp_path: Path) -> None:
    """If what a failed write left cannot be removed at once, that is done before anything else happens to the file."""
    part.write([b"whole\n"])
    real = os.dup(part.fd)
    full = os.open("/dev/full", os.O_WRONLY)
    for _ in range(2):
        os.dup2(full, part.fd, inheritable=False)  # writes fail with ENOSPC, truncation with EINVAL
        with pytest.raises(OSError, match=r"06\.log\.part") as caught:
            part.write([b"more\n"])
        assert caught.value.errno in (errno.ENOSPC, errno.EINVAL)
        os.dup2(real, part.fd, inheritable=False)
        os.write(real, b"to")
    part.write([b"more\n"])
    assert part.path.read_bytes() == b"whole\nmore\n"

    os.dup2(full, part.fd, inheritable=False)
    with pytest.raises(OSError, match="No space"):
        part.write([b"last\n"])
    os.dup2(real, part.fd, inheritable=False)
    os.write(real, b"to")
    assert part.finish() == tmp_path / "06.log"
    assert part.path.read_bytes() == b"whole\nmore\n"
    os.close(real)
    os.close(full)


def test_a_file_that_cannot_be_synced(part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose bytes may not have reached the disk stays a part."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "no luck")

    monkeypatch.setattr(os, "fsync", fail)
    part.write([b"x\n"])
    with pytest.raises(OSError, match=r"no luck: .*06\.log\.part"):
        part.finish()
    assert part.path.exists()
    assert part.finish(sync=False)


def test_a_part_that_is_gone(part: PartFile) -> None:
    """If somebody removed the part, finishing says which file is missing."""
    part.write([b"x\n"])
    part.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"06\.log\.part"):
        part.finish()


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    """A file in place of a directory is an error that names it."""
    leave(tmp_path / "logs", b"")
    with pytest.raises(FileExistsError, match="logs"):
        PartFile.create(tmp_path / "logs" / "06.log")


@pytest.mark.parametrize("supported", [True, False])
def test_directories_that_cannot_be_synced(
    tmp_path: Path, part: PartFile, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    """A filesystem that does not know how to sync a directory is fine; one that fails to is not."""
    part.write([b"x\n"])
    fsync = os.fsync

    def fail(fd: int) -> None:
        if fd != part.fd:
            raise OSError(errno.EIO if supported else errno.EINVAL, "no luck")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)
    if supported:
        with pytest.raises(OSError, match=f"no luck: '{tmp_path}'"):
            part.finish()
    else:
        part.finish()
    assert part.path.name == "06.log"
    assert part.fd == -1


def test_a_counter_tells_files_apart(tmp_path: Path) -> None:
    """Neither a finished file nor a part nor a dangling link of the name is touched."""
    leave(tmp_path / "06.log", b"old")
    leave(tmp_path / "06-1.log.part", b"crashed")
    (tmp_path / "06-2.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "06-3.log.part").symlink_to(tmp_path / "nowhere")
    file = PartFile.create(tmp_path / "06.log")
    file.write([b"new"])
    assert file.finish() == tmp_path / "06-4.log"
    assert (tmp_path / "06.log").read_bytes() == b"old"
    assert (tmp_path / "06-1.log.part").read_bytes() == b"crashed"
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_is_taken_meanwhile(tmp_path: Path, part: PartFile) -> None:
    """If the final name appears while the part is written the next free one is used."""
    part.write([b"new"])
    leave(tmp_path / "06.log", b"other")
    leave(tmp_path / "06-1.log", b"other")
    assert part.finish() == tmp_path / "06-2.log"
    assert (tmp_path / "06.log").read_bytes() == b"other"


def test_no_number_is_left(tmp_path: Path, part: PartFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for a free name ends."""
    monkeypatch.setattr(partfile, "MAX_COUNTER", 2)
    part.write([b"new"])
    for name in ("06.log", "06-1.log", "06-2.log"):
        leave(tmp_path / name, b"other")
    with pytest.raises(FileExistsError, match=r"no number is left.*06\.log"):
        part.finish()
    with pytest.raises(FileExistsError, match=r"no number is left.*06\.log"):
        PartFile.create(tmp_path / "06.log")


def test_two_creators(tmp_path: Path) -> None:
    """Creators that race for one name all get a file, each its own, and every byte arrives."""
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        for turn in range(10):
            barrier.wait()
            file = PartFile.create(tmp_path / "06.log")
            file.write([b"%d %d\n" % (number, turn)])
            barrier.wait()
            file.finish(sync=False)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(path.read_text() for path in tmp_path.iterdir())
    assert found == sorted(f"{number} {turn}\n" for number in range(8) for turn in range(10))
    assert "06-79.log" in names(tmp_path)


def test_a_repairer_is_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that somebody locks or removes as a leftover just after it was made is given up for the next name."""
    flock = fcntl.flock
    thieves: list[int] = []

    def slow_flock(fd: int, operation: int) -> None:
        found = sorted(path for path in tmp_path.iterdir() if path.suffix == ".part")
        if len(thieves) == 0:
            thieves.append(os.open(found[0], os.O_RDONLY))
            flock(thieves[0], operation)
        elif len(thieves) == 1:
            thieves.append(os.open("/dev/null", os.O_RDONLY))
            found[0].unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", slow_flock)
    file = PartFile.create(tmp_path / "06.log")
    assert len(thieves) == 2
    assert names(tmp_path) == ["06-2.log.part", "06.log.part"]
    assert file.path.name == "06-2.log.part"
    file.abandon()
    for fd in thieves:
        os.close(fd)


def test_a_filesystem_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no lock is to be had there is an error, and no file."""

    def fail(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="no locks"):
        PartFile.create(tmp_path / "06.log")
    assert names(tmp_path) == []


def test_a_filesystem_that_cannot_rename_without_replacing(tmp_path: Path) -> None:
    """There the part is linked and unlinked, which does not replace either."""

    def unsupported(part: Path, final: Path) -> int:
        return errno.EINVAL

    part, final = leave(tmp_path / "06.log.part", b"new"), tmp_path / "06.log"
    partfile.move(part, final, rename=unsupported)
    assert names(tmp_path) == ["06.log"]
    leave(part, b"newer")
    with pytest.raises(FileExistsError):
        partfile.move(part, final, rename=unsupported)
    assert final.read_bytes() == b"new"
    assert part.read_bytes() == b"newer"


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_a_line_torn_at_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Wherever the tail is torn, all whole lines stay and nothing else."""
    monkeypatch.setattr(partfile, "_BLOCK", block)
    data = b'{"a": 1}\n\n{"b": 22}\n{"c": 333}'
    for length in range(len(data) + 1):
        part = leave(tmp_path / "06.log.part", data[:length])
        whole = data[: data[:length].rfind(b"\n") + 1]
        assert repair_lines(part) == Repair(cut=length - len(whole), size=len(whole))
        assert part.read_bytes() == whole


def test_a_long_torn_line(tmp_path: Path) -> None:
    """A tail of many blocks, such as the zeros that a power cut leaves, is cut."""
    part = leave(tmp_path / "06.log.part", b"whole\n" + bytes(1_000_000))
    assert repair_lines(part) == Repair(cut=1_000_000, size=6)


def test_repair_follows_no_link(tmp_path: Path) -> None:
    """A symlink in place of a part is refused, and its target stays as it is."""
    target = leave(tmp_path / "target", b"torn")
    (tmp_path / "06.log.part").symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        repair_lines(tmp_path / "06.log.part")
    assert target.read_bytes() == b"torn"


def test_leftovers_are_finished(tmp_path: Path, pattern: PathPattern) -> None:
    """Each part is repaired and renamed, with a counter if its name is taken; one without a whole line is removed."""
    torn = leave(tmp_path / "conn" / "06.log.part", b"1\n2\n3")
    taken = leave(tmp_path / "dns" / "06-3.log.part", b"1\n")
    empty = leave(tmp_path / "http" / "06.log.part", b"")
    hopeless = leave(tmp_path / "http" / "07.log.part", b"1")
    leave(tmp_path / "dns" / "06-3.log", b"other")
    for other in ("06.log.part", "conn/6.log.part", "conn/x/06.log.part", "conn/06.log", "conn/06.txt.part"):
        leave(tmp_path / other, b"torn")
    assert find_parts(pattern) == [torn, taken, empty, hopeless]
    assert finish_leftovers(pattern, repair_lines) == [
        Leftover(part=torn, outcome="finished", final=tmp_path / "conn" / "06-1.log", cut=1, size=4),
        Leftover(part=taken, outcome="finished", final=tmp_path / "dns" / "06-4.log", size=2),
        Leftover(part=empty, outcome="removed"),
        Leftover(part=hopeless, outcome="removed", cut=1),
    ]
    assert find_parts(pattern) == []
    assert (tmp_path / "conn" / "06-1.log").read_bytes() == b"1\n2\n"
    assert (tmp_path / "06.log.part").exists()
    assert finish_leftovers(pattern, repair_lines) == []


def test_a_crash_between_link_and_unlink(tmp_path: Path, pattern: PathPattern) -> None:
    """A file that has both names already loses the part and is not there twice."""
    part = leave(tmp_path / "conn" / "06.log.part", b"1\n")
    (tmp_path / "conn" / "06.log").hardlink_to(part)
    assert [leftover.final for leftover in finish_leftovers(pattern, repair_lines)] == [tmp_path / "conn" / "06.log"]
    assert names(tmp_path) == ["conn/06.log"]
    assert not partfile._is_same(tmp_path / "conn" / "06.log", tmp_path / "gone")


def test_nothing_there(tmp_path: Path) -> None:
    """Without the directory there are no leftovers."""
    assert finish_leftovers(PathPattern(f"{tmp_path}/x/%H/%M.log", fields=set()), repair_lines) == []


def test_a_file_that_is_being_written(tmp_path: Path, pattern: PathPattern) -> None:
    """A locked part is reported and not touched, even within one process."""
    file = PartFile.create(tmp_path / "conn" / "06.log")
    file.write([b"1\n2"])
    assert finish_leftovers(pattern, repair_lines) == [Leftover(part=file.path, outcome="locked")]
    file.write([b"\n"])
    final = file.finish()
    assert final
    assert final.read_bytes() == b"1\n2\n"


def test_bad_files_do_not_stop_the_others(tmp_path: Path, pattern: PathPattern) -> None:
    """A directory, a link, a FIFO, a file that cannot be repaired: each is reported and left, the good one finished."""
    (tmp_path / "conn" / "01.log.part").mkdir(parents=True)
    (tmp_path / "conn" / "02.log.part").symlink_to(leave(tmp_path / "target", b"torn"))
    os.mkfifo(tmp_path / "conn" / "03.log.part")
    for hour in ("04", "05", "06"):
        leave(tmp_path / "conn" / f"{hour}.log.part", b"1\n2")

    def repair(part: Path) -> Repair:
        if part.name.startswith("04"):
            raise PermissionError(errno.EACCES, "no permission", str(part))
        if part.name.startswith("05"):
            raise ValueError("not a log")
        return repair_lines(part)

    leftovers = finish_leftovers(pattern, repair)
    assert [leftover.outcome for leftover in leftovers] == ["failed"] * 5 + ["finished"]
    assert [leftover.part.name for leftover in leftovers] == [f"{hour:02}.log.part" for hour in range(1, 7)]
    for leftover, message in zip(
        leftovers, ["not a regular file", "symbolic link", "regular file", "permission", "not a log", ""], strict=True
    ):
        assert message in leftover.error
    assert (tmp_path / "target").read_bytes() == b"torn"
    assert (tmp_path / "conn" / "05.log.part").read_bytes() == b"1\n2"


def test_a_directory_that_cannot_be_read(tmp_path: Path, pattern: PathPattern) -> None:
    """It is reported, and the files in others are found; who asks for no reports gets the error."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    good = leave(tmp_path / "x" / "06.log.part", b"1\n")
    errors: list[OSError] = []
    assert find_parts(pattern, on_error=errors.append) == [good]
    assert [error.errno for error in errors] == [errno.ELOOP]
    with pytest.raises(OSError, match="loop"):
        find_parts(pattern)
    assert [(left.part.name, left.outcome) for left in finish_leftovers(pattern, repair_lines)] == [
        ("loop", "failed"),
        ("06.log.part", "finished"),
    ]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_finished_while_we_look(
    tmp_path: Path, pattern: PathPattern, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """If the writer finishes between our opening and our lock, or even begins anew, its files are let alone."""
    part = leave(tmp_path / "conn" / "06.log.part", b"1\n2")
    flock = fcntl.flock

    def late_flock(fd: int, operation: int) -> None:
        flock(fd, operation)
        part.rename(tmp_path / "conn" / "06.log")
        if replaced:
            leave(part, b"3")

    monkeypatch.setattr(fcntl, "flock", late_flock)
    assert finish_leftovers(pattern, repair_lines) == []
    assert (tmp_path / "conn" / "06.log").read_bytes() == b"1\n2"
    assert part.exists() is replaced


ENDLESS = """
import sys
from pathlib import Path
from appliance.runtime.partfile import PartFile
file = PartFile.create(Path(sys.argv[1]))
number = 0
while True:
    file.write([b"%d\\n" % (number + offset) for offset in range(2000)])
    number += 2000
    print(number, flush=True)
"""


def test_a_killed_writer(tmp_path: Path, pattern: PathPattern) -> None:
    """After SIGKILL in the middle of writing the file is finished with all acknowledged lines, and no torn one."""
    part = tmp_path / "conn" / "06.log.part"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "conn" / "06.log")], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        for _ in range(20):
            acknowledged = int(writer.stdout.readline())
        assert finish_leftovers(pattern, repair_lines) == [Leftover(part=part, outcome="locked")]
        writer.send_signal(signal.SIGKILL)
    with part.open("ab") as file:
        file.write(b"12")  # the kernel finishes a system call that has begun, so the tear is ours
    [leftover] = finish_leftovers(pattern, repair_lines)
    assert leftover.outcome == "finished"
    assert leftover.cut == 2
    assert leftover.final == tmp_path / "conn" / "06.log"
    lines = leftover.final.read_bytes().splitlines()
    assert len(lines) >= acknowledged
    assert lines == [b"%d" % number for number in range(len(lines))]
