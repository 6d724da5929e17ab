"""What is in the packages, looked at from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
MAX_DEB = 25_000_000


@pytest.fixture(scope="module")
def tree(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the Debian package."""
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
    return folder


def test_size(deb: Path) -> None:
    """It stays a small download."""
    assert deb.stat().st_size <= MAX_DEB


def test_everything_is_there(tree: Path) -> None:
    """By the names under which others look for it."""
    for name in (
        "etc/broappliance/broappliance.toml",
        "etc/broappliance/python",
        "usr/bin/broappliance",
        "usr/lib/broappliance/broappliance",
        "usr/lib/systemd/system/broappliance.service",
        "usr/lib/sysusers.d/broappliance.conf",
        "usr/lib/tmpfiles.d/broappliance.conf",
        "usr/share/bash-completion/completions/broappliance",
        "usr/share/broappliance/broappliance.schema.json",
        "usr/share/broappliance/zeek/broappliance-writer.zeek",
        "usr/share/doc/broappliance/broappliance.cdx.json",
        "usr/share/doc/broappliance/changelog.gz",
        "usr/share/doc/broappliance/conf/zeek/broappliance-writer.zeek",
        "usr/share/doc/broappliance/copyright",
        "usr/share/doc/broappliance/docs/install.md",
        "usr/share/doc/broappliance/examples/demo.toml",
        "usr/share/doc/broappliance/examples/broappliance.schema.json",
        "usr/share/doc/broappliance/notify-reload.conf",
        "usr/share/man/man8/broappliance.8.gz",
        "usr/share/zsh/vendor-completions/_broappliance",
    ):
        assert (tree / name).exists(), name


def test_what_the_unit_names_is_there(tree: Path) -> None:
    """Program, configuration and documentation."""
    text = (tree / "usr/lib/systemd/system/broappliance.service").read_text()
    paths = set(re.findall(r"(?:file://|=|\s)(/(?:usr|etc)/\S+)", text))
    assert "/usr/share/doc/broappliance/docs/install.md" in paths
    assert [path for path in sorted(paths) if not (tree / path[1:]).exists()] == []


def test_what_the_documentation_names_is_there(tree: Path) -> None:
    """Where the packages put it."""
    folder = tree / "usr/share/doc/broappliance"
    text = "".join(path.read_text() for path in sorted((folder / "docs").glob("*.md")))
    text += (tree / "etc/broappliance/broappliance.toml").read_text()
    named = set(re.findall(r"(?<![\w.}])/usr/(?:share|lib)/[\w./-]*broappliance[\w./-]*\w", text))
    assert "/usr/share/broappliance/zeek/broappliance-writer.zeek" in named
    assert [path for path in sorted(named) if not (tree / path[1:]).exists()] == []


def test_no_library_looks_elsewhere(tree: Path) -> None:
    """No path of the machine that built it is where the loader would look for libraries."""
    for path in (tree / "usr/lib/broappliance").rglob("*.so*"):
        shown = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout
        paths = [line.split()[1] for line in shown.splitlines() if line.split()[:1] in (["RUNPATH"], ["RPATH"])]
        assert all(part.startswith("$ORIGIN") for path in paths for part in path.split(":")), path


def test_every_library_is_listed(tree: Path) -> None:
    """Each shared library is in the bill of materials, with a component that has a licence in the copyright file."""
    bill = json.loads((tree / "usr/share/doc/broappliance/broappliance.cdx.json").read_text())
    text = (tree / "usr/share/doc/broappliance/copyright").read_text()
    listed = set()
    for one in bill["components"]:
        listed |= {fact["value"] for fact in one.get("properties", ()) if fact["name"] == "file"}
        assert f"\n{one['name']} {one['version']}\n" in text
    program = tree / "usr/lib/broappliance"
    there = {p.relative_to(program).as_posix() for p in program.rglob("*.so*") if p.is_file() and not p.is_symlink()}
    assert there - listed == {"_internal/appliance/_native.abi3.so"}
    assert len({one["bom-ref"] for one in bill["components"]}) == len(bill["components"])


def test_the_glibc_that_it_needs_is_a_dependency(deb: Path, rpm: Path) -> None:
    """The same in both, so that nobody gets a program that cannot start."""
    depends = subprocess.run(["dpkg-deb", "--field", deb, "Depends"], capture_output=True, text=True, check=True).stdout
    floor = depends.partition("libc6 (>= ")[2].partition(")")[0]
    requires = subprocess.run(["rpm", "-qp", "--requires", rpm], capture_output=True, text=True, check=True).stdout
    assert f"libc.so.6(GLIBC_{floor})(64bit)" in requires.splitlines()
    assert float(floor.partition(".")[2]) <= 36, "built on something newer than Debian 12"


def test_lintian(deb: Path) -> None:
    """Nothing that is not explained in packaging/package/lintian-overrides."""
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", str(deb)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_rpmlint(rpm: Path) -> None:
    """Nothing that is not explained in packaging/package/rpmlint.toml."""
    command = ["rpmlint", "--config", str(PACKAGING / "package/rpmlint.toml"), str(rpm)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout


def test_made_twice_they_are_the_same(deb: Path, rpm: Path, tmp_path: Path) -> None:
    """Byte for byte, from the same bundle; where they were built."""
    bundle = ROOT / "dist/broappliance"
    if not bundle.exists():
        pytest.skip("the bundle is not here")
    subprocess.run(
        ["sh", str(PACKAGING / "make_packages.sh"), str(ROOT / "build/binary/venv/bin/python")],
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PACKAGES": str(tmp_path)},
    )
    for package in (deb, rpm):
        assert (tmp_path / package.name).read_bytes() == package.read_bytes()
