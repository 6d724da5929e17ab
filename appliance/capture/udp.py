"""Datagrams: a bound socket, its multicast groups, and what its kernel dropped."""

from __future__ import annotations

import errno
from typing import Self

import msgspec
import trio

from appliance.config import Capture
from appliance.native.receivers import DatagramReceiver

from .figures import SocketFigures
from .sockets import UdpSocket
from .transport import Customer, PacketLoop, add_counts

__all__ = ["UdpTransport"]

LONGEST = 65535
_HARMLESS = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE, errno.EPROTO})


class UdpTransport:
    """A `Transport`.

    Args:
        capture: its table.
        door: for the log.
    """

    def __init__(self, capture: Capture, *, door: str) -> None:
        self._capture = capture
        self._door = door
        self._socket: UdpSocket | None = None
        self._receiver: DatagramReceiver | None = None
        self._loop: PacketLoop | None = None
        self._is_stopped = self._has_addresses = False
        self._drops = 0
        self._before = SocketFigures()
        """Counts of sockets that were closed."""

    async def __aenter__(self) -> Self:
        host, port = self._capture.address
        self._socket = sock = UdpSocket(
            host,
            port,
            buffer=int(self._capture.receive_buffer),
            interface=self._capture.interface,
            groups=self._capture.multicast,
            door=self._door,
        )
        try:
            self._receiver = DatagramReceiver(sock.fileno(), slot_bytes=LONGEST, addresses=self._has_addresses)
        except BaseException:
            sock.close()
            raise
        self._loop = PacketLoop(self._receiver, sock.fileno(), slot_bytes=LONGEST)
        if self._is_stopped:
            self._loop.stop()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._socket is not None
        assert self._receiver is not None
        self._before = add_counts(self._before, self._receiver, kernel_drops=self.kernel_drops)
        trio.lowlevel.notify_closing(self._socket)
        self._receiver.close()
        self._socket.close()
        self._socket = self._receiver = self._loop = None

    async def run(self, customer: Customer) -> None:
        assert self._loop is not None
        await self._loop.run(customer, _pass_over)

    def stop(self) -> None:
        self._is_stopped = True
        if self._loop is not None:
            self._loop.stop()

    def want_addresses(self, *, wanted: bool) -> None:
        if self._receiver is not None and wanted != self._has_addresses:
            self._receiver.set_addresses(wanted=wanted)
        self._has_addresses = wanted

    def statistics(self) -> SocketFigures:
        sock, receiver = self._socket, self._receiver
        if sock is None or receiver is None:
            return self._before
        figures = add_counts(self._before, receiver, kernel_drops=self.kernel_drops)
        return msgspec.structs.replace(figures, address=sock.address, receive_buffer=sock.granted)

    @property
    def kernel_drops(self) -> int:
        if self._socket is not None:
            self._drops += self._socket.take_drops()
        return self._drops


def _pass_over(exc: OSError) -> None:
    """What a router or a host says about a datagram that we never sent is no reason to stop.

    Raises:
        OSError: anything else.
    """
    if exc.errno not in _HARMLESS:
        raise exc
