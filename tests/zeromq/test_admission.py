"""Keys from files, and answers to libzmq's question who may connect."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from appliance.errors import ConfigError
from appliance.zeromq.admission import Admission, read_key

PUBLIC, SECRET = zmq.curve_keypair()
OTHER, _ = zmq.curve_keypair()


@pytest.mark.parametrize("content", [SECRET, SECRET + b"\n", b" \t" + SECRET + b"\r\n\n"])
def test_a_key_is_read(tmp_path: Path, content: bytes) -> None:
    """Space around it does not matter."""
    (tmp_path / "key").write_bytes(content)
    assert read_key(str(tmp_path / "key")) == SECRET


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", SECRET[:-1], SECRET + b"x", SECRET + b"\n" + PUBLIC, z85.decode(SECRET), b"\xff" * 40, b"#" * 40,
     b"~" * 40, b" " * 40, SECRET[:39] + b"\0", b"\xef\xbb\xbf" + SECRET],
)  # fmt: skip
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the file, and says nothing about what is in it."""
    path = tmp_path / "server_secretkey"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_key(str(path))
    assert str(caught.value) == f"no CURVE key in {path}: expected 40 characters of Z85"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Each with the system's own reason; a file without an end is not read to its end."""
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        ("/dev/zero", "expected 40"),
    ):
        with pytest.raises(ConfigError, match=f"no CURVE key in {path}: {reason}"):
            read_key(str(path))


def request(*tail: bytes) -> list[bytes]:
    return [b"1.0", b"1", b"", b"192.0.2.1", b"", *tail]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request(b"CURVE", z85.decode(PUBLIC)), b"200"),
        (request(b"CURVE", z85.decode(OTHER)), b"400"),
        (request(b"CURVE", PUBLIC), b"400"),
        (request(b"CURVE", b""), b"400"),
        (request(b"CURVE"), b"400"),
        (request(b"CURVE", z85.decode(PUBLIC), b""), b"400"),
        (request(b"NULL"), b"400"),
        (request(b"PLAIN", b"user", z85.decode(PUBLIC)), b"400"),
        (request(b"NULL", z85.decode(PUBLIC)), b"400"),
    ],
)
def test_only_one_key_is_admitted(asked: list[bytes], status: bytes) -> None:
    """And the refused are counted."""
    admission = Admission(PUBLIC)
    version, number, answered, _, user, more = admission.answer(asked)
    assert (version, number, answered, user, more) == (b"1.0", b"1", status, b"", b"")
    assert admission.refused == (status != b"200")
