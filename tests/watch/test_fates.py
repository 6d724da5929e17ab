"""What becomes of what was handed on: by consumer, across crashes, and what is done with it then."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import trio

from appliance.watch import finish

from .harness import Bench, open_bench, table, wait_until


def crash(bench: Bench, folder: Path) -> Path:
    """What a killed process leaves at this moment, with the same watched folder."""
    (folder / "state").mkdir(parents=True)
    for suffix in ("", "-wal"):
        shutil.copy(f"{bench.keep.path}{suffix}", folder / "state" / f"journal.db{suffix}")
    return folder


async def restart(left: Path, original: Path, **more: object) -> list[str]:
    """What the consumer ``h`` gets in the next life, until it has nothing to do."""
    config = table(original, **more)
    bench = Bench(left, config)
    consumer = bench.add("h", is_durable=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer.run)
        await nursery.start(bench.door.run)
        await bench.wait_over()
        await wait_until(lambda: not consumer.queue.account.queued)
        bench.door.stop()
        nursery.cancel_scope.cancel()
    await bench.journal.aclose(5)
    return consumer.got


async def test_a_crash_loses_no_file_at_any_moment(tmp_path: Path) -> None:
    """Whatever was not remembered comes again, what was settled does not."""
    names = [f"f{n:02d}" for n in range(30)]
    lefts: list[tuple[Path, list[str]]] = []
    async with open_bench(tmp_path, settle_s=30.0) as b:
        for n, name in enumerate(names):
            (b.root / name).write_text(name)
            if n % 5 == 0:
                await wait_until(lambda n=n: len(b.consumers["h"].got) >= n - 4)  # type: ignore[misc]
                lefts.append((crash(b, tmp_path / f"crash{n}"), list(b.consumers["h"].got)))
        await b.wait_got(*names)
    for left, before in lefts:
        after = await restart(left, tmp_path)
        assert sorted({*before, *after}) == names
        assert not set(before[:-1]) & set(after)  # the consumer got the last one when those were settled


async def test_what_waited_in_memory_comes_again_after_a_crash(tmp_path: Path) -> None:
    """A durable consumer that had it gets it twice then: a file has one memory."""
    hooks = {"h": False, "d": True}
    async with open_bench(tmp_path, hooks, judge=lambda _: "hold") as b:
        (b.root / "a").write_text("1")
        await b.wait_got("a")
        await b.wait_got("a", by="d")
        assert b.door.statistics().handed_on == 1
    async with open_bench(tmp_path, hooks) as b:
        await b.wait_got("a")
        await b.wait_over()
    async with open_bench(tmp_path, hooks) as b:
        (b.root / "b").write_text("1")
        await b.wait_got("b")


async def test_a_file_is_deleted_when_everybody_is_done(tmp_path: Path) -> None:
    """Not before; also if the last of them is done in a later life."""
    hooks = {"h": True, "m": False}
    async with open_bench(tmp_path, hooks, judge=lambda _: "hold", on_success="delete") as b:
        (b.root / "a").write_text("1")
        await b.wait_got("a", by="m")
        await b.wait_got("a")
        await b.journal.flush()
        assert (b.root / "a").exists()
    async with open_bench(tmp_path, hooks, on_success="delete") as b:
        await b.wait_got("a")
        await wait_until(lambda: not (b.root / "a").exists())
        await wait_until(lambda: not b.door.statistics().remembered)


async def test_a_file_that_was_replaced_is_not_deleted(tmp_path: Path) -> None:
    """The new one is handed on, and deleted when that one is done."""
    judge = {"a": "hold"}
    async with open_bench(tmp_path, judge=lambda name: judge[name], on_success="delete") as b:
        (b.root / "a").write_text("1")
        await b.wait_got("a")
        (b.root / "a").write_text("another one")
    async with open_bench(tmp_path, on_success="delete") as b:
        await wait_until(lambda: not (b.root / "a").exists())
        await b.wait_got("a", "a")
        assert sorted(item.disk_size for item in b.consumers["h"].items) == [1, 11]


async def test_an_archive_has_the_same_folders(tmp_path: Path) -> None:
    """And takes a further name where one is taken."""
    archive = tmp_path / "archive"
    async with open_bench(tmp_path, on_success="archive", archive=str(archive)) as b:
        for n in range(3):
            (b.root / "sub").mkdir(exist_ok=True)
            (b.root / "sub" / "a.pcap").write_text(str(n))
            await b.wait_got(*["sub/a.pcap"] * (n + 1))
            await wait_until(lambda: not (b.root / "sub" / "a.pcap").exists())
    found = {path.name: path.read_text() for path in (archive / "sub").iterdir()}
    assert found == {"a.pcap": "0", "a.1.pcap": "1", "a.2.pcap": "2"}


async def test_an_archive_may_be_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file appears there whole, and is gone here then."""
    archive = tmp_path / "archive"
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.is_relative_to(tmp_path / "in"):
            raise OSError(errno.EXDEV, "another disk")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    async with open_bench(tmp_path, on_success="archive", archive=str(archive)) as b:
        (b.root / "a").write_text("1")
        await wait_until(lambda: not (b.root / "a").exists())
    assert {path.name: path.read_text() for path in archive.iterdir()} == {"a": "1"}


async def test_a_disk_that_says_no_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next look; the file stays where it is."""
    delete, failures = finish.delete, [OSError(errno.EROFS, "read-only")]

    def failing(*args: object) -> None:
        if failures:
            raise failures.pop()
        delete(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(finish, "delete", failing)
    async with open_bench(tmp_path, on_success="delete") as b:
        (b.root / "a").write_text("1")
        await wait_until(lambda: not failures)
        assert (b.root / "a").exists()
        b.door.apply(b.door.config)  # looks
        await wait_until(lambda: not (b.root / "a").exists())


@pytest.mark.parametrize("is_durable", [True, False])
async def test_poison_is_parked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_durable: bool) -> None:
    """After so many attempts: the hook's own, or those of the watch if the hook's queue is in memory."""
    monkeypatch.setattr("appliance.runtime.backoff.Backoff.next_s", lambda self: 0.01)
    failed = tmp_path / "failed"
    judge = lambda name: "bad" if name == "bad" else "good"  # noqa: E731 - a table in one line
    async with open_bench(tmp_path, {"h": is_durable}, judge, on_success="delete", attempts=2) as b:
        (b.root / "bad").write_text("1")
        (b.root / "good").write_text("1")
        await b.wait_got("bad", "bad", "good")
        await wait_until(lambda: not (b.root / "good").exists())
        assert b.door.statistics().failed == ("bad",)
    async with open_bench(tmp_path, {"h": is_durable}, judge, failed=str(failed)) as b:
        await wait_until((failed / "bad").exists)
        assert not (b.root / "bad").exists()
        assert b.consumers["h"].got == []
        await wait_until(lambda: b.door.statistics().failed == ())


async def test_what_a_disk_refused_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's disk was full for a moment: the file is still in its folder."""
    monkeypatch.setattr("appliance.runtime.backoff.Backoff.next_s", lambda self: 0.01)
    async with open_bench(tmp_path) as b:
        commit, failures = b.keep.commit, [OSError(errno.ENOSPC, "full")]

        def failing(*args: object, **more: object) -> None:
            if failures and getattr(args[0], "chunks", None):
                raise failures.pop()
            commit(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(b.keep, "commit", failing)
        (b.root / "a").write_text("1")
        await b.wait_got("a")
        assert b.consumers["h"].queue.account.dropped == {"disk": 1}
        await b.wait_over()
        assert b.door.statistics().remembered == 1
