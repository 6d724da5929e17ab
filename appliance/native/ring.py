"""The packets of an interface at wire speed: a kernel ring whose blocks are copied into segments, without the GIL."""

from __future__ import annotations

import enum
import errno
from typing import Any, NamedTuple

from appliance._native import ffi, lib
from appliance.native.handles import Owner, fail, opened
from appliance.native.pcap import SNAPLEN_MAX
from appliance.native.ring_output import RingOutput
from appliance.native.ring_tap import RingTap

__all__ = ["NEW_GROUP", "Ring", "RingCounts", "RingStatus"]

BLOCK_BYTES = 1 << 20
NEW_GROUP = -1
_ALONE = -2


class RingStatus(enum.IntEnum):
    """Why `Ring.run` came back."""

    IDLE = 0
    """The time is up, and nothing more is ready."""
    MORE = 1
    """The time or the blocks are up, and more may be ready."""
    FULL = 2
    """The next packet belongs into the next segment."""
    WOKEN = 3
    """By `Ring.wake`."""
    BUSY = 4
    """All buffers wait for the disk; the ring fills meanwhile. Go on."""
    FAILED = 5
    """The output has an error: finish its segment, go on with another one or with none."""
    DOWN = 6
    """The interface is down, told once; packets come by themselves when it is up again."""
    GONE = 7
    """The interface was removed. All that had come before is done."""
    BROKEN = 8
    """Another error of the socket: `Ring.error`."""


class RingCounts(NamedTuple):
    """Packets since the ring was made; ``packets == stored + discarded + cut + waiting``."""

    packets: int
    """That came out of the ring."""
    bytes: int
    """Their true lengths."""
    stored: int
    """Accepted by an output; what of them was lost with its file says `RingSegment.lost_packets`."""
    waiting: int
    """The next call of `Ring.run` begins with them."""
    discarded: int
    """There was no output."""
    discarded_bytes: int
    cut: int
    """The tap did not want them."""
    cut_bytes: int
    truncated: int
    """Of the stored ones, longer than `snaplen`."""
    tags: int
    """VLAN tags put back."""
    hardware_times: int
    """With a time of the interface's own clock."""
    blocks: int
    damaged: int
    """Blocks of the kernel that made no sense; their rest was left out."""
    kernel_drops: int
    """There was no room in the ring."""
    freezes: int
    """How often it was full."""


