"""What the package's source says of its structs of figures."""

from __future__ import annotations

import ast
from pathlib import Path

from appliance.metrics.names import TABLES

PACKAGE = Path(__file__).parents[1] / "appliance"
NO_METRICS = {
    "extract.IndexFigures": "of a file, for the command line",
    "capture.SocketFigures": "its numbers are added up in CaptureFigures",
    "runtime.LetterFigures": "the journal's are in JournalFigures",
    "runtime.HistogramFigures": "a metric of its own kind",
}
"""Structs that need no table, and why."""


def figures() -> dict[str, list[str]]:
    """Every struct of figures in the package, and what else has a table of metrics → its fields."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef):
                continue
            name = f"{room}.{node.name}"
            if name in TABLES or (node.name.endswith("Figures") and name not in NO_METRICS):
                lines = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
                found[name] = [target.id for target in lines if isinstance(target, ast.Name)]
    return found
