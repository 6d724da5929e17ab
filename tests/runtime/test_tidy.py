"""What looks after finished files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import trio

from appliance.runtime import tidy
from appliance.runtime.pattern import PathPattern
from appliance.runtime.tidy import Tidier


async def test_file_named_twice_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever finished it and by a look at the disk at that moment: one attempt, until the next look."""
    file = tmp_path / "a.log"
    file.write_text("x")
    tried: list[Path] = []

    def refuse(path: Path, *, pause: object) -> Path:
        tried.append(path)
        raise OSError("no room")

    monkeypatch.setattr(tidy, "compress", refuse)
    tidier = Tidier(
        PathPattern(f"{tmp_path}/{{path}}.log", fields={"path"}),
        compress="zstd", keep=None, owner={"sink": "s"}, clock_ns=lambda: 0,
    )  # fmt: skip
    for _ in range(3):
        tidier.add(file)
    tidier.end()
    with trio.fail_after(10):
        await tidier.run(trio.CancelScope(deadline=math.inf))
    assert tried == [file]
    assert (tidier.statistics().failed_compressions, file.read_text()) == (1, "x")
