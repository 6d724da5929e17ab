"""Files: handed on once, when they are finished, and never lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.typing import EventDict

from appliance.model import FileReady
from appliance.watch import door as door_module
from appliance.watch import inotify

from .harness import Bench, open_bench, table, wait_until

LONG: dict[str, Any] = {"settle_s": 30.0}
"""Only what is said to be finished is ready in such a test."""


async def test_a_file_is_ready_when_it_is_closed_or_renamed(tmp_path: Path) -> None:
    """With where it is and what it weighs; what is hidden, unfinished or of another name never is."""
    async with open_bench(tmp_path, match=("*.pcap",), **LONG) as b:
        (b.root / "closed.pcap").write_bytes(b"12345")
        (b.root / ".hidden.pcap").write_bytes(b"12345")
        (b.root / "x.pcap.part").write_bytes(b"123")
        (b.root / "notes.txt").write_bytes(b"123")
        (b.root / "x.pcap.part").rename(b.root / "renamed.pcap")
        (b.root / "link.pcap").symlink_to(b.root / "notes.txt")
        await b.wait_got("closed.pcap", "renamed.pcap")
        item = next(each for each in b.consumers["h"].items if each.relative == "closed.pcap")
        status = (b.root / "closed.pcap").stat()
        assert item == FileReady(
            watch="w", source="watch.w", path=str(b.root / "closed.pcap"), relative="closed.pcap", disk_size=5,
            mtime_ns=status.st_mtime_ns, inode=status.st_ino,
        )  # fmt: skip


async def test_a_file_that_is_open_is_ready_when_it_settles(tmp_path: Path) -> None:
    """And not while it is written; an empty one that is closed is a name that somebody reserved, and settles, too."""
    async with open_bench(tmp_path) as b:
        with (b.root / "a.pcap").open("wb", buffering=0) as file:
            for _ in range(10):
                file.write(b"x" * 100)
                await trio.sleep(0.03)
            (b.root / "empty").touch()
            await b.wait_got("a.pcap", "empty")
        sizes = {item.relative: item.disk_size for item in b.consumers["h"].items}
        assert sizes == {"a.pcap": 1000, "empty": 0}


async def test_what_is_there_at_the_start_is_handed_on_once(tmp_path: Path) -> None:
    """And not again after a restart, but for what was changed since."""
    for name in ("a", "sub/b", "sub/deep/c", ".hidden/d"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    async with open_bench(tmp_path) as b:
        await b.wait_got("a", "sub/b", "sub/deep/c")
        await b.wait_over()
    (tmp_path / "in" / "a").write_text("changed")
    (tmp_path / "in" / "new").write_text("new")
    async with open_bench(tmp_path) as b:
        await b.wait_got("a", "new")
        assert b.door.statistics().remembered == 4


async def test_folders_that_appear_are_looked_into(tmp_path: Path) -> None:
    """However fast files come into them, and wherever they were before; only if that is wanted."""
    outside = tmp_path / "outside"
    (outside / "x").mkdir(parents=True)
    (outside / "x" / "moved").write_text("1")
    async with open_bench(tmp_path) as b:
        expected = ["x/moved"]
        outside.joinpath("x").rename(b.root / "x")
        for n in range(50):
            folder = b.root / f"d{n}" / "e"
            folder.mkdir(parents=True)
            (folder / "f").write_text("1")
            expected.append(f"d{n}/e/f")
        await b.wait_got(*expected)
        (b.root / "x").rename(outside / "x")
        (outside / "x" / "unseen").write_text("1")
        (b.root / "d7" / "late").write_text("1")
        await b.wait_got(*expected, "d7/late")
    async with open_bench(tmp_path, recursive=False) as b:
        (b.root / "d7" / "later").write_text("1")
        (b.root / "flat").write_text("1")
        await b.wait_got("flat")


async def test_a_file_that_is_replaced_is_handed_on_again(tmp_path: Path) -> None:
    """It is another one, under the same name."""
    async with open_bench(tmp_path, **LONG) as b:
        for n in range(3):
            (b.root / "x.part").write_text("same size")
            (b.root / "x.part").rename(b.root / "x")
            await b.wait_got(*["x"] * (n + 1))
            await b.wait_over()
        assert b.door.statistics().remembered == 1


async def test_what_is_deleted_is_forgotten(tmp_path: Path) -> None:
    """The memory holds what is in the folder, not what ever was; also of what vanished while nobody looked."""
    async with open_bench(tmp_path, **LONG) as b:
        for name in "abc":
            (b.root / name).write_text("1")
        await b.wait_got("a", "b", "c")
        await b.wait_over()
        (b.root / "a").unlink()
        await wait_until(lambda: b.door.statistics().remembered == 2)
    (tmp_path / "in" / "b").unlink()
    async with open_bench(tmp_path, **LONG) as b:
        assert b.door.statistics().remembered == 1


async def test_another_disk_makes_nothing_forgotten(tmp_path: Path) -> None:
    """An empty folder in the place of the one that was there may be one where nothing is mounted."""
    root = tmp_path / "in"
    async with open_bench(tmp_path) as b:
        (root / "a").write_text("1")
        await b.wait_got("a")
        await b.wait_over()
    root.rename(tmp_path / "unmounted")
    async with open_bench(tmp_path) as b:
        assert b.door.statistics().remembered == 1
    root.rmdir()
    (tmp_path / "unmounted").rename(root)
    async with open_bench(tmp_path) as b:
        (root / "b").write_text("1")
        await b.wait_got("b")


async def test_events_that_were_lost_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel says that its queue was full, everything is looked at."""
    async with open_bench(tmp_path) as b:
        parse = inotify.FolderEvents._parse

        def lose(events: inotify.FolderEvents, block: bytes, found: list[inotify.Happened]) -> None:
            parse(events, inotify._EVENT.pack(-1, inotify._OVERFLOW, 0, 0), found)

        monkeypatch.setattr(inotify.FolderEvents, "_parse", lose)
        (b.root / "a").write_text("1")
        await b.wait_got("a")


