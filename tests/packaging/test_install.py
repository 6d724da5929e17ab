"""The package in small Debian systems that have nothing else: installed, tried, upgraded, removed, purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .machines import Machine, Network, open_machine

CONFIGURATION = "/etc/broappliance/broappliance.toml"
EDIT = "# edited by the site\n"


@pytest.fixture(params=["bookworm", "trixie"])
def bare(request: pytest.FixtureRequest, tmp_path: Path, network: Network) -> Iterator[Machine]:
    """A system without the package."""
    with open_machine(request.param, tmp_path / "machine", network) as machine:
        yield machine


@pytest.fixture
def machine(bare: Machine, deb: Path) -> Machine:
    """A system with the package."""
    bare.run("dpkg", "--install", bare.put(deb))
    return bare


def test_installed(machine: Machine) -> None:
    """There are a user, a folder of his, a right configuration, and a program that works for anybody."""
    assert machine.run("id", "--name", "--user", "broappliance").stdout.strip() == "broappliance"
    assert machine.run("id", "--name", "--groups", "broappliance").stdout.strip() == "broappliance"
    state = machine.run("stat", "--format=%U:%G %a", "/var/lib/broappliance").stdout.strip()
    assert state == "broappliance:broappliance 750"
    assert machine.run("broappliance", "--version").stdout.startswith("broappliance ")
    check = machine.run("runuser", "-u", "broappliance", "--", "broappliance", "--config", CONFIGURATION, "--check")
    assert "no mistakes" in check.stdout
    assert "usage: broappliance" in machine.run("broappliance", "--help").stdout


def test_demonstration(machine: Machine) -> None:
    """It works for somebody who may write nothing but his own folder, and proves that nothing was lost."""
    machine.run("install", "--directory", "--owner=nobody", "/srv/demo")
    enter = ("env", "--chdir=/srv/demo", "HOME=/srv/demo", "runuser", "-u", "nobody", "--")
    shown = machine.run(*enter, "broappliance", "demo", "--once", "--rate", "2000")
    assert "Nothing was lost" in shown.stdout, shown.stdout


def test_the_single_file_needs_nothing(bare: Machine, single_file: Path) -> None:
    """In a system that has nothing else it shows what it does, for somebody who may write his own folder only."""
    bare.run("install", "--directory", "--owner=nobody", "/srv/demo")
    program = bare.put(single_file, "/srv/demo")
    bare.path(program).chmod(0o755)
    enter = ("env", "--chdir=/srv/demo", "HOME=/srv/demo", "runuser", "-u", "nobody", "--", program)
    assert bare.run(*enter, "--version").stdout.startswith("broappliance ")
    assert "Nothing was lost" in bare.run(*enter, "demo", "--once", "--rate", "2000").stdout


def test_purge_leaves_nothing_behind(bare: Machine, deb: Path) -> None:
    """Neither files, nor the user, nor the group. A plain removal keeps the configuration and what was recorded."""
    bare.run("useradd", "clerk")
    before = bare.files()
    bare.run("dpkg", "--install", bare.put(deb))
    bare.run("usermod", "--append", "--groups", "broappliance", "clerk")
    bare.path("/var/lib/broappliance/recorded").write_text("x")
    bare.run("broappliance", "--config", CONFIGURATION, "--check")
    bare.run("dpkg", "--remove", "broappliance")
    assert bare.path(CONFIGURATION).exists()
    assert bare.path("/var/lib/broappliance/recorded").exists()
    assert not bare.path("/usr/lib/broappliance").exists()
    bare.run("dpkg", "--purge", "broappliance")
    after = bare.files()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    # Tools that change the list of users keep what it was before, with a dash; nobody can be kept from that.
    assert {name for name in changed if not name.endswith("-")} <= {"/etc/.pwd.lock", "/etc/subuid", "/etc/subgid"}


def test_purge_keeps_hooks_of_the_site(machine: Machine) -> None:
    """What somebody has put beside the configuration is his."""
    hook = machine.path("/etc/broappliance/python/site_hooks.py")
    hook.write_text("")
    machine.run("dpkg", "--purge", "broappliance")
    assert hook.exists()
    assert not machine.path(CONFIGURATION).exists()


def test_upgrade_and_downgrade_keep_an_edited_configuration(machine: Machine, deb: Path, next_deb: Path) -> None:
    """The new one comes beside it."""
    conf = machine.path(CONFIGURATION)
    conf.write_text(conf.read_text() + EDIT)
    keep = ("dpkg", "--force-confdef", "--force-confold", "--install")
    machine.run(*keep, machine.put(next_deb))
    assert conf.read_text().endswith(EDIT)
    assert conf.with_name(f"{conf.name}.dpkg-dist").read_text().endswith("# later\n")
    assert "99.0-1" in machine.run("dpkg-query", "--show", "broappliance").stdout
    machine.run(*keep, machine.put(deb))
    assert conf.read_text().endswith(EDIT)
    assert "99.0-1" not in machine.run("dpkg-query", "--show", "broappliance").stdout
    assert "no mistakes" in machine.run("broappliance", "--config", CONFIGURATION, "--check").stdout


def test_upgrade_of_an_untouched_configuration_takes_the_new_one(machine: Machine, next_deb: Path) -> None:
    """Without a question."""
    machine.run("dpkg", "--install", machine.put(next_deb))
    assert machine.path(CONFIGURATION).read_text().endswith("# later\n")
