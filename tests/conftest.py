"""For every test: names that stay, a log that goes into a list only, and packets stamped on arrival."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture
from structlog.typing import EventDict

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@qq")


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name long bytes by their length: what is random or stamped in them would name a test anew in each process."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) and len(val) > 6 else None


@pytest.fixture(scope="session", autouse=True)
def _stamping() -> Iterator[None]:
    """Let the kernel stamp on arrival while tests run.

    It begins to some time after the first socket of the machine has asked for it, and until then takes the moment of
    the receive (Linux, net/core/dev.c, net_enable_timestamp; net/socket.c, __sock_recv_timestamp). So times of a stream
    that begins in between go back once, which no test is about.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            sock.sendto(b"", sock.getsockname())
            sent_ns = time.time_ns()
            _, ((_, _, stamp), *_), _, _ = sock.recvmsg(1, socket.CMSG_SPACE(TIMESPEC.size))
            seconds, ns = TIMESPEC.unpack(stamp)
            if seconds * 10**9 + ns <= sent_ns:
                break
        yield


@pytest.fixture
def told() -> Iterator[list[EventDict]]:
    """What is logged while the test runs, with `log_level` and `event`."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    yield capture.entries
    structlog.configure(**before)
