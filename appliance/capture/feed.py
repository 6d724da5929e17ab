"""The feed of a handler: packets into blocks, blocks into segments with exact limits. Never waits.

What does not fit, because both blocks are with the writer, stays where it is, and the caller decides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import trio

from appliance.native.pcap import PcapBlock, PcapSpan, Received, record_bytes
from appliance.runtime.pattern import PathPattern
from appliance.runtime.rotation import Rotation

from .batch import View
from .plan import Load, Plan, Style

__all__ = ["FLUSH_EVERY_S", "Feed"]

FLUSH_BYTES = 1 << 20
HEADERS_MAX = 80
"""Bytes of the longest headers that are put before a payload."""
FLUSH_EVERY_S = 1.0
"""Longest time that a packet stays in memory while the disk takes what it is given."""


class Feed:
    """See the module.

    Args:
        handler: its name.
        style: what its files look like.
        pattern: where they are.
        rotation: when they are complete.
        fields: values of the pattern's fields but ``seq``.
        capacity: bytes of each of the two blocks.
        missing: how many packets have been lost so far that should be in its files.
        clock_ns: wall time.
    """

    def __init__(
        self,
        handler: str,
        *,
        style: Style,
        pattern: PathPattern,
        rotation: Rotation,
        fields: dict[str, str],
        capacity: int,
        missing: Callable[[], int],
        clock_ns: Callable[[], int],
    ) -> None:
        self._handler = handler
        self._style, self._pattern, self._rotation, self._fields = style, pattern, rotation, fields
        self._missing = missing
        self._clock_ns = clock_ns
        self._missing_before = 0
        self._capacity = capacity
        self._flush_bytes = min(FLUSH_BYTES, capacity // 2)
        self._put_loads: trio.MemorySendChannel[Load] | None = None
        self._free: deque[PcapBlock] = deque()
        self._block: PcapBlock | None = None
        self._block_packets = 0
        self._block_since_s = math.inf
        self._seq = 0
        self.plan: Plan | None = None
        self.passed_on = 0
        """Packets given to the writer; it subtracts what it has dealt with."""
        self.packets = self.bytes = self.truncated = self.last_ns = 0

    @property
    def in_block(self) -> int:
        """Packets that are in memory and not with the writer."""
        return self._block_packets

    def open(self) -> trio.MemoryReceiveChannel[Load]:
        """Begin to take packets; returns what the writer writes.

        Raises:
            MemoryError: there is not enough memory for two blocks.
        """
        # Not bounded by itself: there are never more loads than blocks, and ends of segments between them.
        self._put_loads, loads = trio.open_memory_channel[Load](math.inf)
        self._free.extend(self._style.make_block(self._capacity) for _ in range(2))
        self._missing_before = self._missing()
        return loads

    def close(self) -> int:
        """Free the blocks, whatever is in them; returns how many packets were not passed on."""
        lost, self._block_packets, self._block_since_s = self._block_packets, 0, math.inf
        self.plan = None
        if self._block is not None:
            self._free.append(self._block)
            self._block = None
        while self._free:
            self._free.pop().close()
        return lost

    @property
    def has_spare(self) -> bool:
        """Whether a block is free or has room."""
        return bool(self._free) or self._block is not None

    def give_back(self, block: PcapBlock) -> None:
        """A block is written."""
        self._free.append(block)

    # ── packets ──

    def put(self, view: View, start: int) -> int:
        """Take packets from index `start` on; returns the index of the first that has to wait for a block."""
        while start < len(view):
            if self._block is None and not self._next_block():
                break
            assert self._block is not None
            start = self._store(self._block, view, start)
        return start

    def surely_takes(self, longest: int) -> float:
        """How many packets of at most `longest` bytes the segment takes, whatever their length; may be infinite."""
        items, size = self._room()
        fitting = math.inf
        if size is not None:
            fitting = size // record_bytes(self._style.format, min(longest + HEADERS_MAX, self._style.snaplen))
        return fitting if items is None else min(items, fitting)

    def _store(self, block: PcapBlock, view: View, start: int) -> int:
        """Store what the segment and the block take; ends the one or passes on the other if they are full."""
        max_packets, max_bytes = self._room()
        stored = view.copy_to(block, start=start, max_packets=max_packets, max_bytes=max_bytes)
        if stored.reason is Received.LIMIT and self.plan is None and stored.next == start:
            # Larger than a whole file may be: it gets one of its own.
            stored = view.copy_to(block, start=start, max_packets=1)
            if stored.next > start:
                stored = stored._replace(reason=Received.LIMIT)
        if stored.next > start:
            self.plan = self.plan or self._open_plan()
            self._count(self.plan, stored.next - start, block.take_span())
        if stored.reason is Received.LIMIT or (self.plan and self.plan.packets == self._rotation.max_items):
            self.end()
        elif stored.reason is Received.FULL:
            assert self._block_packets, "a block has room for any packet"
            self._pass_on(ends=False)
        return stored.next

    def _room(self) -> tuple[int | None, int | None]:
        """How many packets and bytes the segment still takes, or the next one if none is open."""
        items, size = self._rotation.max_items, self._rotation.max_bytes
        has_items, has_size = (self.plan.packets, self.plan.size) if self.plan else (0, self._style.frame_bytes)
        return None if items is None else items - has_items, None if size is None else max(0, size - has_size)

    def _count(self, plan: Plan, count: int, span: PcapSpan) -> None:
        self.packets += count
        self.bytes += span.wire_bytes
        self.truncated += span.truncated
        self.last_ns = max(self.last_ns, span.last_ns)
        if not self._block_packets:
            self._block_since_s = trio.current_time()
        self._block_packets += count
        plan.packets += count
        plan.size += span.size
        plan.first_ns = min(plan.first_ns or span.first_ns, span.first_ns)
        plan.last_ns = max(plan.last_ns, span.last_ns)

    # ── segments ──

    def check(self, now_s: float) -> float:
        """End what is due and pass on what has waited; returns when there is something to do again."""
        if self.plan is None:
            return math.inf
        if self.plan.due_s is not None and self.plan.due_s <= now_s:
            self.end()
            return math.inf
        due_s = math.inf if self.plan.due_s is None else self.plan.due_s
        # Without a spare block nothing can be passed on: the one that is given back has us looked at again.
        if self._block is None or not self._block_packets or not self._free:
            return due_s
        if self._block.used >= self._flush_bytes or now_s - self._block_since_s >= FLUSH_EVERY_S:
            self._pass_on(ends=False)
            return due_s
        return min(due_s, self._block_since_s + FLUSH_EVERY_S)

    def end(self) -> Plan | None:
        """End the segment; the next packet begins another one. Returns the one that was open."""
        plan = self.plan
        if plan is not None:
            missing = self._missing()
            plan.drops, self._missing_before = missing - self._missing_before, missing
            self._pass_on(ends=True)
        return plan

    def finish(self) -> None:
        """End the segment, and after it the loads."""
        self.end()
        if self._put_loads is not None:
            self._put_loads.close()

    def _next_block(self) -> bool:
        if self._free:
            self._block = self._free.pop()
        return self._block is not None

    def _open_plan(self) -> Plan:
        self._seq += 1
        wall_ns = self._clock_ns()  # before the other clock, see `Rotation.monotonic_deadline_ns`
        due_ns = self._rotation.monotonic_deadline_ns(wall_ns=wall_ns, mono_ns=int(trio.current_time() * 1e9))
        return Plan(
            handler=self._handler,
            path=self._pattern.render(wall_ns, {**self._fields, "seq": str(self._seq)}),
            due_s=None if due_ns is None else due_ns / 1e9,
            size=self._style.frame_bytes,
        )

    def _pass_on(self, *, ends: bool) -> None:
        assert self.plan is not None
        assert self._put_loads is not None
        block = self._block if self._block_packets else None
        self._put_loads.send_nowait(Load(plan=self.plan, block=block, packets=self._block_packets, ends=ends))
        self.passed_on += self._block_packets
        self._block_packets, self._block_since_s = 0, math.inf
        if block is not None:
            self._block = None
        if ends:
            self.plan = None
