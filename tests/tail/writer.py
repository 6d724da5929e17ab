"""A process that writes logs as fast as it can and rotates them, as Zeek does: ``python -m tests.tail.writer``.

The last line of its output says how many records it wrote.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from .harness import header, rows, tsv


def write(folder: Path, *, seconds: float, every_s: float, kind: str, block: int) -> int:
    """Write ``conn.log`` for so long, `block` records for each system call, and rename it `every_s`."""
    path, written, rotations = folder / "conn.log", 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        if kind == "tsv":
            os.write(fd, header())
        due = time.monotonic() + every_s
        while time.monotonic() < due:
            numbers = range(written, written + block)
            data = tsv(*numbers) if kind == "tsv" else rows(*numbers)
            while data:
                data = data[os.write(fd, data) :]
            written += block
        if kind == "tsv":
            os.write(fd, b"#close\t2026-11-21-02-24-13\n")
        os.close(fd)
        rotations += 1
        path.rename(folder / f"conn.2026-11-21-02-{rotations // 60:02}-{rotations % 60:02}.log")
    return written


if __name__ == "__main__":
    print(
        write(
            Path(sys.argv[1]),
            seconds=float(sys.argv[2]),
            every_s=float(sys.argv[3]),
            kind=sys.argv[4],
            block=int(sys.argv[5]),
        )
    )
