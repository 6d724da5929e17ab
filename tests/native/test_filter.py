"""Capture filters: what libpcap compiles, and what is said when it cannot."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.native import compile_filter

from .netns import ip, namespace
from .readers import run


def instructions(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


@pytest.fixture(autouse=True)
def _need_libpcap() -> None:
    try:
        compile_filter("")
    except ApplianceError:
        pytest.skip("no libpcap here")


@pytest.mark.parametrize("text", ["", "udp port 53", "ip6 and (tcp or udp)", "vlan 5 and host 192.0.2.1"])
def test_the_program_is_what_tcpdump_compiles(text: str) -> None:
    """Instruction by instruction, for a link type and a snap length."""
    with_text = [text] if text else []
    dump = run("tcpdump", "-ddd", "-y", "EN10MB", "-s", "1000", "-i", "lo", *with_text)
    expected = [tuple(map(int, line.split())) for line in dump.splitlines()[1:]]
    with namespace():
        ip("link", "set", "dev", "lo", "up")
        assert instructions(compile_filter(text, snaplen=1000, interface="lo")) == expected
    if "vlan" not in text:
        assert instructions(compile_filter(text, snaplen=1000)) == expected


def test_link_types_differ() -> None:
    """The same text looks elsewhere in raw IP packets, and not at all in what has no such thing."""
    assert compile_filter("ip host 192.0.2.1", linktype=101) != compile_filter("ip host 192.0.2.1")
    with pytest.raises(ValueError, match="ether"):
        compile_filter("ether host 00:00:00:00:00:01", linktype=101)


@pytest.mark.parametrize(
    "text", ["udp prt 53", "host", "(", "host 1.2.3.4.5", "port 99999999", "\udcff", "a\0b", "vlan 5 vlan"]
)
def test_what_is_no_filter(text: str) -> None:
    """libpcap's own words, or ours where it is not asked."""
    with pytest.raises(ValueError, match="no filter"):
        compile_filter(text)


def test_libpcaps_message_is_in_the_error() -> None:
    """Whoever reads it sees the text and what is wrong with it."""
    with pytest.raises(ValueError, match=r"'udp prt 53'.*syntax error"):
        compile_filter("udp prt 53")


def test_an_interface_that_is_not_there() -> None:
    """The name is in the message, with libpcap's reason."""
    with namespace(), pytest.raises(ApplianceError, match="cannot open nowhere0 to compile a filter"):
        compile_filter("udp", interface="nowhere0")


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """Without libpcap the error says which package brings it."""
    # an empty object under libpcap's names comes before the real one
    (tmp_path / "empty.c").write_text("int broappliance_empty;")
    for name in ("libpcap.so.0.8", "libpcap.so.1"):
        run("gcc", "-shared", "-o", str(tmp_path / name), str(tmp_path / "empty.c"))
    code = (
        "from appliance.native import compile_filter\n"
        "try:\n    compile_filter('udp')\n"
        "except Exception as exc:\n    print(type(exc).__name__, exc)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.strip() == (
        "ApplianceError cannot compile a filter: libpcap is not installed (install the package libpcap0.8)"
    )
