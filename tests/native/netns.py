"""A network namespace of the test's own, with pairs of interfaces in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments: str) -> None:
    """Run ip(8) in the namespace that we are in."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """This thread, and what it starts, is in a new and empty network namespace; skipped where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("no ip(8) here")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(CLONE_NEWNET):
            pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            assert _libc.setns(home, CLONE_NEWNET) == 0
    finally:
        os.close(home)


@contextlib.contextmanager
def veth(near: str = "near", far: str = "far") -> Iterator[None]:
    """In a namespace of our own, two interfaces that are connected and up, and silent but for what we send.

    Everything that the kernel would say by itself (IPv6) is turned off.
    """
    with namespace():
        ip("link", "add", "name", near, "type", "veth", "peer", "name", far)
        for name in (near, far):
            ip("link", "set", "dev", name, "addrgenmode", "none", "arp", "off", "mtu", "9000")
            ip("link", "set", "dev", name, "up")
        yield