class Ring(Owner):
    """Records the frames of one interface, in both directions (on a loopback interface each once).

    It is deaf until `listen`. One thread at a time, but for `wake`. It owns its socket: tell the loop before you
    `close` it. VLAN tags that the kernel took off are put back, all 16 bits and their protocol.

    Args:
        interface: name.
        ring_bytes: of the kernel's ring, rounded down to 1 MiB blocks, 2 MiB to 4 GiB. What the longest stall of
            the disk and of this process needs.
        retire_ms: how long a packet waits at most for its block to fill, 1 to 10000.
        snaplen: bytes kept of each packet, 1 to 262144.
        promiscuous: also what is for others, by membership: as long as the ring lives.
        hardware_time: ask the interface for times of its own clock, which needs CAP_NET_ADMIN; `has_hardware_time` says
            whether it has any.
        program: of `compile_filter` for that interface and `snaplen`; None: everything.
        fanout: None: alone; `NEW_GROUP`, or the `fanout` of another ring of the interface: the packets are shared by
            flow. `listen` with all of them when all are made.

    Raises:
        ValueError: a limit is out of range, or the kernel does not take the program.
        MemoryError: there is not enough memory for it.
        PermissionError: CAP_NET_RAW is missing.
        OSError: `errno.ENODEV`, there is no such interface; `errno.EPFNOSUPPORT`, its frames have no link type of PCAP.

    Source: packet(7), Linux' networking/packet_mmap, tcpdump.org/linktypes.html.
    """

    def __init__(
        self,
        interface: str,
        *,
        ring_bytes: int = 64 << 20,
        retire_ms: int = 50,
        snaplen: int = SNAPLEN_MAX,
        promiscuous: bool = True,
        hardware_time: bool = False,
        program: bytes | None = None,
        fanout: int | None = None,
    ) -> None:
        out = ffi.new("struct ring **")
        options: Any = ffi.new(
            "struct ring_options *",
            {
                "blocks": ring_bytes // BLOCK_BYTES,
                "retire_ms": retire_ms,
                "snaplen": snaplen,
                "promiscuous": promiscuous,
                "hardware_time": hardware_time,
                "fanout": _ALONE if fanout is None else fanout,
            },
        )
        code = ffi.from_buffer(program or b"")
        options.program, options.program_bytes = code, len(program or b"")
        error = lib.ring_open(interface.encode(), options, out)
        super().__init__(opened("Ring", error, out, lib.ring_close))
        self._tap: object = None
        self.linktype = int(lib.ring_linktype(self._handle))
        self.fanout = fanout if fanout is None else int(lib.ring_fanout(self._handle))
        self.has_hardware_time = bool(lib.ring_has_hardware_time(self._handle))

    def fileno(self) -> int:
        """The socket, to wait for; do not read from it."""
        return int(lib.ring_fd(self.open_handle))

    def listen(self) -> None:
        """Hear from now on, with the filter.

        Raises:
            OSError: the kernel has no memory for the filter.
        """
        error = lib.ring_listen(self.open_handle)
        if error:
            fail(error)

    def deafen(self) -> None:
        """Hear no more. `run` until nothing is `pending`, which takes `retire_ms` at most, to get all that came.

        Raises:
            OSError: the kernel has no memory for it.
        """
        error = lib.ring_deafen(self.open_handle)
        if error:
            fail(error)

    @property
    def pending(self) -> bool:
        """Whether packets are in the ring, handed over by the kernel or not yet."""
        return bool(lib.ring_pending(self.open_handle))

    def set_filter(self, program: bytes | None) -> None:
        """Change the filter; no packet that passes both is lost, and what waits in the ring stays.

        Raises:
            ValueError: the kernel does not take the program; nothing has changed.
            OSError: the kernel has no memory for it.
        """
        code = ffi.from_buffer(program or b"")
        error = lib.ring_set_filter(self.open_handle, code, len(program or b""))
        if error == errno.EINVAL:
            raise ValueError("the kernel does not take the filter program")
        if error:
            fail(error)

    def attach(self, tap: RingTap | None) -> None:
        """Show it every packet from the next `run` on; None: nobody looks. Between two runs.

        Raises:
            ValueError: packets wait that the former tap has judged (`RingCounts.waiting`): run on before.
        """
        handle = None if tap is None else tap.open_handle
        if lib.ring_index_attach(ffi.NULL if handle is None else handle, self.open_handle):
            raise ValueError("packets wait that another tap has judged")
        self._tap = handle

    def run(self, output: RingOutput | None, *, max_blocks: int = 0, run_ms: int = 0) -> RingStatus:
        """Copy packets into the output's open segment, or discard and count them if there is none. Without the GIL.

        Args:
            output: where to.
            max_blocks: come back after so many blocks of 1 MiB; 0: no limit.
            run_ms: come back after so long; 0: never wait, but take what is ready.

        Returns:
            Why it came back. Call it again after each: a block that is half done goes on behind its last packet.
        """
        handle = None if output is None else output.open_handle
        tap = self._tap  # noqa: F841 - lives as long as the call, also if another thread closes the ring
        return RingStatus(lib.ring_run(self.open_handle, ffi.NULL if handle is None else handle, max_blocks, run_ms))

    @property
    def error(self) -> int:
        """The errno of the socket's last failure."""
        return int(lib.ring_error(self.open_handle))

    def wake(self) -> None:
        """Make the `run` that runs, or else the next one, return `WOKEN`. From any thread."""
        lib.ring_wake(self.open_handle)

    def counts(self) -> RingCounts:
        """What came so far; the kernel's drops are those until now."""
        counts = ffi.new("struct ring_counts *")
        lib.ring_get_counts(self.open_handle, counts)
        return RingCounts(*(getattr(counts, field) for field in RingCounts._fields))
