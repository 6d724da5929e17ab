"""How the packages are laid out: what can be said without building them."""

from __future__ import annotations

import gzip
import importlib.util
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from appliance.config import load
from appliance.parts import prepare

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
SCRIPTS = ("postinst", "prerm", "postrm")
STAMP = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program of packaging/, which is no package."""
    monkeypatch.syspath_prepend(str(PACKAGING))
    spec = importlib.util.spec_from_file_location(name, PACKAGING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, found)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module("bill", monkeypatch)
    return module("stage", monkeypatch)


@pytest.fixture
def bill(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("bill", monkeypatch)


def test_the_installed_configuration_has_no_mistakes(stage: ModuleType, tmp_path: Path) -> None:
    """It is the annotated one, for the places of the packages."""
    text = stage.configuration((ROOT / "conf/broappliance.toml").read_text())
    (tmp_path / "python").mkdir()
    path = tmp_path / "broappliance.toml"
    path.write_text(text)
    prepared = prepare(load(path, environ={}))
    assert prepared.config.appliance.state_dir == "/var/lib/broappliance"
    assert prepared.config.appliance.python_path == (str(tmp_path / "python"),)
    assert prepared.config.api.listen == ("unix:/run/broappliance/api.sock",)
    assert prepared.config.api.operate_group == "broappliance"
    assert "/usr/share/broappliance/broappliance.schema.json" in text.splitlines()[0]


def test_who_builds_for_others_names_himself(stage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it is who has made the last commit."""
    monkeypatch.setenv("MAINTAINER", "A B <a@b.example>")
    assert stage.find_maintainer() == "A B <a@b.example>"
    monkeypatch.delenv("MAINTAINER")
    assert re.fullmatch(r".+ <\S+@\S+>", stage.find_maintainer())


def test_a_configuration_written_otherwise_is_not_adapted_in_silence(stage: ModuleType) -> None:
    """Then somebody has to look."""
    with pytest.raises(ValueError, match="0 times"):
        stage.configuration("[appliance]\n")


@pytest.mark.parametrize(
    ("history", "notes"),
    [
        (
            "# C\n\n## Unreleased\n\n### Added\n\n- One\n  thing.\n- Two.\n\n## 0.0.9\n\n- Old.\n",
            ["One thing.", "Two."],
        ),
        ("# C\n\n## Unreleased\n\n- Later.\n\n## [0.1.0] - 2026-11-21\n\n- Now.\n\n## 0.0.9\n\n- Old.\n", ["Now."]),
        ("# C\n", ["See changelog.gz."]),
    ],
    ids=["unreleased", "released", "nothing"],
)
def test_changelog_of_the_package(stage: ModuleType, history: str, notes: list[str]) -> None:
    """The part about the version that is packed, as dpkg wants it."""
    text = stage.changelog(history, "0.1.0", "A B <a@b.example>", STAMP)
    lines = text.splitlines()
    assert lines[0] == "broappliance (0.1.0-1) unstable; urgency=medium"
    assert lines[-1] == " -- A B <a@b.example>  Sat, 21 Nov 2026 15:00:00 +0000"
    assert [line.removeprefix("  * ") for line in lines if line.startswith("  * ")] == notes


def test_what_is_staged_has_one_time_and_few_modes(stage: ModuleType, tmp_path: Path) -> None:
    """Whoever has made it, and whenever."""
    program = tmp_path / "program"
    (program / "deep").mkdir(parents=True, mode=0o700)
    for name in ("broappliance", "deep/library.so"):
        (program / name).write_text("x")
        (program / name).chmod(0o711)
    (program / "link").symlink_to("deep")
    stage.settle(tmp_path, 1_000_000_000)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if not path.is_symlink()}
    assert modes == {"program": 0o755, "broappliance": 0o755, "deep": 0o755, "library.so": 0o644}
    assert {path.lstat().st_mtime for path in tmp_path.rglob("*")} == {1_000_000_000}


def test_compressed_files_have_no_time(stage: ModuleType, tmp_path: Path) -> None:
    """The same text gives the same file."""
    stage.compress(b"text", tmp_path / "a/b.gz")
    data = (tmp_path / "a/b.gz").read_bytes()
    assert gzip.decompress(data) == b"text"
    assert data[4:8] == bytes(4)


def test_every_requirement_is_in_the_bill(bill: ModuleType) -> None:
    """Also what is required by what is required, and nothing that only the developers need."""
    names = {found.metadata["Name"].lower() for found in bill.bundled_distributions()}
    assert {"trio", "pyzmq", "msgspec", "outcome", "attrs", "cffi"} <= names
    assert not {"pytest", "mypy", "ruff", "broappliance"} & names


def test_objects_are_found_by_what_they_are(bill: ModuleType, tmp_path: Path) -> None:
    """Not by their names; a link is not another one."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/program").write_bytes(b"\x7fELF...")
    (tmp_path / "text.so").write_bytes(b"text")
    (tmp_path / "link.so").symlink_to("deep/program")
    assert bill.objects_of(tmp_path) == [tmp_path / "deep/program"]


def test_glibc_floor(bill: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, not texts, are compared; what an object defines itself does not count."""
    (tmp_path / "a.so").write_bytes(b"\x7fELF")
    table = (
        "0000 DF *UND* 0000 (GLIBC_2.9) memcpy\n0000 DF *UND* 0000 (GLIBC_2.34) dlsym\n"
        "0000 DF .text 0000 GLIBC_2.99 own\n0000 DF *UND* 0000 (GLIBCXX_3.4.30) new\n"
    )
    objdump = tmp_path / "bin/objdump"
    objdump.parent.mkdir()
    objdump.write_text(f"#!/bin/sh\nprintf '{table.replace(chr(10), chr(92) + 'n')}'\n")
    objdump.chmod(0o755)
    monkeypatch.setenv("PATH", f"{objdump.parent}:{os.environ['PATH']}")
    assert bill.glibc(tmp_path) == "2.34"


@pytest.mark.parametrize("name", SCRIPTS)
def test_maintainer_scripts_are_short(name: str) -> None:
    """Fewer than 20 lines of plain shell; unknown arguments do nothing."""
    path = PACKAGING / "package" / name
    assert len(path.read_text().splitlines()) < 20
    subprocess.run(["sh", "-n", path], check=True)
    environment = {"PATH": "/nowhere"}  # so that a command that is run is not found
    if name != "postrm":
        assert subprocess.run(["/bin/sh", path, "abort-upgrade"], env=environment, check=False).returncode == 0


def test_unit_runs_what_it_checks() -> None:
    """The same program with the same file starts, is checked before a reload, and is then told to read it."""
    text = (PACKAGING / "package/broappliance.service").read_text()
    command = "/usr/bin/broappliance --config /etc/broappliance/broappliance.toml"
    assert re.findall(r"(?m)^ExecStart=(.*)$", text) == [command]
    check, reload = re.findall(r"(?m)^ExecReload=(.*)$", text)
    assert check == f"{command} --check"
    assert reload.startswith("/usr/bin/broappliance reload --wait")
    assert "Type=notify\n" in text
    # Two numbers that belong together: the watchdog asks at least twice in its time, see the heartbeat's interval.
    assert int(re.findall(r"(?m)^WatchdogSec=(\d+)$", text)[0]) >= 20
