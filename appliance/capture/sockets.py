"""The UDP socket of a capturer: bound, with as large a buffer as the kernel grants, and what can be asked of it."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
import termios

import structlog

from appliance.errors import ApplianceError
from appliance.units import Size

__all__ = ["UdpSocket"]

log = structlog.get_logger("capture")

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SO_MEMINFO = 55
MEMINFO = struct.Struct("=9I")
MEMINFO_DROPS = 8  # linux/sock_diag.h


class UdpSocket(socket.socket):
    """A bound, non-blocking UDP socket.

    Args:
        host: numeric; empty: every IPv4 address. ``::`` takes IPv4, too.
        port: 0: any free one.
        buffer: bytes wanted for what waits.
        door: for the log.

    Raises:
        ApplianceError: the address cannot be bound; the text says why.
    """

    def __init__(self, host: str, port: int, *, buffer: int, door: str) -> None:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host or "0.0.0.0",  # noqa: S104 - an empty host means every address, as in the file
                port,
                type=socket.SOCK_DGRAM,
                flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
            )[0]
            super().__init__(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as exc:
            raise ApplianceError(f"cannot open {host}:{port}/udp: {exc.strerror}") from exc
        self._seen_drops = 0
        self._size = array.array("i", [0])
        try:
            self.granted = self._set_buffer(buffer)
            self.bind(address)
        except OSError as exc:
            self.close()
            raise ApplianceError(
                f"cannot bind {host}:{port}/udp: {exc.strerror}",
                hint="another program uses it" if exc.errno == errno.EADDRINUSE else "",
            ) from exc
        if self.granted < buffer:
            log.warning("the kernel granted a smaller receive buffer; packets may be lost in a burst",
                        door=door, wanted=str(Size(buffer)), granted=str(Size(self.granted)),
                        hint=f"sysctl -w net.core.rmem_max={buffer}")  # fmt: skip

    def _set_buffer(self, size: int) -> int:
        """Returns the bytes that were granted."""
        try:
            self.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)  # beyond rmem_max, with CAP_NET_ADMIN
        except PermissionError:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        # The kernel doubles the request for its own bookkeeping and reports the doubled value. Source: socket(7).
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2

    @property
    def address(self) -> str:
        """As bound, ``127.0.0.1:8500`` or ``[::1]:8500``."""
        host, port = self.getsockname()[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"

    def next_size(self) -> int:
        """Bytes of the datagram that would be received next; 0 if it is empty or there is none. Source: udp(7)."""
        fcntl.ioctl(self.fileno(), termios.FIONREAD, self._size)
        return self._size[0]

    def take_drops(self) -> int:
        """Datagrams that the kernel dropped since the last call, because nobody read them in time."""
        total: int = MEMINFO.unpack(self.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[MEMINFO_DROPS]
        more, self._seen_drops = (total - self._seen_drops) & 0xFFFFFFFF, total
        return more
