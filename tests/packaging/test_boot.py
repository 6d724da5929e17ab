"""A small Debian 13 with the package, booted: what the unit promises, by systemd itself.

The tests share the machine, and each begins with a start of the service with a configuration of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.system.harness import wait_for

from .machines import Machine, Network, open_machine
from .traffic import FRAME

ROOT = Path(__file__).parents[2]
CONFIGURATION = "/etc/broappliance/broappliance.toml"
STATE = "/var/lib/broappliance"
UNIT = "broappliance.service"
ENDPOINT = "tcp://127.0.0.1:12345"
BASE = """\
[appliance]
state_dir = "/var/lib/broappliance"
python_path = ["python"]
[api]
listen = ["unix:/run/broappliance/api.sock"]
[[zmq]]
name = "zeek"
bind = ["tcp://127.0.0.1:12345"]
[[sink]]
name = "archive"
on = ["log:*"]
path = "logs/{path}.log"
"""
PACKETS = """\
[[capture]]
name = "wire"
conn_type = "ethernet"
address = ["veth0", 3]
receive_buffer = "16MiB"
[[capture.handler]]
name = "raw"
log_dir = "captures"
[[recorder]]
name = "edge"
interface = "veth0"
ring = "8MiB"
filter = "udp port 4001"
min_free = "1MiB"
"""
HOOKS = """\
[[hook]]
name = "python"
on = ["log:conn"]
run = "site_hooks:look"
[[hook]]
name = "program"
on = ["log:conn"]
command = ["cp", "/proc/self/status", "/var/lib/broappliance/program"]
"""
CLUSTER = """\
[cluster]
zeek_version = "8.0"
backend = "zeromq"
[cluster.zeromq]
log_bind = "tcp://127.0.0.1:27790"
curve_secret_key_file = "${CREDENTIALS_DIRECTORY}/curve.key"
"""
STUCK = """\
[[hook]]
name = "stuck"
on = ["log:conn"]
run = "site_hooks:block"
isolation = "task"
"""
SITE_HOOKS = """\
import shutil, socket, time

def look(record):
    shutil.copyfile("/proc/self/status", "/var/lib/broappliance/python")
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    except PermissionError:
        open("/var/lib/broappliance/refused", "w").close()

async def block(record):
    time.sleep(3600)
