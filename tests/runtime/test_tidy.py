"""What looks after finished files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.runtime import tidy
from appliance.runtime.keep import Finished, find_finished
from appliance.runtime.pattern import PathPattern
from appliance.runtime.tidy import Tidier


def make_tidier(folder: Path) -> Tidier:
    return Tidier(
        PathPattern(f"{folder}/{{path}}.log", fields={"path"}),
        compress="zstd", keep=None, owner={"sink": "s"}, clock_ns=lambda: 0,
    )  # fmt: skip


async def test_file_named_twice_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever finished it and by a look at the disk at that moment: one attempt, until the next look."""
    file = tmp_path / "a.log"
    file.write_text("x")
    tried: list[Path] = []

    def refuse(path: Path, *, pause: object) -> Path:
        tried.append(path)
        raise OSError("no room")

    monkeypatch.setattr(tidy, "compress", refuse)
    tidier = make_tidier(tmp_path)
    for _ in range(3):
        tidier.add(file)
    tidier.end()
    with trio.fail_after(10):
        await tidier.run(trio.CancelScope(deadline=math.inf))
    assert tried == [file]
    assert (tidier.statistics().failed_compressions, file.read_text()) == (1, "x")


async def test_slow_disk_does_not_keep_files_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """Looking takes longer than the time between two looks; what was found is compressed all the same."""
    for name in "ab":
        (tmp_path / f"{name}.log").write_text("x")
    looks: list[None] = []

    def find_slowly(*args: Any, **keywords: Any) -> list[Finished]:
        looks.append(trio.from_thread.run_sync(mock_clock.jump, tidy.LOOK_EVERY_S * 2))
        assert len(looks) < 10, "nothing but looking"
        return find_finished(*args, **keywords)

    monkeypatch.setattr(tidy, "find_finished", find_slowly)
    tidier = make_tidier(tmp_path)
    tidier.end()
    await tidier.run(trio.CancelScope(deadline=math.inf))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log.zst", "b.log.zst"]