async def test_without_the_kernel_the_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system; and the figures say so."""
    monkeypatch.setattr(inotify.FolderEvents, "open", lambda self, top: None)
    monkeypatch.setattr(door_module, "BLIND_POLL_S", 0.02)
    async with open_bench(tmp_path) as b:
        assert not b.door.statistics().is_told
        (b.root / "sub").mkdir()
        (b.root / "sub" / "a").write_text("1")
        await b.wait_got("sub/a")


async def test_a_folder_may_come_later_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with it is told."""
    monkeypatch.setattr(door_module, "BLIND_POLL_S", 0.02)
    async with open_bench(tmp_path, **LONG) as b:
        ways: list[Callable[[], object]] = [b.root.rmdir, partial(b.root.rename, tmp_path / "moved")]
        for n, leave in enumerate(ways):
            await wait_until(lambda: b.door.statistics().is_told and not b.door.statistics().troubles)
            leave()
            await wait_until(lambda: bool(b.door.statistics().troubles))
            assert "No such file" in b.door.statistics().troubles[0]
            b.root.mkdir()
            await wait_until(lambda: b.door.statistics().is_told and not b.door.statistics().troubles)
            (b.root / f"a{n}").write_text("1")
            await b.wait_got(*["a0", "a1"][: n + 1])
            (b.root / f"a{n}").unlink()


async def test_names_are_any_bytes(tmp_path: Path) -> None:
    """Also such as are not UTF-8, and in what is remembered."""
    name = os.fsdecode(b"caf\xe9.pcap")
    async with open_bench(tmp_path) as b:
        (b.root / name).write_bytes(b"1")
        await b.wait_got(name)
        await b.wait_over()
    async with open_bench(tmp_path) as b:
        (b.root / "b").write_bytes(b"1")
        await b.wait_got("b")


async def test_a_full_queue_keeps_files_waiting(tmp_path: Path) -> None:
    """Where they lie; nothing is dropped, whatever the policy."""
    names = [f"f{n}" for n in range(40)]
    async with open_bench(tmp_path, {"a": True}) as b:
        slow = b.add("h", is_durable=False, size=3)
        for name in names:
            (b.root / name).write_text("1")
        await b.wait_got(*names[:0])
        await wait_until(lambda: b.door.statistics().ready >= 37)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.run)
            await b.wait_got(*names)
            await b.wait_got(*names, by="a")
            nursery.cancel_scope.cancel()
        assert slow.queue.account.dropped == {}


async def test_nobody_is_asked_for_who_does_not_want_it(tmp_path: Path, told: list[EventDict]) -> None:
    """Files wait for somebody who does."""
    async with open_bench(tmp_path) as b:
        b.dispatcher.unsubscribe("hook.h")
        (b.root / "a").write_text("1")
        await wait_until(lambda: b.door.statistics().ready == 1)
        assert b.account.received == 0
        b.dispatcher.subscribe("hook.h", b.consumers["h"].queue, on=("file:w",), sources=("watch.*",))
        assert b.door.apply(b.door.config)
        await b.wait_got("a")


def test_another_folder_needs_another_door(tmp_path: Path) -> None:
    """So does another kind of thing; other keys are taken over."""
    config = table(tmp_path)
    door = Bench(tmp_path, config).door
    assert door.apply(msgspec.structs.replace(config, match=("*.x",)))
    assert not door.apply(msgspec.structs.replace(config, directory="/other"))
    assert not door.apply(msgspec.structs.replace(config, what="folders"))
