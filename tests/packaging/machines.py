"""Small Debian systems to install packages in: a tree made once by debootstrap, a layer over it for each test, a
network of its own; run as a chroot, or booted with systemd as its first process. Everything is taken down at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

__all__ = ["Machine", "Network", "open_machine", "open_network"]

T = TypeVar("T")
CACHE = Path(os.environ.get("BROAPPLIANCE_TREES", "/var/tmp/broappliance-trees"))
INCLUDED = {"bookworm": (), "trixie": ("systemd", "systemd-sysv", "dbus", "libpcap0.8t64")}
"""Debian 12 stays without systemd and without what is only recommended: the package must not need it."""
BOOT_S, COMMAND_S, DEBOOTSTRAP_S = 60.0, 60.0, 600.0


def base_of(suite: str) -> Path:
    """The tree of a release, made if there is none."""
    tree = CACHE / "+".join([suite, *INCLUDED[suite]])
    if not tree.exists():
        part = tree.with_name(f"{tree.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        more = [f"--include={','.join(INCLUDED[suite])}"] * bool(INCLUDED[suite])
        subprocess.run(
            ["debootstrap", "--variant=minbase", *more, suite, part],
            check=True,
            timeout=DEBOOTSTRAP_S,
            stdout=subprocess.DEVNULL,
        )
        part.rename(tree)
    return tree


class Network:
    """A network namespace with a loopback interface and a pair of Ethernet interfaces, ``veth0`` and ``veth1``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def command(self, *argv: str | Path) -> list[str]:
        """The command that runs `argv` in this network, with our own files."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]


@contextmanager
def open_network(name: str) -> Iterator[Network]:
    """A network for as long as the body lasts."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for line in (
            "link set lo up",
            "link add veth0 type veth peer name veth1",
            "link set veth0 up",
            "link set veth1 up",
        ):
            subprocess.run(["ip", "-n", name, *line.split()], check=True)
        yield Network(name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


class Machine:
    """A tree that may be written to. Paths are given as they are inside of it."""

    def __init__(self, root: Path, network: Network) -> None:
        self.root = root
        self.network = network
        self._leader: int | None = None

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def run(
        self, *argv: str, check: bool = True, text: str | None = None, timeout_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root; standard output and error are one text."""
        if self._leader is not None:
            enter = ["nsenter", "--all", f"--target={self._leader}"]
        else:
            proc = f"--mount-proc={self.path('/proc')}"
            enter = self.network.command(
                "unshare", "--mount", "--pid", "--fork", "--kill-child", proc, "chroot", self.root
            )
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            [*enter, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            input=text,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}")
        return done

    def put(self, file: Path, folder: str = "/root") -> str:
        """Copy a file in; returns its place."""
        shutil.copy(file, self.path(folder))
        return f"{folder}/{file.name}"

    def files(self) -> dict[str, str]:
        """Every path with what it holds, to compare two moments; not what dpkg and its like keep for themselves."""
        skipped = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/proc/", "/root/", "/run/", "/tmp/", "/dev/", "/sys/")
        found = {}
        for folder, folders, names in os.walk(self.root):
            for name in [*folders, *names]:
                path = Path(folder, name)
                inside = f"/{path.relative_to(self.root)}"
                if not f"{inside}/".startswith(skipped):
                    found[inside] = _digest(path)
        return found

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Boot it; `run` means the running system meanwhile."""
        log = self.root.parent / "console"
        command = [
            "systemd-nspawn", f"--directory={self.root}", "--register=no", "--keep-unit", "--quiet",
            f"--network-namespace-path={self.network.path}", "--capability=CAP_NET_ADMIN", "--boot", "--console=pipe",
        ]  # fmt: skip
        # A host with control groups of the first version lends it those of the second, which is all that it knows.
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with log.open("wb") as console:
            nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment
            )
        try:
            self._leader = _wait(lambda: _child_of(nspawn.pid), "its first process")
            _wait(
                lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running", "its boot"
            )
            yield
            self.run("systemctl", "--no-block", "poweroff", check=False)
            nspawn.wait(BOOT_S)
        finally:
            self._leader = None
            if nspawn.poll() is None:
                nspawn.terminate()
                try:
                    nspawn.wait(10)
                except subprocess.TimeoutExpired:
                    nspawn.kill()
                    nspawn.wait()


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_file():
        return f"{path.stat().st_size} bytes, {hash(path.read_bytes()):x}"
    return "folder"


def _child_of(pid: int) -> int | None:
    """The process that booted: the child of nspawn that is alone in its process namespace as number 1."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        status = Path(f"/proc/{child}/status").read_text()
        [numbers] = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
        if numbers[-1] == "1" and "systemd" in Path(f"/proc/{child}/comm").read_text():
            return int(child)
    return None


def _wait(look: Callable[[], T], what: str, *, timeout_s: float = BOOT_S) -> T:
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.1)
    return found


@contextmanager
def open_machine(suite: str, folder: Path, network: Network, packages: Sequence[Path] = ()) -> Iterator[Machine]:
    """A fresh system with nothing but the given packages, until the end of the body.

    Args:
        folder: an empty one, for what is written.
    """
    with ExitStack() as stack:
        layers = [folder / name for name in ("upper", "work", "root")]
        for layer in layers:
            layer.mkdir(parents=True)
        upper, work, root = layers
        options = f"lowerdir={base_of(suite)},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
        stack.callback(lambda: shutil.rmtree(folder, ignore_errors=True))
        stack.callback(lambda: subprocess.run(["umount", root], check=True))
        machine = Machine(root, network)
        for package in packages:
            machine.run("dpkg", "--install", machine.put(package))
        yield machine


if __name__ == "__main__":
    for suite in sys.argv[1:]:
        base_of(suite)
