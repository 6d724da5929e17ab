"""Binding: what is bound is told, what cannot be bound is explained, and nothing of others is touched."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from appliance.errors import ApplianceError
from appliance.zeromq.endpoint import bind, is_public


@pytest.fixture
def sock() -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context.socket(zmq.SUB)
    context.destroy(linger=0)


@pytest.fixture
def other(sock: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """A second socket; it goes with the first one's context."""
    second: zmq.Socket[bytes] = sock.context.socket(zmq.SUB)
    return second


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        ("tcp://127.0.0.1:5000", False),
        ("tcp://127.8.8.8:5000", False),
        ("tcp://[::1]:5000", False),
        ("tcp://localhost:5000", False),
        ("ipc:///run/x.sock", False),
        ("tcp://*:5000", True),
        ("tcp://0.0.0.0:5000", True),
        ("tcp://[::]:5000", True),
        ("tcp://192.0.2.7:5000", True),
        ("tcp://eth0:5000", True),
    ],
)
def test_loopback_and_ipc_are_not_public(endpoint: str, public: bool) -> None:
    """Only addresses that another machine can reach are public."""
    assert is_public(endpoint) is public


def test_the_chosen_port_is_told(sock: zmq.Socket[bytes]) -> None:
    """Port 0 comes back as the port that was chosen, and somebody listens there."""
    endpoint = bind(sock, "tcp://127.0.0.1:0")
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port))).close()


def test_ipv6_does_not_change_how_ipv4_is_bound(sock: zmq.Socket[bytes]) -> None:
    """A socket with endpoints of both kinds binds each as it is written."""
    assert bind(sock, "tcp://127.0.0.1:0").startswith("tcp://127.0.0.1:")
    assert bind(sock, "tcp://[::1]:0").startswith("tcp://[::1]:")
    assert bind(sock, "tcp://127.0.0.1:0").startswith("tcp://127.0.0.1:")


def test_a_taken_port_is_explained(sock: zmq.Socket[bytes], other: zmq.Socket[bytes]) -> None:
    """The message names the endpoint once, says what is wrong and what it may be."""
    endpoint = bind(sock, "tcp://127.0.0.1:0")
    with pytest.raises(ApplianceError) as caught:
        bind(other, endpoint)
    assert str(caught.value) == (
        f"cannot bind {endpoint}: Address already in use (another program uses this address, perhaps another appliance)"
    )


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("tcp://192.0.2.1:0", "Cannot assign requested address (no interface of this machine has this address)"),
        ("tcp://nosuchdev0:0", "No such device (no interface of this machine has this address)"),
        ("tcp://127.0.0.1:x", "Invalid argument"),
        ("tcp://127.0.0.1", "Invalid argument"),
        ("carrier://pigeon", "Protocol not supported"),
        ("ipc:///proc/none/x.sock", "No such file or directory"),
    ],
)
def test_what_cannot_be_bound_is_explained(sock: zmq.Socket[bytes], endpoint: str, told: str) -> None:
    """Each mistake has a message of one line."""
    with pytest.raises(ApplianceError) as caught:
        bind(sock, endpoint)
    assert str(caught.value) == f"cannot bind {endpoint}: {told}"


def test_an_ipc_folder_is_made_for_us_alone(sock: zmq.Socket[bytes], tmp_path: Path) -> None:
    """A missing folder is made with mode 0700 and the socket appears in it."""
    path = tmp_path / "run" / "logs.sock"
    assert bind(sock, f"ipc://{path}") == f"ipc://{path}"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.is_socket()


def test_a_live_ipc_socket_is_not_stolen(sock: zmq.Socket[bytes], other: zmq.Socket[bytes], tmp_path: Path) -> None:
    """The second one is refused, and the first one still answers at that path."""
    endpoint = bind(sock, f"ipc://{tmp_path}/logs.sock")
    inode = (tmp_path / "logs.sock").stat().st_ino
    with pytest.raises(ApplianceError, match=r"another process serves this socket \(another program"):
        bind(other, endpoint)
    assert (tmp_path / "logs.sock").stat().st_ino == inode
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(os.fspath(tmp_path / "logs.sock"))


def test_a_busy_ipc_socket_is_not_waited_for(sock: zmq.Socket[bytes], tmp_path: Path) -> None:
    """One that is served, but accepts nobody just now, is in use; nothing blocks."""
    path = os.fspath(tmp_path / "logs.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen(0)
        client.connect(path)
        with pytest.raises(ApplianceError, match="another process serves this socket"):
            bind(sock, f"ipc://{path}")


def test_a_stale_ipc_socket_is_replaced(sock: zmq.Socket[bytes], tmp_path: Path) -> None:
    """A socket file that a crash left behind is no obstacle."""
    path = tmp_path / "logs.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(os.fspath(path))
        stale.listen()
    bind(sock, f"ipc://{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(os.fspath(path))


def test_a_file_that_is_no_socket_survives(sock: zmq.Socket[bytes], tmp_path: Path) -> None:
    """A mistyped path does not cost a file: libzmq alone would remove it."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    with pytest.raises(ApplianceError, match=r"there is something that is no socket \(remove it"):
        bind(sock, f"ipc://{precious}")
    assert precious.read_text() == "data"


def test_an_ipc_path_that_is_too_long_is_explained(sock: zmq.Socket[bytes], tmp_path: Path) -> None:
    """The limit of the operating system is told in its words."""
    with pytest.raises(ApplianceError, match=r"File name too long$"):
        bind(sock, f"ipc://{tmp_path}/{'x' * 120}.sock")
