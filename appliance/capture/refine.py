"""Packets through the transforms of a handler, in a task of their own, with a bound on what waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
import trio

from appliance.native.receivers import Packet
from appliance.native.synth import synthesise_udp
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.quarantine import Quarantine

from .batch import Record
from .transform import Chain

__all__ = ["Refinery"]

log = structlog.get_logger("capture")

MAX_WAITING = 8192
MAX_WAITING_BYTES = 32 << 20
ROUND = 256
"""Packets for each hop to a worker thread."""


class Write(Protocol):
    """Takes what is to be written and waits until it is in a block; calls `wrote` with each number that is."""

    def __call__(self, records: Sequence[Record], wrote: Callable[[int], None]) -> Awaitable[None]: ...


class Refinery:
    """See the module.

    Args:
        chain: the transforms.
        on_error: ``drop``, ``pass`` or ``quarantine``.
        with_headers: packets get IP and UDP headers after the transforms.
        account: where packets are dropped.
        quarantine: where packets go that no transform could take.
        write: takes the results, in order.
        door: for the log.
        handler: for the log.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        on_error: str,
        with_headers: bool,
        account: Account,
        quarantine: Quarantine,
        write: Write,
        door: str,
        handler: str,
    ) -> None:
        self._chain = chain
        self._on_error = on_error
        self._with_headers = with_headers
        self._account = account
        self._quarantine = quarantine
        self._write = write
        self._door, self._handler = door, handler
        self._waiting: deque[Packet] = deque()
        self._waiting_bytes = 0
        self._in_hand = 0
        """Packets taken from those that wait, and neither written nor dropped."""
        self._is_closed = False
        self._changed = trio.lowlevel.ParkingLot()
        self._room: Callable[[], None] = lambda: None
        self._throttle = Throttle()
        self.errors = self.left_out = 0

    @property
    def queued(self) -> int:
        """Packets that are neither written nor dropped."""
        return len(self._waiting) + self._in_hand

    def on_room(self, call: Callable[[], None]) -> None:
        """Have `call` called when there is room again."""
        self._room = call

    def put(self, packets: Sequence[Packet]) -> bool:
        """Take all of `packets`, or none if too much waits already."""
        size = sum(len(packet.data) for packet in packets)
        if self._waiting and (
            len(self._waiting) + len(packets) > MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES
        ):
            return False
        self._waiting.extend(packets)
        self._waiting_bytes += size
        self._changed.unpark_all()
        return True

    def open(self) -> None:
        """Begin to take packets."""
        self._is_closed = False

    def clear(self) -> int:
        """Throw away what is queued; returns how many packets that were."""
        lost = self.queued
        self._waiting.clear()
        self._waiting_bytes = self._in_hand = 0
        return lost

    def close(self) -> None:
        """Nothing more comes; `run` ends when what waits is done."""
        self._is_closed = True
        self._changed.unpark_all()

    async def run(self) -> None:
        """Transform and write until `close`.

        Cancellation: what is neither written nor dropped stays `queued`.
        """
        while self._waiting or not self._is_closed:
            if not self._waiting:
                await self._changed.park()
                continue
            some = [self._waiting.popleft() for _ in range(min(ROUND, len(self._waiting)))]
            self._waiting_bytes -= sum(len(packet.data) for packet in some)
            self._in_hand = len(some)
            results = await self._chain.run([packet.data for packet in some])
            records = [
                record
                for packet, result in zip(some, results, strict=True)
                if (record := await self._settle(packet, result)) is not None
            ]
            await self._write(records, self._wrote)
            self._room()

    async def _settle(self, packet: Packet, result: bytes | Exception | None) -> Record | None:
        """What is written for a packet, if anything."""
        if isinstance(result, Exception):
            result = await self._fail(packet, result)
        elif result is None:
            self.left_out += 1
            self._drop("transform")
        if result is None:
            return None
        wire_len = len(result) + packet.wire_len - len(packet.data)
        if not self._with_headers or packet.sender is None or packet.local is None:
            return packet.ts_ns, result, wire_len
        try:
            whole = synthesise_udp(packet.sender, packet.local, result, wire_len=wire_len)
        except ValueError as exc:  # longer than a datagram can be
            self._complain(exc)
            self._drop("transform_error")
            return None
        return packet.ts_ns, whole, wire_len + len(whole) - len(result)

    async def _fail(self, packet: Packet, exc: Exception) -> bytes | None:
        self._complain(exc)
        if self._on_error == "pass":
            return packet.data
        if self._on_error == "quarantine":
            try:
                await trio.to_thread.run_sync(self._quarantine.save, packet.data)
            except OSError as error:
                log.error("cannot keep a packet that a transform refused", door=self._door,
                          handler=self._handler, error=str(error))  # fmt: skip
        self._drop("transform_error")
        return None

    def _complain(self, exc: Exception) -> None:
        self.errors += 1
        if (held := self._throttle.admit("transform")) is not None:
            log.error("a transform failed", door=self._door, handler=self._handler,
                      error=f"{type(exc).__name__}: {exc}", more=held)  # fmt: skip

    def _wrote(self, count: int) -> None:
        self._in_hand -= count

    def _drop(self, reason: str) -> None:
        self._account.drop(reason, 1)
        self._wrote(1)