"""
NET_ADMIN_AND_RAW = (1 << 12) | (1 << 13)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, network: Network, deb: Path) -> Iterator[Machine]:
    """The running system."""
    with (
        open_machine("trixie", tmp_path_factory.mktemp("boot") / "machine", network, [deb]) as machine,
        machine.booted(),
    ):
        machine.path("/etc/broappliance/python/site_hooks.py").write_text(SITE_HOOKS)
        yield machine


def show(machine: Machine, name: str) -> str:
    """A property of the unit."""
    return machine.run("systemctl", "show", "--value", f"--property={name}", UNIT).stdout.strip()


def journal(machine: Machine) -> str:
    """What the service has logged."""
    return machine.run("journalctl", "--unit", UNIT, "--output=cat", "--no-pager").stdout


def status(machine: Machine) -> dict[str, Any]:
    """The status document, whose books must balance."""
    found = json.loads(machine.run("broappliance", "status", "--json", check=False).stdout)
    assert all(line["account"]["imbalance"] == 0 for line in found["ledger"])
    return dict(found)


def account(machine: Machine, name: str) -> dict[str, Any]:
    [found] = [line["account"] for line in status(machine)["ledger"] if line["account"]["name"] == name]
    return dict(found)


def traffic(network: Network, *arguments: object) -> list[str]:
    return network.command(sys.executable, "-m", "tests.packaging.traffic", *map(str, arguments))


def send(network: Network, *arguments: object) -> None:
    subprocess.run(traffic(network, *arguments), check=True, timeout=60, cwd=ROOT)


def shipped(deb: Path) -> str:
    """The configuration as it is installed."""
    command = f"dpkg-deb --fsys-tarfile {deb} | tar --extract --to-stdout .{CONFIGURATION}"
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


@contextmanager
def running(machine: Machine, conf: str, drop_in: str = "") -> Iterator[None]:
    """The service with this configuration and nothing of before; stopped at the end."""
    machine.path(CONFIGURATION).write_text(conf)
    folder = machine.path("/etc/systemd/system/broappliance.service.d")
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(drop_in)
    machine.run("sh", "-c", f"rm -rf {STATE}/*; systemctl daemon-reload; systemctl reset-failed {UNIT} || true")
    started = machine.run("systemctl", "start", UNIT, check=False)
    assert started.returncode == 0, started.stdout + journal(machine)
    try:
        yield
    finally:
        machine.run("systemctl", "stop", UNIT)
        (folder / "test.conf").unlink()


def test_installing_starts_nothing(machine: Machine) -> None:
    """Before somebody has looked at the configuration."""
    assert machine.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip() == "disabled"
    assert show(machine, "ActiveState") == "inactive"
    machine.run("systemctl", "enable", UNIT)
    assert machine.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"


def test_unit_is_right_and_tight(machine: Machine) -> None:
    """The manager understands every line; the exposure that it sees is at most 2.5."""
    assert machine.run("systemd-analyze", "--man=no", "verify", UNIT).stdout == ""
    shown = machine.run("systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    level = re.search(r"Overall exposure level for broappliance.service: ([\d.]+)", shown)
    assert level is not None, shown
    print(shown)
    assert float(level[1]) <= 2.5, shown


def test_package_configuration_starts_as_it_is(machine: Machine, deb: Path) -> None:
    """READY comes when the sockets are there; who is in the group may ask and operate, nobody else."""
    with running(machine, shipped(deb)):
        assert show(machine, "ActiveState") == "active"
        assert show(machine, "StatusText").startswith("running, generation 1")
        pid = show(machine, "MainPID")
        facts = machine.run("cat", f"/proc/{pid}/status").stdout
        assert int(re.search(r"CapEff:\s*(\w+)", facts)[1], 16) == NET_ADMIN_AND_RAW  # type: ignore[index]
        assert int(re.search(r"CapBnd:\s*(\w+)", facts)[1], 16) == NET_ADMIN_AND_RAW  # type: ignore[index]
        assert "NoNewPrivs:\t1" in facts
        assert machine.run("stat", "--format=%U:%G", f"/proc/{pid}").stdout.strip() == "broappliance:broappliance"
        assert machine.run("stat", "--format=%U:%G %a", "/run/broappliance").stdout.strip().endswith("broappliance 750")
        machine.run("sh", "-c", "getent passwd clerk || useradd --groups broappliance clerk")
        as_clerk = ("runuser", "-u", "clerk", "--", "broappliance")
        machine.run(*as_clerk, "status")
        machine.run(*as_clerk, "capture", "rotate", "raw")
        machine.run(*as_clerk, "reload", "--wait")
        assert status(machine)["generation"] == 2
        refused = machine.run("runuser", "-u", "nobody", "--", "broappliance", "status", check=False)
        assert refused.returncode == 1, refused.stdout
        assert "ermission" in refused.stdout or "group" in refused.stdout


def test_logs_and_packets_are_recorded(machine: Machine, network: Network) -> None:
    """By the user of the service, with the kernel's capabilities only: each record, each frame."""
    with running(machine, BASE + PACKETS):
        send(network, "logs", ENDPOINT, 5000)
        send(network, "frames", "veth1", 1000)
        wait_for(lambda: account(machine, "sink.archive")["delivered"] == 5000)
        wait_for(lambda: account(machine, "handler.wire/raw")["delivered"] >= 1000)
        wait_for(lambda: account(machine, "recorder.edge")["received"] >= 1000)
        machine.run("broappliance", "extract", "--host", "10.0.0.1", "--out", "/root/found.pcap")
        assert machine.path("/root/found.pcap").read_bytes().count(FRAME) == 1000
    state = machine.path(STATE)
    assert len((state / "logs/conn.log").read_bytes().splitlines()) == 5000
    assert sum(path.read_bytes().count(FRAME) for path in (state / "captures").iterdir()) == 1000
    owners = machine.run("sh", "-c", f"find {STATE} -printf '%u\\n' | sort -u").stdout.split()
    assert owners == ["broappliance"]
    assert not list(state.rglob("*.part"))


