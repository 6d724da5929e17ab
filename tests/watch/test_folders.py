"""Folders as items: complete when they are renamed into place, marked, or do not change any more."""

from __future__ import annotations

from pathlib import Path

import trio

from .harness import open_bench, wait_until


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or ("conn.log", "http.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("12345")
    return folder


async def test_a_folder_that_is_renamed_is_ready(tmp_path: Path) -> None:
    """At once, with what is in it counted at any depth."""
    async with open_bench(tmp_path, what="folders", settle_s=30.0) as b:
        fill(b.root / ".run.part", "conn.log", "extract_files/x").rename(b.root / "run")
        await b.wait_got("run")
        (item,) = b.consumers["h"].items
        assert (item.kind, item.path) == ("folder", str(b.root / "run"))
        assert (item.disk_size, getattr(item, "files", 0)) == (10, 2)


async def test_a_folder_is_ready_when_nothing_in_it_changes(tmp_path: Path) -> None:
    """However deep; one without a file is none."""
    async with open_bench(tmp_path, what="folders", settle_s=0.2) as b:
        (b.root / "empty").mkdir()
        for n in range(10):
            fill(b.root / "run", f"conn.log.{n}", f"deep/x/{n}")
            await trio.sleep(0.04)
        await b.wait_got("run")
        assert [getattr(item, "files", 0) for item in b.consumers["h"].items] == [20]
        fill(b.root / "empty", "conn.log")
        await b.wait_got("run", "empty")


async def test_what_hooks_write_into_a_folder_makes_it_no_new_one(tmp_path: Path) -> None:
    """Nor does it after a restart; one that is made anew under the name is another."""
    async with open_bench(tmp_path, what="folders") as b:
        fill(b.root / "run")
        await b.wait_got("run")
        fill(b.root / "run", "report.txt")
        await b.wait_over()
    async with open_bench(tmp_path, what="folders") as b:
        fill(b.root / "run", "more.txt")
        fill(b.root / "other")
        await b.wait_got("other")
        (b.root / "run").rename(tmp_path / "gone")
        fill(b.root / "run")
        await b.wait_got("other", "run")


async def test_a_marker_says_that_a_folder_is_finished(tmp_path: Path) -> None:
    """And nothing else does."""
    async with open_bench(tmp_path, what="folders", marker="DONE", settle_s=0.05) as b:
        fill(tmp_path / "elsewhere").rename(b.root / "moved")
        fill(b.root / "run")
        fill(b.root / "ready", "conn.log", "DONE")
        await b.wait_got("ready")
        await trio.sleep(0.2)
        assert b.door.statistics().unfinished == 2
        fill(b.root / "run", "DONE")
        await b.wait_got("ready", "run")


async def test_folders_of_folders(tmp_path: Path) -> None:
    """An item is what holds a file itself, with all that is in it. Without `recursive` only the first level counts."""
    fill(tmp_path / "in" / "2026-11-21" / "run1", "conn.log", "extract_files/x")
    fill(tmp_path / "in" / "2026-11-21" / "run2")
    fill(tmp_path / "in" / "top")
    async with open_bench(tmp_path, what="folders") as b:
        await b.wait_got("2026-11-21/run1", "2026-11-21/run2", "top")
        fill(b.root / "2026-11-22" / "run3")
        await b.wait_got("2026-11-21/run1", "2026-11-21/run2", "top", "2026-11-22/run3")
    async with open_bench(tmp_path, what="folders", recursive=False, match=("t*",)) as b:
        fill(b.root / "2026-11-22" / "run4")
        (b.root / "two").mkdir()
        await trio.sleep(0.1)
        fill(b.root / "two")
        await b.wait_got("two")


async def test_a_folder_that_everybody_is_done_with_is_deleted(tmp_path: Path) -> None:
    """With all that is in it; or moved."""
    async with open_bench(tmp_path, what="folders", on_success="delete") as b:
        fill(b.root / "run", "conn.log", "deep/x")
        await wait_until(lambda: bool(b.consumers["h"].got) and not (b.root / "run").exists())
    async with open_bench(tmp_path, what="folders", on_success="archive", archive=str(tmp_path / "old")) as b:
        fill(b.root / "run", "conn.log", "deep/x")
        await wait_until((tmp_path / "old" / "run" / "deep" / "x").exists)
        await wait_until(lambda: not (b.root / "run").exists())
