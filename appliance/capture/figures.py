"""What captures say about themselves, in numbers: right from the first second on, and across rotations."""

from __future__ import annotations

import msgspec

from appliance.runtime.rates import RateMeter, Rates
from appliance.runtime.tidy import TidyFigures

from .segments import SegmentFigures

__all__ = ["CaptureFigures", "HandlerFigures", "Meter", "SocketFigures"]


class Meter:
    """Rates of packets and bytes; `sample` about once a second."""

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self._packets, self._bytes = RateMeter(now_s), RateMeter(now_s)

    def sample(self, now_s: float, packets: int, size: int) -> None:
        self._packets.sample(now_s, packets)
        self._bytes.sample(now_s, size)

    def rates(self, now_s: float, packets: int, size: int) -> tuple[Rates, Rates]:
        """Packets and bytes per second up to now."""
        return self._packets.rates(now_s, packets), self._bytes.rates(now_s, size)


class HandlerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One handler at one moment; counts since it was added."""

    name: str
    capture: str
    """The table that it is of."""
    path: str
    """Its pattern."""
    is_runtime: bool
    """It was added while running, and is not in the file."""
    open_file: str
    """The ``.part`` that is being written; empty if none."""
    packets: int
    """Stored, after transforms."""
    bytes: int
    """Their true lengths, without headers that were made for them."""
    packets_per_s: Rates
    bytes_per_s: Rates
    kernel_drops: int
    """Lost for all handlers of the socket, because nobody read them in time."""
    handler_drops: int
    """Lost for this one, because its disk or its transforms were too slow."""
    truncated: int
    """Stored shorter than they were."""
    transformed_away: int
    """Left out by a transform."""
    transform_errors: int
    write_errors: int
    queued: int
    """Packets that are neither in a file nor dropped."""
    last_packet_ns: int
    """Kernel time of the last packet stored; 0 if there was none."""
    age_s: float
    """Seconds since it was added."""
    segments: int
    """Finished files."""
    writer: SegmentFigures
    tidied: TidyFigures


class SocketFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport tells about its socket."""

    address: str = ""
    """As bound or connected; empty if it is not open."""
    receive_buffer: int = 0
    """Bytes that the kernel granted."""
    packets: int = 0
    bytes: int = 0
    """Their true lengths."""
    truncated: int = 0
    last_packet_ns: int = 0
    kernel_drops: int = 0
    untimed: int = 0
    """Packets without a time from the kernel; they got that of the call."""
    connections: int = 0
    """Open now."""
    connected: int = 0
    """Connections so far."""
    refused: int = 0
    """Connections that were closed because they broke the framing, or because there were too many."""


class CaptureFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One socket at one moment."""

    conn_type: str
    address: str
    """As bound or connected; empty if it is not open."""
    packets: int
    bytes: int
    packets_per_s: Rates
    bytes_per_s: Rates
    truncated: int
    """Longer than what is received of one."""
    kernel_drops: int
    untimed: int
    receive_buffer: int
    last_packet_ns: int
    """Kernel time of the last packet; 0 if there was none."""
    connections: int
    connected: int
    refused: int
    segments: int
    """Finished files of all handlers."""
    handlers: tuple[HandlerFigures, ...]
