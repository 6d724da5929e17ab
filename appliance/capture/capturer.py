"""The capturer: one socket and many handlers. This task only receives and offers; handlers write.

A handler that has no room is waited for a moment. If it still has none and another one has, its packets are dropped and
booked, and the others go on; if none has, nothing is received, and what the kernel drops is read from the socket.
"""

from __future__ import annotations

import math

import msgspec
import trio

from appliance.config import SOCKET_KEYS, CaptureGroup, Handler
from appliance.model import Segment

from .batch import Batch, SocketView
from .books import SocketBooks
from .figures import CaptureFigures, Meter
from .handler import HandlerTask, Surroundings
from .transports import make_transport

__all__ = ["SocketCapture"]

PATIENCE_S = 0.1
"""How long a handler without room holds up the others before it loses packets."""
SAMPLE_EVERY_S = 1.0
MEMORY = 64 << 20
"""Bytes for the blocks of all handlers, if that does not make them too small to be useful."""
BLOCK_MIN, BLOCK_MAX = 128 << 10, 4 << 20
"""At 100 MB/s the larger ones last 40 ms each."""

Key = tuple[str, str]
"""Names of a capture and a handler."""


class SocketCapture:
    """See the module. A service of the supervisor.

    Args:
        group: the tables.
        around: what is around it.
    """

    def __init__(self, group: CaptureGroup, *, around: Surroundings) -> None:
        self.group = group
        self.source = f"capture.{group.first.name}"
        self._around = around
        self._books = SocketBooks(around.ledger, self.source)
        self._transport = make_transport(group.first, door=self.source)
        self._tasks: dict[Key, HandlerTask] = {}
        """The handlers that get packets."""
        self._ending: dict[HandlerTask, trio.Event] = {}
        self._nursery: trio.Nursery | None = None
        self._room_came = trio.lowlevel.ParkingLot()
        self._sleeping: trio.CancelScope | None = None
        self._next_s = math.inf
        self._segments_before = 0
        self._is_stopped = False
        self._meter = Meter(trio.current_time())
        for name, handler in group.handlers:
            self._tasks[name, handler.name] = self._make(name, handler)
        self._want_addresses()

    def _make(self, capture: str, handler: Handler, *, is_runtime: bool = False) -> HandlerTask:
        table = next((each for each in self.group.captures if each.name == capture), self.group.first)
        return HandlerTask(
            msgspec.structs.replace(self.group.first, name=table.name),
            handler,
            around=self._around,
            kernel_drops=lambda: self._books.kernel_drops,
            room=self._on_room,
            capacity=self._capacity(),
            is_runtime=is_runtime or (capture, handler.name) in self.group.runtime,
        )

    def _capacity(self) -> int:
        """Bytes of each block of a handler."""
        first = self.group.first
        longest = {"ethernet": first.snaplen, "tcp": int(first.max_frame)}.get(first.conn_type, 0)
        count = max(len(self._tasks), len(self.group.handlers))
        return max(BLOCK_MIN, 2 * longest, min(BLOCK_MAX, MEMORY // (2 * count)))

    # ── what others may call ──

    def statistics(self) -> CaptureFigures:
        self._book_drops()
        sock, now_s = self._transport.statistics(), trio.current_time()
        handlers = tuple(task.statistics() for task in self._tasks.values())
        packets_per_s, bytes_per_s = self._meter.rates(now_s, sock.packets, sock.bytes)
        return CaptureFigures(
            conn_type=self.group.first.conn_type,
            address=sock.address,
            packets=sock.packets,
            bytes=sock.bytes,
            packets_per_s=packets_per_s,
            bytes_per_s=bytes_per_s,
            truncated=sock.truncated,
            kernel_drops=self._books.kernel_drops,
            untimed=sock.untimed,
            receive_buffer=sock.receive_buffer,
            last_packet_ns=sock.last_packet_ns,
            connections=sock.connections,
            connected=sock.connected,
            refused=sock.refused,
            segments=self._segments_before + sum(handler.segments for handler in handlers),
            handlers=handlers,
        )

    def stop(self) -> None:
        self._is_stopped = True
        self._transport.stop()

    def find(self, name: str, *, capture: str | None = None) -> list[HandlerTask]:
        """The handlers of that name, of one capture or of all."""
        return [
            task
            for (owner, each), task in self._tasks.items()
            if each == name and (capture is None or owner == capture)
        ]

    def ending(self, name: str, *, capture: str) -> list[trio.Event]:
        """What is set when the handler has ended and its files are finished; empty if it does not run."""
        return [self._ending[task] for task in self.find(name, capture=capture) if task in self._ending]

    def release(self) -> None:
        """It does not run, and will not run again: its accounts have their last figures."""
        for task in self._tasks.values():
            task.release()
        self._books.release()

    async def add_handler(self, handler: Handler, *, capture: str | None = None) -> None:
        """Add a handler to the socket; it gets what is received from now on.

        Args:
            handler: with absolute paths.
            capture: the table that it is of; None: the first one.

        Raises:
            ValueError: there is one of that name, or its pattern or a transform is wrong; the text says so.

        Cancellation: it is added, or it is not.
        """
        key = (capture or self.group.first.name, handler.name)
        if key in self._tasks:
            raise ValueError(f"capture {key[0]!r} has a handler {handler.name!r} already")
        task = self._make(key[0], handler, is_runtime=True)
        if self._nursery is not None:
            await task.recover()
        if key in self._tasks:
            raise ValueError(f"capture {key[0]!r} has a handler {handler.name!r} already")
        self._tasks[key] = task
        self._want_addresses()
        if self._nursery is not None:
            self._launch(task)

    async def remove_handler(self, name: str, *, capture: str | None = None) -> int:
        """Take the handlers of that name off the socket and wait until their files are finished.

        Returns:
            How many there were.

        Cancellation: they are off, and finish by themselves.
        """
        tasks = self.find(name, capture=capture)
        over = [self._retire((task.capture, name)) for task in tasks]
        await trio.lowlevel.checkpoint()
        for event in over:
            await event.wait()
        return len(tasks)

    async def rotate(self, name: str, *, capture: str | None = None) -> list[Segment]:
        """End the open segments of the handlers of that name; returns those that had one, finished.

        Raises:
            KeyError: there is no such handler.
            OSError: a segment cannot be finished.
        """
        tasks = self.find(name, capture=capture)
        if not tasks:
            raise KeyError(name)
        segments: list[Segment] = []

        async def one(task: HandlerTask) -> None:
            segment = await task.rotate()
            if segment is not None:
                segments.append(segment)

        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(one, task)
        return segments

    async def rotate_all(self) -> None:
        """As `rotate`, for all handlers."""
        for name in {name for _, name in self._tasks}:
            await self.rotate(name)

    def apply(self, group: CaptureGroup) -> bool:
        """Take over changed handlers without closing the socket; a changed one begins a segment of its own.

        If another capture is the first one, packets are booked in its account from now on.

        Returns:
            Whether it could; if the socket is to be another one, nothing has changed.

        Raises:
            ValueError: the pattern or a transform of a handler is wrong; nothing has changed.
        """
        if any(getattr(self.group.first, key) != getattr(group.first, key) for key in SOCKET_KEYS):
            return False
        before, self.group = self.group, group
        wanted = {(name, handler.name): handler for name, handler in group.handlers}
        try:
            made = {
                key: self._make(key[0], handler)
                for key, handler in wanted.items()
                if key not in self._tasks or self._tasks[key].handler != handler
            }
        except ValueError:
            self.group = before
            raise
        if group.first.name != before.first.name:
            self._book_drops()
            self.source = f"capture.{group.first.name}"
            self._books.rename(self.source)
        for key in [key for key in self._tasks if key not in wanted or key in made]:
            self._retire(key)
        self._tasks.update(made)
        self._want_addresses()
        if self._nursery is not None:
            for task in made.values():
                self._launch(task)
        for key, task in self._tasks.items():
            task.is_runtime = key in group.runtime
        return True

    # ── the service ──

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if self._is_stopped:
            self._transport.stop()
        self._books.open()
        try:
            async with self._transport:
                await self._recover_all()
                try:
                    await self._serve(task_status)
                finally:
                    self._nursery = None
                    self._book_drops()
        finally:
            self._books.close()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as self._nursery:
            for task in self._tasks.values():
                self._launch(task)
            async with trio.open_nursery() as clocks:
                clocks.start_soon(self._run_clock)
                clocks.start_soon(self._run_sampler)
                task_status.started()
                await self._transport.run(self)
                clocks.cancel_scope.cancel()
            self._book_drops()
            self._nursery = None  # whoever is added now waits for the next run
            for task in self._tasks.values():
                task.close()

    def _want_addresses(self) -> None:
        self._transport.want_addresses(wanted=any(task.with_headers for task in self._tasks.values()))

    async def _recover_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for task in self._tasks.values():
                nursery.start_soon(task.recover)

    def _launch(self, task: HandlerTask) -> None:
        assert self._nursery is not None
        task.open()
        self._ending[task] = trio.Event()
        self._nursery.start_soon(self._run_task, task)

    async def _run_task(self, task: HandlerTask) -> None:
        try:
            await task.run()
        finally:
            self._ending.pop(task).set()
            if self._tasks.get((task.capture, task.handler.name)) is not task:
                self._segments_before += task.statistics().segments
                task.release()

    def _retire(self, key: Key) -> trio.Event:
        """No more packets for a handler; returns what is set when its files are finished."""
        task = self._tasks.pop(key)
        over = self._ending.get(task)
        if over is None:
            over = trio.Event()
            over.set()
            task.release()
        else:
            task.close()
        self._room_came.unpark_all()
        return over

    async def _run_clock(self) -> None:
        """End segments and pass blocks on when their time has come, whether or not anything arrives."""
        while True:
            now_s = trio.current_time()
            self._next_s = min((task.check(now_s) for task in self._tasks.values()), default=math.inf)
            with trio.move_on_at(self._next_s) as self._sleeping:
                await trio.sleep_forever()

    def _wake_at(self, when_s: float) -> None:
        if when_s < self._next_s:
            self._next_s = when_s
            if self._sleeping is not None:
                self._sleeping.deadline = min(self._sleeping.deadline, when_s)

    async def _run_sampler(self) -> None:
        while True:
            await trio.sleep(SAMPLE_EVERY_S)
            now_s = trio.current_time()
            sock = self._transport.statistics()
            self._meter.sample(now_s, sock.packets, sock.bytes)
            for task in self._tasks.values():
                task.sample(now_s)

    # ── packets: what the transport calls ──

    async def take(self, batch: Batch) -> None:
        """Offer packets to every handler; see the module."""
        count = len(batch)
        self._book_drops()
        with self._books.holding(count, lambda: bool(self._tasks)):
            behind = [task for task in self._tasks.values() if not task.begin(batch)]
            if behind:
                await self._catch_up(behind)
        self.note_taken(count)

    async def draw(self, view: SocketView) -> bool:
        """Let the only handler take packets from the socket; False if they have to come as a batch."""
        if len(self._tasks) != 1:
            return False
        (task,) = self._tasks.values()
        limit = task.draws(view.longest)
        if not limit:
            return False
        self._book_drops()
        view.begin(limit)
        count = task.draw(view)
        self._books.take(count)
        self.note_taken(count)
        if count < len(view):
            await self._room_came.park()
        return True

    def end_segments(self) -> None:
        for task in self._tasks.values():
            task.end_segment()

    def refuse(self, reason: str) -> None:
        self._books.refuse(reason)

    async def _catch_up(self, behind: list[HandlerTask]) -> None:
        """Wait until handlers that are behind have room, as long as that is fair to the others."""
        patience_s = trio.current_time() + PATIENCE_S
        while True:
            behind = [task for task in behind if self._tasks.get((task.capture, task.handler.name)) is task]
            behind = [task for task in behind if not task.proceed()]
            is_alone = len(behind) == len(self._tasks)
            if not is_alone:
                is_late = trio.current_time() >= patience_s
                for task in [task for task in behind if is_late or task.is_stalled]:
                    task.skip()
                    behind.remove(task)
            if not behind:
                return
            with trio.move_on_at(math.inf if is_alone else patience_s):
                await self._room_came.park()

    def note_taken(self, count: int) -> None:  # noqa: ARG002 - for those who watch
        """So many packets have gone to the handlers; they are to be on the disk soon."""
        now_s = trio.current_time()
        if self._next_s > now_s + SAMPLE_EVERY_S:
            self._wake_at(now_s + SAMPLE_EVERY_S)

    def _on_room(self, task: HandlerTask) -> None:
        self._room_came.unpark_all()
        self._wake_at(task.check(trio.current_time()))

    def _book_drops(self) -> None:
        self._books.note_kernel_drops(self._transport.kernel_drops)
