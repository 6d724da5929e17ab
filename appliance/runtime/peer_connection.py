"""One connection to a peer, whatever it speaks: reading that can pause, writing from a queue, signs of life, and an end
that has a reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import trio

from appliance.errors import RemoteProtocolError

from .ledger import Account
from .outgoing import Bounds, PeerQueue
from .streams import Explain, Stream, receive, send

__all__ = ["BYE_PATIENCE_S", "PeerConnection"]

WRITE_BYTES = 256 << 10
BYE_PATIENCE_S = 3.0
"""How long a peer may take to answer a farewell; Broker itself waits as long."""
MISSED_PINGS = 3


class PeerConnection(ABC):
    """See the module. What comes in goes to `_take`, what `queue` holds goes out, while `run` runs.

    Args:
        stream: the connection. It is closed at the end of `run`.
        account: books each message that is to be sent.
        table: of the queue.
        explain: says what is behind a failure of TLS.
        ping_interval_s: how often to look for signs of life; 0: never.
        read_bytes: at most so much is read before others have their turn.
    """

    def __init__(
        self,
        stream: Stream,
        account: Account,
        table: Bounds,
        *,
        explain: Explain,
        ping_interval_s: float,
        read_bytes: int = 256 << 10,
    ) -> None:
        self.ending = ""
        """Why the connection has ended, or is about to; empty as long as all is well."""
        self.is_ours = False
        """Whether it ends by our will."""
        self.queue = PeerQueue(account, table, cut=self.cut)
        self._stream, self._explain = stream, explain
        self._ping_interval_s, self._read_bytes = ping_interval_s, read_bytes
        self._since = trio.current_time()
        self._reading: trio.CancelScope | None = None
        self._writing = trio.CancelScope()
        self._is_paused = False
        self._quiet, self._resumed, self._answered = trio.Event(), trio.Event(), trio.Event()
        self._messages_in = self._bytes_in = self._messages_out = self._bytes_out = 0

    # ── what the protocol does ──

    @abstractmethod
    async def _begin(self) -> None:
        """Take what was read before `run`."""

    @abstractmethod
    async def _take(self, data: bytes) -> None:
        """Take what was read."""

    @abstractmethod
    async def _end_of_stream(self) -> None:
        """The peer has closed its side: `cut` the connection, and do before what there is to be done."""

    @abstractmethod
    def _flush_controls(self) -> None:
        """Queue what the protocol wants to say for itself."""

    @abstractmethod
    def _say_bye(self) -> None:
        """Render a farewell; its answer sets ``_answered``."""

    @abstractmethod
    def _ping(self) -> None:
        """Render a question for a sign of life."""

    # ── what others may ask of it ──

    def cut(self, reason: str, *, is_ours: bool = True) -> None:
        """End it now: what was read is still handed on, what waits to be written is dropped."""
        if not self.ending:
            self.ending, self.is_ours = reason, is_ours
        self.queue.close("disconnected")
        self._writing.cancel()
        self._answered.set()
        self._resumed.set()
        if self._reading is not None:
            self._reading.cancel()

    def pause(self) -> None:
        """Read nothing more; what was read is handed on."""
        self._is_paused = True
        if self._reading is not None:
            self._reading.cancel()

    async def wait_quiet(self) -> None:
        """Wait until what was read before `pause` is handed on."""
        await self._quiet.wait()

    async def leave(self) -> None:
        """Say goodbye, and end it when the peer has heard everything, or does not answer."""
        self._is_paused = False
        self._resumed.set()
        self._say_bye()
        self._flush_controls()
        await self.queue.wait_idle()
        with trio.move_on_after(BYE_PATIENCE_S):
            await self._answered.wait()
        self.cut("we have left")

    # ── its life ──

    async def run(self) -> None:
        """Read and write until the connection ends; `ending` says why it did.

        Cancellation: what was read and not handed on is dropped for ``shutdown``, and what waits to be written.
        Resource handling: the connection is closed.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                if self._ping_interval_s:
                    nursery.start_soon(self._watch, self._ping_interval_s)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self.ending = self.ending or "shutdown"
            self.queue.close("shutdown" if self.ending == "shutdown" else "disconnected")
            self._answered.set()
            self._quiet.set()
            await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        with self._writing:
            while True:
                frames = await self.queue.lease(WRITE_BYTES)
                data = frames[0] if len(frames) == 1 else b"".join(frames)
                messages = self.queue.leased_messages
                try:
                    await send(self._stream, data, self._explain)
                except RemoteProtocolError as exc:
                    self.cut(str(exc), is_ours=False)
                    return
                self._messages_out += messages
                self._bytes_out += len(data)
                self.queue.settle()

    async def _read(self) -> None:
        await self._begin()
        while not self.ending:
            if self._is_paused:
                self._quiet.set()
                await self._resumed.wait()
                continue
            data = await self._receive()
            if data:
                self._bytes_in += len(data)
                await self._take(data)
            elif data is not None:
                await self._end_of_stream()

    async def _receive(self) -> bytes | None:
        """None: there was nothing to read before a `pause` or a `cut`."""
        try:
            with trio.CancelScope() as self._reading:
                return await receive(self._stream, self._read_bytes, self._explain)
        except RemoteProtocolError as exc:
            self.cut(str(exc), is_ours=False)
        finally:
            self._reading = None
        return None

    async def _watch(self, interval_s: float) -> None:
        """Ask for signs of life. Time in which we do not read ourselves says nothing about the peer."""
        missed, heard = 0, self._bytes_in
        while True:
            await trio.sleep(interval_s)
            if self._bytes_in != heard or self._reading is None:
                missed, heard = 0, self._bytes_in
                continue
            missed += 1
            if missed >= MISSED_PINGS:
                self.cut(f"it has sent nothing for {missed * interval_s:g} s")
                return
            self._ping()
            self._flush_controls()
