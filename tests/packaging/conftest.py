"""Tests of what is installed. Without BROAPPLIANCE_PACKAGES, the folder of the packages, only those that need none are
run; `make install-test` sets it, and must be run as root. The bundle under test is what BROAPPLIANCE_BINARY names, or
what `make binary` has built of these sources.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machines import Network, open_network

PACKAGES = os.environ.get("BROAPPLIANCE_PACKAGES", "")
if not PACKAGES:
    collect_ignore = ["test_packages.py", "test_install.py", "test_rpm.py", "test_boot.py"]


ROOT = Path(__file__).parents[2]


def _is_of_these_sources(copied: Path) -> bool:
    files = [path.relative_to(ROOT) for path in (ROOT / "appliance").rglob("*.py")]
    return all((copied / name).exists() and filecmp.cmp(ROOT / name, copied / name) for name in files)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The bundled program."""
    named = os.environ.get("BROAPPLIANCE_BINARY")
    if named:
        return Path(named).resolve(strict=True)
    built = ROOT / "dist" / "broappliance" / "broappliance"
    if not built.exists():
        pytest.skip("no bundle: `make binary` makes one")
    if not _is_of_these_sources(ROOT / "build" / "binary" / "source"):
        pytest.skip("the bundle in dist/ is of other sources: `make binary` makes it anew")
    return built


def _package(pattern: str) -> Path:
    [found] = Path(PACKAGES).glob(pattern)
    return found.absolute()


@pytest.fixture(scope="session")
def deb() -> Path:
    """The Debian package."""
    return _package("*.deb")


@pytest.fixture(scope="session")
def rpm() -> Path:
    """The RPM package."""
    return _package("*.rpm")


@pytest.fixture(scope="session")
def single_file() -> Path:
    """The program as one file."""
    found = [path for path in Path(PACKAGES).glob("broappliance-*-linux-*") if path.is_file()]
    if not found:
        pytest.skip("there is no single file: `make onefile` makes it")
    return found[0].absolute()


@pytest.fixture(scope="session")
def may_make_systems() -> None:
    """Without mounts and namespaces there is nothing to install in, and the test says that it was not run."""
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounts and namespaces are not allowed here: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def network(request: pytest.FixtureRequest, may_make_systems: None) -> Iterator[Network]:
    """A network of this module's own."""
    with open_network(f"broappliance-{os.getpid()}-{request.module.__name__.rpartition('_')[2]}") as network:
        yield network


@pytest.fixture(scope="session")
def next_deb(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a later version, whose configuration has one line more."""
    folder = tmp_path_factory.mktemp("next")
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control, conf = tree / "DEBIAN/control", tree / "etc/broappliance/broappliance.toml"
    fields = control.read_text().splitlines(keepends=True)
    control.write_text("".join("Version: 99.0-1\n" if line.startswith("Version:") else line for line in fields))
    conf.write_text(conf.read_text() + "# later\n")
    made = folder / "next.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, made], check=True)
    return made