def test_reload(machine: Machine) -> None:
    """A good file is applied under way; one with a mistake fails the command, and the program is not even asked."""
    with running(machine, BASE):
        pid = show(machine, "MainPID")
        conf = machine.path(CONFIGURATION)
        conf.write_text(BASE.replace('name = "archive"', 'name = "files"'))
        machine.run("systemctl", "reload", UNIT)
        found = status(machine)
        assert found["generation"] == 2
        assert "sink.files" in [line["service"]["name"] for line in found["services"]]
        conf.write_text(BASE + "[[sink]]\nnmae = 5\n")
        assert machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
        assert "nmae" in journal(machine)
        found = status(machine)
        assert found["generation"] == 2
        assert found["last_reload"]["ok"]
        assert show(machine, "ActiveState") == "active"
        assert show(machine, "MainPID") == pid


def test_reload_by_the_manager_itself(machine: Machine) -> None:
    """With the drop-in of the documentation, `systemctl reload` waits for the program's own word."""
    drop_in = machine.path("/usr/share/doc/broappliance/notify-reload.conf").read_text()
    with running(machine, BASE, drop_in):
        assert show(machine, "Type") == "notify-reload"
        for generation in (2, 3):
            machine.path(CONFIGURATION).write_text(BASE.replace("archive", f"files{generation}"))
            machine.run("systemctl", "reload", UNIT)
            assert status(machine)["generation"] == generation
        machine.path(CONFIGURATION).write_text(BASE + "[[sink]]\nnmae = 5\n")
        machine.run("systemctl", "reload", UNIT, check=False)
        assert not status(machine)["last_reload"]["ok"]
        assert show(machine, "ActiveState") == "active"


def test_who_may_operate(machine: Machine) -> None:
    """As the documentation says it: all of the socket's group may look, those who are in another one may operate."""
    machine.run("sh", "-c", "getent passwd clerk || useradd --groups broappliance clerk")
    machine.run("sh", "-c", "getent group bro-operators || groupadd --system bro-operators")
    machine.run("sh", "-c", "getent passwd captain || useradd --groups broappliance,bro-operators captain")
    named = 'group = "broappliance"\noperate_group = "bro-operators"\n[[zmq]]'
    with running(machine, BASE.replace("[[zmq]]", named, 1)):
        for who, code in (("clerk", 1), ("captain", 0)):
            as_somebody = ("runuser", "-u", who, "--", "broappliance")
            machine.run(*as_somebody, "status")
            done = machine.run(*as_somebody, "reload", "--wait", check=False)
            assert done.returncode == code, done.stdout


def test_a_mistake_in_the_file_is_not_tried_again(machine: Machine) -> None:
    """The start fails at once and for good; the journal says where the mistake is."""
    machine.path(CONFIGURATION).write_text(BASE + "[[sink]]\nnmae = 5\n")
    assert machine.run("systemctl", "start", UNIT, check=False).returncode != 0
    assert show(machine, "ActiveState") == "failed"
    assert show(machine, "ExecMainStatus") == "2"
    assert show(machine, "NRestarts") == "0"
    assert f"{CONFIGURATION}:" in journal(machine)


def test_secrets_come_from_the_manager(machine: Machine) -> None:
    """A key that only root may read is where the file says, also when it is checked for a reload."""
    private = machine.path("/etc/broappliance/private")
    private.mkdir(mode=0o700)
    (private / "curve.key").write_bytes(zmq.curve_keypair()[1])
    conf = BASE + CLUSTER
    with running(machine, conf, "[Service]\nLoadCredential=curve.key:/etc/broappliance/private/curve.key\n"):
        machine.path(CONFIGURATION).write_text(conf.replace("archive", "files"))
        reloaded = machine.run("systemctl", "reload", UNIT, check=False)
        assert reloaded.returncode == 0, journal(machine)
        assert status(machine)["generation"] == 2


