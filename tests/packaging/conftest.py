"""The bundle under test: what ``BROAPPLIANCE_BINARY`` names, or what `make binary` has built of these sources."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def is_of_these_sources(copied: Path) -> bool:
    """Whether the bundle's copy of the sources is what is here."""
    files = [path.relative_to(ROOT) for path in (ROOT / "appliance").rglob("*.py")]
    return all((copied / name).exists() and filecmp.cmp(ROOT / name, copied / name) for name in files)


@pytest.fixture(scope="session")
def binary() -> Path:
    named = os.environ.get("BROAPPLIANCE_BINARY")
    if named:
        return Path(named).resolve(strict=True)
    built = ROOT / "dist" / "broappliance" / "broappliance"
    if not built.exists():
        pytest.skip("no bundle: `make binary` makes one")
    if not is_of_these_sources(ROOT / "build" / "binary" / "source"):
        pytest.skip("the bundle in dist/ is of other sources: `make binary` makes it anew")
    return built
