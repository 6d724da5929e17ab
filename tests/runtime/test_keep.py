"""Retention: the oldest go, exactly enough, and never anything that is not a finished file of the pattern."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config import Duration, Keep, Size
from appliance.runtime.keep import Finished, Retention, find_finished
from appliance.runtime.pattern import PathPattern

S = 10**9
NOW_NS = 1_700_000_000 * S


def pattern_for(folder: Path, path: str = "{path}/%H.log") -> PathPattern:
    return PathPattern(f"{folder}/{path}", fields=frozenset({"path", "node", "source"}))


def fail(exc: OSError) -> None:
    raise exc


def retention(
    folder: Path, *, size: int | None = None, age_s: int | None = None, path: str = "{path}/%H.log"
) -> Retention:
    keep = Keep(size=None if size is None else Size(size), age=None if age_s is None else Duration(age_s * S))
    return Retention(keep, pattern_for(folder, path), on_error=fail)


def make(folder: Path, name: str, *, size: int = 10, age_s: int = 0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, ns=(0, NOW_NS - age_s * S))
    return path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_oldest_go_exactly_enough(tmp_path: Path) -> None:
    """By their time, not by their name; what remains is not more than the size."""
    for hour, age_s in (("01", 10), ("02", 40), ("03", 20), ("04", 30)):
        make(tmp_path, f"conn/{hour}.log", age_s=age_s)
    kept = retention(tmp_path, size=25)
    kept.apply(NOW_NS)
    assert names(tmp_path) == {"conn", "conn/01.log", "conn/03.log"}
    assert (kept.deleted_files, kept.deleted_bytes) == (2, 20)


def test_size_that_is_just_reached_is_kept(tmp_path: Path) -> None:
    """A byte less is too much by a file."""
    for hour in ("01", "02"):
        make(tmp_path, f"conn/{hour}.log")
    retention(tmp_path, size=20).apply(NOW_NS)
    assert len(names(tmp_path)) == 3
    retention(tmp_path, size=19).apply(NOW_NS)
    assert names(tmp_path) == {"conn", "conn/02.log"}


@settings(deadline=None)  # disks
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=8), st.integers(0, 100), st.integers(1, 9))
def test_as_few_as_possible(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int]], size: int, age_s: int
) -> None:
    """What remains are the youngest whose sum fits, without those that are too old."""
    folder = tmp_path_factory.mktemp("k")
    found = []
    for number, (length, age) in enumerate(files):
        path = make(folder, f"p/{number:02}.log", size=length, age_s=age)
        found.append(Finished(NOW_NS - age * S, str(path), length))
    retention(folder, size=size, age_s=age_s).apply(NOW_NS)
    left = sorted(file for file in found if NOW_NS - file.mtime_ns < age_s * S)
    while sum(file.size for file in left) > size:
        left.pop(0)
    assert set(folder.rglob("*.log")) == {Path(file.path) for file in left}


def test_age_counts_from_completion(tmp_path: Path) -> None:
    """At its age a file goes."""
    make(tmp_path, "conn/01.log", age_s=60)
    make(tmp_path, "conn/02.log", age_s=59)
    retention(tmp_path, age_s=60).apply(NOW_NS)
    assert names(tmp_path) == {"conn", "conn/02.log"}


FOREIGN = [
    "conn/22.log.part",
    "conn/22.log.zst.part",
    "conn/22.txt",
    "conn/22.log.gz",
    "conn/notes",
    "conn/22.log/x.log",
    "conn/deep/22.log",
    "22.log",
    ".hidden/22.log",
]


def test_only_finished_files_of_the_pattern_go(tmp_path: Path) -> None:
    """Everything else stays, however old and large."""
    for name in FOREIGN[:5] + FOREIGN[6:]:
        make(tmp_path, name, size=1000, age_s=10**6)
    for name in ("conn/21.log", "conn/21-3.log", "conn/20.log.zst", "dns/20-1.log.zst"):
        make(tmp_path, name, age_s=10**6)
    retention(tmp_path, size=0, age_s=1).apply(NOW_NS)
    assert {path for path in names(tmp_path) if (tmp_path / path).is_file()} == set(FOREIGN[:5] + FOREIGN[6:])


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to folders nor to files, in or out of the root."""
    logs, outside = tmp_path / "logs", tmp_path / "outside"
    target = make(outside, "22.log", age_s=10**6)
    inside = make(logs, "other/deeper/22.log", age_s=10**6)
    (logs / "conn").symlink_to(outside)
    (logs / "dns").symlink_to(inside.parent)
    (logs / "http").mkdir()
    (logs / "http/22.log").symlink_to(target)
    retention(logs, size=0, age_s=1).apply(NOW_NS)
    assert target.exists()
    assert inside.exists()
    assert (logs / "http/22.log").is_symlink()
    assert find_finished(pattern_for(logs), on_error=fail) == []


