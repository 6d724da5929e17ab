"""What a recorder says is missing, read from its directory."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.extract.gaps import SILENCE_NS
from appliance.extract.gaps import read_gaps as read_gaps_at
from appliance.runtime.packets import Gap

KERNEL = b'{"from_ns":10,"to_ns":20,"reason":"kernel","packets":7,"bytes":null}\n'
DOWN = b'{"from_ns":30,"to_ns":40,"reason":"down"}\n'


def read_gaps(directory: Path, recorder: str | None, *, from_ns: int, to_ns: int) -> list[Gap]:
    """While the recorder runs."""
    return read_gaps_at(directory, recorder, from_ns=from_ns, to_ns=to_ns, now_ns=0)


def test_gaps_of_a_time(tmp_path: Path) -> None:
    """Those that touch it, at either end."""
    (tmp_path / "edge.gaps.jsonl").write_bytes(KERNEL + DOWN)
    first, second = Gap(10, 20, "kernel", 7, None), Gap(30, 40, "down")
    assert read_gaps(tmp_path, "edge", from_ns=0, to_ns=9) == []
    assert read_gaps(tmp_path, "edge", from_ns=20, to_ns=29) == [first]
    assert read_gaps(tmp_path, "edge", from_ns=20, to_ns=30) == [first, second]


def test_lines_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    """The others are read."""
    bad = b'\xff\n[]\n\n{"from_ns":"x"}\n'
    (tmp_path / "edge.gaps.jsonl").write_bytes(KERNEL + bad + DOWN + KERNEL[:20])
    assert len(read_gaps(tmp_path, "edge", from_ns=0, to_ns=99)) == 2


def test_gaps_of_one_recorder_or_of_all(tmp_path: Path) -> None:
    """No file: nothing is known to be missing."""
    (tmp_path / "edge.gaps.jsonl").write_bytes(KERNEL)
    (tmp_path / "core.gaps.jsonl").write_bytes(DOWN)
    assert [gap.reason for gap in read_gaps(tmp_path, "edge", from_ns=0, to_ns=99)] == ["kernel"]
    assert [gap.reason for gap in read_gaps(tmp_path, None, from_ns=0, to_ns=99)] == ["down", "kernel"]
    assert read_gaps(tmp_path, "other", from_ns=0, to_ns=99) == []


def test_nobody_recorded_since_the_file_was_touched(tmp_path: Path) -> None:
    """Unless that was just now; of a time in the future nothing is missing yet."""
    path = tmp_path / "edge.gaps.jsonl"
    path.write_bytes(b"")
    touched_ns = 10**18
    os.utime(path, ns=(touched_ns, touched_ns))

    def missing(from_ns: int, to_ns: int, now_ns: int) -> list[Gap]:
        return read_gaps_at(tmp_path, "edge", from_ns=from_ns, to_ns=to_ns, now_ns=now_ns)

    late_ns = touched_ns + SILENCE_NS + 1
    assert missing(0, 1 << 62, late_ns - 1) == []
    assert missing(0, 1 << 62, late_ns) == [Gap(touched_ns, late_ns, "stopped")]
    assert missing(touched_ns + 5, touched_ns + 9, late_ns) == [Gap(touched_ns + 5, touched_ns + 9, "stopped")]
    assert missing(0, touched_ns, late_ns) == []
    assert missing(late_ns + 1, 1 << 62, late_ns) == []
