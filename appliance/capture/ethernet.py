"""Frames of an interface, as tcpdump sees them; needs CAP_NET_RAW and nothing else."""

from __future__ import annotations

import errno
from typing import Self

import msgspec
import structlog
import trio

from appliance.config import Capture
from appliance.errors import ApplianceError, PrivilegeError
from appliance.native.bpf import compile_filter
from appliance.native.receivers import EthernetReceiver
from appliance.runtime.logs import Throttle

from .figures import SocketFigures
from .sockets import warn_if_smaller
from .transport import Customer, PacketLoop, add_counts

__all__ = ["EthernetTransport"]

log = structlog.get_logger("capture")


class EthernetTransport:
    """A `Transport`.

    Args:
        capture: its table.
        door: for the log.
    """

    def __init__(self, capture: Capture, *, door: str) -> None:
        self._capture = capture
        self._door = door
        self._receiver: EthernetReceiver | None = None
        self._loop: PacketLoop | None = None
        self._is_stopped = False
        self._throttle = Throttle()
        self._before = SocketFigures()
        """Counts of receivers that were closed."""

    async def __aenter__(self) -> Self:
        capture, (interface, protocol) = self._capture, self._capture.address
        program: bytes | None = None
        if capture.filter:
            program = await trio.to_thread.run_sync(self._compile)
        try:
            self._receiver = receiver = EthernetReceiver(
                interface,
                protocol=protocol,
                snaplen=capture.snaplen,
                promiscuous=capture.promiscuous,
                receive_buffer=int(capture.receive_buffer),
                program=program,
            )
        except PermissionError as exc:
            raise PrivilegeError(f"cannot capture from {interface}: CAP_NET_RAW is missing") from exc
        except OSError as exc:
            raise ApplianceError(f"cannot capture from {interface}: {_explain(exc)}") from exc
        warn_if_smaller(receiver.granted, int(capture.receive_buffer), door=self._door)
        self._loop = PacketLoop(receiver, receiver.fileno(), slot_bytes=capture.snaplen)
        if self._is_stopped:
            self._loop.stop()
        return self

    def _compile(self) -> bytes:
        try:
            return compile_filter(
                self._capture.filter, snaplen=self._capture.snaplen, interface=self._capture.address[0]
            )
        except ValueError as exc:
            raise ApplianceError(f"filter {self._capture.filter!r}: {exc}") from exc

    async def __aexit__(self, *_: object) -> None:
        assert self._receiver is not None
        self._before = self._count(self._receiver)
        receiver, self._receiver, self._loop = self._receiver, None, None
        trio.lowlevel.notify_closing(receiver.fileno())
        receiver.close()

    async def run(self, customer: Customer) -> None:
        assert self._loop is not None
        await self._loop.run(customer, self._judge)

    def _judge(self, exc: OSError) -> None:
        if exc.errno != errno.ENETDOWN:
            raise ApplianceError(f"cannot capture from {self._capture.address[0]}: {_explain(exc)}") from exc
        if (held := self._throttle.admit("down")) is not None:
            log.warning("the interface is down; it goes on when it is up again", door=self._door,
                        interface=self._capture.address[0], more=held)  # fmt: skip

    def stop(self) -> None:
        self._is_stopped = True
        if self._loop is not None:
            self._loop.stop()

    def want_addresses(self, *, wanted: bool) -> None:
        """Frames have theirs in them."""

    def statistics(self) -> SocketFigures:
        receiver = self._receiver
        if receiver is None:
            return self._before
        figures = self._count(receiver)
        return msgspec.structs.replace(figures, address=self._capture.address[0], receive_buffer=receiver.granted)

    def _count(self, receiver: EthernetReceiver) -> SocketFigures:
        return add_counts(self._before, receiver, kernel_drops=self.kernel_drops)

    @property
    def kernel_drops(self) -> int:
        now = self._receiver.counts().kernel_drops if self._receiver else 0
        return self._before.kernel_drops + now


def _explain(exc: OSError) -> str:
    if exc.errno == errno.EPFNOSUPPORT:
        return "it is not an Ethernet interface"
    if exc.errno == errno.ENODEV:
        return "there is no such interface"
    return exc.strerror or str(exc)
