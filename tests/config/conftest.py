"""Write configurations into an empty folder and read them from there, as a user in that folder would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from appliance.config import ConfigError, Loaded, load

Loader = Callable[..., Loaded]
Mistakes = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(folder: Path) -> Loader:
    """Load ``site.toml`` with this text; other files by name."""

    def run(text: str, *, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Loaded:
        for name, content in {"site.toml": text, **(files or {})}.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content)
        return load(Path("site.toml"), environ=environ or {})

    return run


@pytest.fixture
def mistakes(read: Loader) -> Mistakes:
    """The lines that a user would see; empty if the configuration is fine."""

    def run(text: str, **more: Mapping[str, str]) -> list[str]:
        told = []
        try:
            read(text, **more)
        except* ConfigError as group:
            told = [str(each) for each in group.exceptions]
        return told

    return run
