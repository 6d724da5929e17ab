"""Writes the list of metrics into docs/metrics.md."""

from __future__ import annotations

from pathlib import Path

from appliance.metrics.names import all_metrics, labels_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
MARK = "<!-- from here on by packaging/make_metrics.py -->\n"


def make_list() -> str:
    """A table of every metric."""
    labels = labels_of()
    lines = ["| Metric | Type | Labels | What it is |", "|---|---|---|---|"]
    for metric in all_metrics():
        own = ", ".join(f"`{label}`" for label in labels[metric.name])
        lines.append(f"| `{metric.name}` | {metric.kind} | {own} | {metric.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text, mark, _ = DOCUMENT.read_text().partition(MARK)
    DOCUMENT.write_text(f"{text}{mark}\n{make_list()}")