def test_empty_folders_of_the_pattern_go(tmp_path: Path) -> None:
    """Those that the removal has emptied; not the root, not one that was empty before, not one with anything in it."""
    root = tmp_path / "logs"
    for name in ("w1/conn/22.log", "w1/dns/22.log", "w2/conn/22.log"):
        make(root, name, age_s=100)
    make(root, "w2/conn/mine")
    (root / "w3/conn").mkdir(parents=True)
    retention(root, age_s=1, path="{node}/{path}/%H.log").apply(NOW_NS)
    assert names(root) == {"w2", "w2/conn", "w2/conn/mine", "w3", "w3/conn"}
    (root / "w2/conn/mine").unlink()
    make(root, "w2/conn/22.log", age_s=100)
    retention(root, age_s=1, path="{node}/{path}/%H.log").apply(NOW_NS)
    assert names(root) == {"w3", "w3/conn"}
    make(root, "22.log", age_s=100)
    retention(root, age_s=1, path="%H.log").apply(NOW_NS)
    assert root.is_dir()


def test_what_others_removed_costs_nothing(tmp_path: Path) -> None:
    """The bound that is kept between two looks errs to the high side, and then the disk decides."""
    kept = retention(tmp_path, size=25)
    for hour, age_s in (("01", 30), ("02", 20)):
        kept.add(make(tmp_path, f"conn/{hour}.log", age_s=age_s))
    kept.apply(NOW_NS)
    (tmp_path / "conn/02.log").unlink()
    kept.add(make(tmp_path, "conn/03.log"))
    kept.add(tmp_path / "conn/04.log")
    kept.apply(NOW_NS)
    assert names(tmp_path) == {"conn", "conn/01.log", "conn/03.log"}
    kept.enforce(
        [Finished(1, str(tmp_path / "conn/00.log"), 100), *find_finished(pattern_for(tmp_path), on_error=fail)], NOW_NS
    )
    assert names(tmp_path) == {"conn", "conn/01.log", "conn/03.log"}


def test_folder_that_cannot_be_read_or_changed_is_told(tmp_path: Path) -> None:
    """And costs no other file."""
    make(tmp_path, "conn/22.log", age_s=100)
    told: list[OSError] = []
    kept = Retention(Keep(age=Duration(S)), pattern_for(tmp_path), on_error=told.append)
    directory = tmp_path / "dns/22.log"
    directory.mkdir(parents=True)
    kept.enforce([Finished(1, str(directory), 1), *find_finished(pattern_for(tmp_path), on_error=told.append)], NOW_NS)
    assert isinstance(told[0], IsADirectoryError)
    assert kept.deleted_files == 1
    assert names(tmp_path) == {"dns", "dns/22.log"}


def test_limits_that_are_not_set_keep_everything(tmp_path: Path) -> None:
    """`keep` may name one of them, or none."""
    make(tmp_path, "conn/22.log", size=10**6, age_s=10**9)
    retention(tmp_path).apply(NOW_NS)
    assert "conn/22.log" in names(tmp_path)
