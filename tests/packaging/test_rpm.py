"""The RPM package, installed by rpm into a tree of its own; its scripts run there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machines import Machine, Network, open_machine

CONFIGURATION = "/etc/broappliance/broappliance.toml"


@pytest.fixture
def machine(tmp_path: Path, network: Network) -> Iterator[Machine]:
    """A system with glibc and the usual tools. It has no RPM database, so nothing can be said of dependencies."""
    with open_machine("bookworm", tmp_path / "machine", network) as machine:
        yield machine


def rpm_in(machine: Machine, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run rpm from outside, as an image is built."""
    command = ["rpm", "--root", machine.root, "--dbpath", "/var/lib/rpm", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done


def test_install_verify_erase(machine: Machine, rpm: Path) -> None:
    """Installed files are as the package says, an edited configuration stays in every case, and so does the state."""
    rpm_in(machine, "--install", "--nodeps", rpm)
    assert rpm_in(machine, "--verify", "--nodeps", "broappliance").stdout == ""
    assert machine.run("id", "--name", "--user", "broappliance").stdout.strip() == "broappliance"
    check = machine.run("runuser", "-u", "broappliance", "--", "broappliance", "--config", CONFIGURATION, "--check")
    assert "no mistakes" in check.stdout
    conf = machine.path(CONFIGURATION)
    conf.write_text(conf.read_text() + "# edited\n")
    rpm_in(machine, "--upgrade", "--nodeps", "--force", rpm)
    assert conf.read_text().endswith("# edited\n")
    rpm_in(machine, "--erase", "broappliance")
    assert conf.with_name(f"{conf.name}.rpmsave").read_text().endswith("# edited\n")
    assert not machine.path("/usr/lib/broappliance").exists()
    assert machine.path("/var/lib/broappliance").exists()
