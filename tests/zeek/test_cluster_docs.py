"""What docs/cluster.md says about the names of the cluster framework."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from appliance.config.planned import KEYS, TABLES, VALUES
from appliance.zeek.cluster_options import NAMES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cluster.md").read_text()


def rows() -> list[tuple[list[str], str, str, str]]:
    """Names, kind, versions and text of each row."""
    _, _, rest = TEXT.partition("| Name | Kind |")
    lines = [line for line in rest.splitlines()[2:] if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(re.findall(r"`([^`]+)`", names), *others) for names, *others in cells if len(others) == 3]  # type: ignore[misc]


def test_every_name_has_one_row_and_no_row_has_another_name() -> None:
    """Kind and versions are those of the code."""
    found = {f"Cluster::{name}": (kind, versions) for names, kind, versions, _ in rows() for name in names}
    expected = {
        each.name: (
            each.kind,
            ", until ".join(f"{major}.{minor}" for major, minor in filter(None, (each.since, each.until))),
        )
        for each in NAMES
    }
    assert found == expected
    assert sum(len(names) for names, *_ in rows()) == len(NAMES)


def test_every_option_has_its_defaults() -> None:
    """By version and backend, as packaging/make_options.py writes them."""
    code = "import sys; sys.path.insert(0, 'packaging'); import make_options as m; print(m.make_list(), end='')"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| `retry_interval` | `1min`; `1sec` from 7.2 |" in made.stdout
    assert made.stdout in TEXT, "run packaging/make_options.py"


def test_only_what_the_configuration_refuses_is_said_to_be_refused() -> None:
    """A row that says "refused" names something that is; once it is not, the row must change."""
    refused = {key for keys in KEYS.values() for key in keys} | set(TABLES.values())
    refused |= {value for values in VALUES.values() for value in values}
    refused |= {"[cluster.topics]", "[cluster.nodes.NAME]"}  # by their keys
    for names, _, _, text in rows():
        if "refused" in text:
            told = re.findall(r"`([^`]+)`", text)
            assert any(name in refused for name in told) or any(name in refused for name in names), text
