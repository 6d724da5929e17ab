"""Writes the defaults of the cluster framework's options into docs/cluster.md."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from appliance.zeek.cluster_options import NAMES, FrameworkName, default_of
from appliance.zeek.topics import Backend
from appliance.zeek.version import parse_version

DOCUMENT = Path(__file__).parents[1] / "docs" / "cluster.md"
BEGIN, END = "<!-- by packaging/make_options.py -->\n", "<!-- end -->\n"
VERSIONS = (
    "2.6", "3.0", "3.1", "3.2", "4.0", "4.1", "5.0", "6.0", "6.1", "6.2", "7.0", "7.1", "7.2", "8.0", "8.1", "8.2",
    "9.0",
)  # fmt: skip


def _values(option: FrameworkName, backend: Backend) -> str:
    """Each default with the first version that has it."""
    versions = [each for each in VERSIONS if option.exists_in(parse_version(each))]
    if backend == "zeromq":
        versions = [each for each in versions if parse_version(each) >= (7, 1)]
    found = [(default_of(option.name, parse_version(each), backend), each) for each in versions]
    told = [(value, next(group)[1]) for value, group in groupby(found, key=lambda each: each[0])]
    return "; ".join(f"`{value}`" + (f" from {since}" if number else "") for number, (value, since) in enumerate(told))


def make_list() -> str:
    """A table of every option."""
    lines = ["| Option | Default | With ZeroMQ, if it is another |", "|---|---|---|"]
    for option in NAMES:
        if option.kind != "option":
            continue
        zeromq = _values(option, "zeromq")
        broker = _values(option, "broker") if option.backend is None else zeromq
        is_other = not broker.endswith(zeromq)
        name = option.name.removeprefix("Cluster::")
        lines.append(f"| `{name}` | {broker} | {zeromq if is_other else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{mark}\n{make_list()}\n{end}{after}")
