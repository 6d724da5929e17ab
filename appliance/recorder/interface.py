"""The interface that is recorded: whether it is there and up, and the rings on it. Everything that opens one blocks."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import NamedTuple

from appliance.config import Recorder
from appliance.errors import ApplianceError, PrivilegeError
from appliance.native import NEW_GROUP, Ring, compile_filter

__all__ = ["RETIRE_MS", "InterfaceState", "MissingInterfaceError", "compile_program", "find_interface", "open_rings"]

RETIRE_MS = 50
"""How long a packet waits at most for its block of the ring to fill."""
_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_IFF_UP = 1  # linux/if.h
_IFREQ = struct.Struct("16sH14x")


class MissingInterfaceError(ApplianceError):
    """There is no such interface now; there may be one later."""


class _Missing(NamedTuple):
    """What the absence of a right means, in words for the operator."""

    text: str
    hint: str


_NO_RIGHT = _Missing(
    "cannot record from {}: CAP_NET_RAW is missing",
    "AmbientCapabilities=CAP_NET_RAW in the service's unit, or: setcap cap_net_raw+ep PROGRAM; "
    "CAP_NET_ADMIN is needed for hardware_time only",
)


class InterfaceState(NamedTuple):
    """An interface that is there."""

    number: int
    """Its index in the kernel; one that is made again under the same name has another."""
    is_up: bool


def find_interface(name: str) -> InterfaceState | None:
    """How that interface is; None: there is none."""
    request = _IFREQ.pack(name.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            _, flags = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
            return InterfaceState(socket.if_nametoindex(name), bool(flags & _IFF_UP))
        except OSError:
            return None


def compile_program(table: Recorder) -> bytes | None:
    """The filter as a program for the kernel; None: everything passes.

    Raises:
        MissingInterfaceError: there is no such interface, or it is down.
        PrivilegeError: CAP_NET_RAW is missing.
        ApplianceError: the text is no filter for that interface, or there is no libpcap.
    """
    if not table.filter:
        return None
    state = find_interface(table.interface)
    if state is None:
        raise MissingInterfaceError(f"there is no interface {table.interface}")
    try:
        return compile_filter(table.filter, snaplen=table.snaplen, interface=table.interface)
    except ValueError as exc:
        raise ApplianceError(f"recorder {table.name}: {exc}") from exc
    except PrivilegeError as exc:
        raise PrivilegeError(_NO_RIGHT.text.format(table.interface), hint=_NO_RIGHT.hint) from exc
    except ApplianceError as exc:
        if not state.is_up:  # libpcap opens no interface that is down
            raise MissingInterfaceError(f"interface {table.interface} is down: its filter cannot be compiled") from exc
        raise


def open_rings(table: Recorder) -> list[Ring]:
    """The rings of a recorder, which do not hear yet.

    Raises:
        MissingInterfaceError: there is no such interface.
        PrivilegeError: a capability is missing.
        ApplianceError: the kernel has no memory for them, or does not know the link type.
    """
    program = compile_program(table)
    rings: list[Ring] = []
    try:
        for _ in range(table.fanout):
            fanout = None if table.fanout == 1 else rings[0].fanout if rings else NEW_GROUP
            rings.append(
                Ring(
                    table.interface,
                    ring_bytes=int(table.ring),
                    retire_ms=RETIRE_MS,
                    snaplen=table.snaplen,
                    promiscuous=table.promiscuous,
                    hardware_time=table.hardware_time,
                    program=program,
                    fanout=fanout,
                )
            )
    except BaseException as exc:
        for ring in rings:
            ring.close()
        if isinstance(exc, OSError | MemoryError):
            raise _explain(exc, table) from exc
        raise
    return rings


def _explain(exc: OSError | MemoryError, table: Recorder) -> ApplianceError:
    if isinstance(exc, PermissionError):
        return PrivilegeError(_NO_RIGHT.text.format(table.interface), hint=_NO_RIGHT.hint)
    if isinstance(exc, MemoryError) or exc.errno == errno.ENOMEM:
        text = (
            f"cannot record from {table.interface}: the kernel has no memory for {table.fanout} rings of {table.ring}"
        )
        return ApplianceError(text, hint="a smaller ring, or a smaller fanout")
    if exc.errno == errno.ENODEV:
        return MissingInterfaceError(f"there is no interface {table.interface}")
    if exc.errno == errno.EPFNOSUPPORT:
        return ApplianceError(f"cannot record from {table.interface}: its frames have no link type of PCAP")
    return ApplianceError(f"cannot record from {table.interface}: {exc.strerror or exc}")
