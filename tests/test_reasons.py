"""Every reason for a drop has a kind, and an entry in the documentation that says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.runtime.reasons import DELIBERATE, LOST, REFUSED
from appliance.wire.session import IgnoreReason

ROOT = Path(__file__).parents[1]
KINDS = {"Filtered": DELIBERATE, "Refused": REFUSED, "Lost": LOST}
WORD = re.compile(r"[a-z]+(_[a-z]+)*")
BOOKING = frozenset({"drop", "_drop", "refuse", "_refuse", "abandon", "Refused", "Failure", "Ignored"})
"""Whatever is called so gets a reason as its first argument, or by that name."""


def words_in(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may be: of both branches, but not what it is looked up by."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from words_in(node.body)
        yield from words_in(node.orelse)
    elif isinstance(node, ast.BoolOp | ast.Tuple):
        for value in node.values if isinstance(node, ast.BoolOp) else node.elts:
            yield from words_in(value)


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """What the code books, as far as it is written where it is booked or has the name of a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in BOOKING:
                for value in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "reason")]:
                    yield from words_in(value)
        elif isinstance(node, ast.Subscript):
            if ast.unparse(node.value) == "reading.refused":
                yield from words_in(node.slice)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id in ("reason", "REFUSALS") for t in targets):
                yield from words_in(node.value)


def sources() -> Iterator[Path]:
    """Where there is a ledger: the rooms that read configurations and talk to people have none."""
    folder = ROOT / "appliance"
    rooms = {"ait", "cli", "config"}
    found = (path for path in sorted(folder.rglob("*.py")) if path.relative_to(folder).parts[0] not in rooms)
    return (path for path in found if path.name != "reasons.py")


def test_every_reason_that_is_booked_has_a_kind() -> None:
    """One that has none would be a loss without an explanation."""
    found = {reason for path in sources() for reason in reasons_in(ast.parse(path.read_text()))}
    found |= {str(reason) for reason in IgnoreReason}
    assert {"queue_full", "bad_frames", "too_large", "crash"} <= found
    assert found - (DELIBERATE | REFUSED | LOST) == set()


def test_every_reason_has_one_kind_and_is_used() -> None:
    """A reason that nobody books any more needs no explanation."""
    assert not DELIBERATE & REFUSED
    assert not DELIBERATE & LOST
    assert not REFUSED & LOST
    text = "".join(path.read_text() for path in sources())
    assert [reason for reason in sorted(DELIBERATE | REFUSED | LOST) if f'"{reason}"' not in text] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_is_explained(kind: str) -> None:
    """In the table of its kind, in the order of the alphabet, with what to do."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    table = page.partition(f"\n### {kind}\n")[2].partition("\n#")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", table)
    assert [row[0] for row in rows] == sorted(KINDS[kind])
