"""The UDP socket of a capturer: bound, in its groups, with as large a buffer as the kernel grants."""

from __future__ import annotations

import errno
import socket
import struct

import structlog

from appliance.config import parse_group
from appliance.errors import ApplianceError, PrivilegeError
from appliance.units import Size

from .multicast import join_group

__all__ = ["UdpSocket", "bind_to_interface", "set_buffer"]

log = structlog.get_logger("capture")

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SO_MEMINFO = 55
MEMINFO = struct.Struct("=9I")
MEMINFO_DROPS = 8  # linux/sock_diag.h


def set_buffer(sock: socket.socket, wanted: int, *, door: str) -> int:
    """Ask for a receive buffer and read back what was granted; says so if that is less.

    Returns:
        Bytes.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)  # beyond rmem_max, with CAP_NET_ADMIN
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    # The kernel doubles the request for its own bookkeeping and reports the doubled value. Source: socket(7).
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    warn_if_smaller(granted, wanted, door=door)
    return granted


def warn_if_smaller(granted: int, wanted: int, *, door: str) -> None:
    """Say that the kernel granted less than was wanted, and what to do about it."""
    if granted < wanted:
        log.warning("the kernel granted a smaller receive buffer; packets may be lost in a burst",
                    door=door, wanted=str(Size(wanted)), granted=str(Size(granted)),
                    hint=f"sysctl -w net.core.rmem_max={wanted}")  # fmt: skip


def bind_to_interface(sock: socket.socket, interface: str) -> None:
    """Receive only what comes through `interface`; empty: through any.

    Raises:
        PrivilegeError: old kernels want CAP_NET_RAW for that.
        OSError: there is no such interface.
    """
    if not interface:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except PermissionError as exc:
        raise PrivilegeError(f"cannot bind to interface {interface}: CAP_NET_RAW is missing") from exc


class UdpSocket(socket.socket):
    """A bound, non-blocking UDP socket.

    Args:
        host: numeric; empty: every IPv4 address. ``::`` takes IPv4, too.
        port: 0: any free one.
        buffer: bytes wanted for what waits.
        interface: through which packets come; empty: any.
        groups: multicast groups to join, each ``group`` or ``source@group``.
        door: for the log.

    Raises:
        ApplianceError: the address cannot be bound, or a group cannot be joined; the text says why.
    """

    def __init__(
        self, host: str, port: int, *, buffer: int, interface: str = "", groups: tuple[str, ...] = (), door: str
    ) -> None:
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
        try:
            bind_to_interface(self, interface)
            if groups:
                self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others may listen to the same groups
            self.granted = set_buffer(self, buffer, door=door)
            self.bind(address)
            for text in groups:
                self._join(text, interface)
        except OSError as exc:
            self.close()
            raise ApplianceError(
                f"cannot bind {host}:{port}/udp: {exc.strerror}",
                hint="another program uses it" if exc.errno == errno.EADDRINUSE else "",
            ) from exc
        except BaseException:
            self.close()
            raise

    def _join(self, text: str, interface: str) -> None:
        group, source = parse_group(text)
        try:
            join_group(self, group, source, interface=interface)
        except OSError as exc:
            hint = "name the interface" if exc.errno == errno.ENODEV and not interface else ""
            raise ApplianceError(f"cannot join {text}: {exc.strerror}", hint=hint) from exc

    @property
    def address(self) -> str:
        """As bound, ``127.0.0.1:8500`` or ``[::1]:8500``."""
        host, port = self.getsockname()[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"

    def take_drops(self) -> int:
        """Datagrams that the kernel dropped since the last call, because nobody read them in time."""
        total: int = MEMINFO.unpack(self.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[MEMINFO_DROPS]
        more, self._seen_drops = (total - self._seen_drops) & 0xFFFFFFFF, total
        return more
