"""The golden logs: what one Zeek wrote of the same capture, as TSV and as JSON."""

from __future__ import annotations

import gzip
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden" / "tsv"
LOGS = sorted({path.name.partition(".")[0] for path in FOLDER.iterdir()})


def golden(log: str, kind: str) -> bytes:
    """The file of a log, of kind ``log`` (TSV) or ``json``."""
    path = FOLDER / f"{log}.{kind}"
    return path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