def test_programs_of_hooks_get_no_capabilities(machine: Machine, network: Network) -> None:
    """Neither a hook in a worker process nor a command, whatever the program itself has."""
    with running(machine, BASE + HOOKS):
        send(network, "logs", ENDPOINT, 1)
        for name in ("python", "program"):
            path = machine.path(f"{STATE}/{name}")
            facts = wait_for(lambda path=path: path.exists() and path.read_text())  # type: ignore[misc]
            sets = re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\s*(\w+)", facts)
            assert sets == ["0" * 16] * 4
            assert "NoNewPrivs:\t1" in facts
        wait_for(machine.path(f"{STATE}/refused").exists)


def test_watchdog_ends_a_stuck_loop(machine: Machine, network: Network) -> None:
    """The journal says in which line it was stuck, and the program runs again."""
    with running(machine, BASE + STUCK, "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"):
        first = show(machine, "MainPID")
        send(network, "logs", ENDPOINT, 1)
        wait_for(lambda: "Watchdog timeout" in machine.run("journalctl", "--no-pager", "--output=cat").stdout)
        wait_for(lambda: show(machine, "NRestarts") != "0")
        wait_for(lambda: "Fatal Python error: Aborted" in journal(machine))
        assert "site_hooks.py" in journal(machine)
        # The record is in the journal of hooks: it would block the next one, too.
        machine.path(CONFIGURATION).write_text(BASE)
        wait_for(lambda: show(machine, "ActiveState") == "active" and show(machine, "MainPID") != first)


def test_stop_under_load(machine: Machine, network: Network) -> None:
    """What was received is in the files when it has ended, and that is soon."""
    with running(machine, BASE):
        load = subprocess.Popen(traffic(network, "load", ENDPOINT), stdout=subprocess.PIPE, cwd=ROOT)
        try:
            assert load.stdout is not None
            assert load.stdout.readline() == b"sending\n"
            wait_for(lambda: account(machine, "sink.archive")["delivered"] > 10_000)
            machine.run("systemctl", "stop", UNIT, timeout_s=40)
        finally:
            load.terminate()
            load.communicate(timeout=30)
        assert show(machine, "Result") == "success"
        lines = [json.loads(line) for line in journal(machine).splitlines() if '"final ledger"' in line]
        final = [line for line in lines if line["name"] == "sink.archive"][-1]
        assert final["imbalance"] == final["lost"] == 0
        rows = machine.path(f"{STATE}/logs/conn.log").read_bytes().splitlines()
        assert len(rows) == final["delivered"] == final["received"]
        assert not list(machine.path(STATE).rglob("*.part"))


def test_upgrade_is_done_although_the_service_does_not_come_back(machine: Machine, next_deb: Path, deb: Path) -> None:
    """A mistake in the file, made while it ran, is told; the package is whole."""
    force = ("dpkg", "--force-confdef", "--force-confold", "--install")
    with running(machine, BASE):
        machine.path(CONFIGURATION).write_text(BASE + "[[sink]]\nnmae = 5\n")
        assert "not restarted; see: journalctl" in machine.run(*force, machine.put(next_deb)).stdout
        assert show(machine, "ActiveState") == "failed"
        assert "install ok installed" in machine.run("dpkg", "--status", "broappliance").stdout
    machine.run(*force, machine.put(deb))


def test_upgrade_restarts_what_runs_and_removal_stops_it(machine: Machine, next_deb: Path, deb: Path) -> None:
    """Nothing of it is left running, or known to the manager."""
    with running(machine, BASE):
        before = show(machine, "MainPID")
        force = ("dpkg", "--force-confdef", "--force-confold", "--install")
        machine.run(*force, machine.put(next_deb))
        assert show(machine, "ActiveState") == "active"
        assert show(machine, "MainPID") not in ("0", before)
        machine.run("dpkg", "--purge", "broappliance")
        assert show(machine, "LoadState") == "not-found"
        assert "/usr/lib/broappliance" not in machine.run("sh", "-c", "ls -l /proc/[0-9]*/exe", check=False).stdout
        machine.run(*force, machine.put(deb))
        machine.path("/etc/broappliance/python/site_hooks.py").write_text(SITE_HOOKS)
