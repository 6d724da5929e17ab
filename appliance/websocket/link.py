"""One connection from the acknowledgement of its topics to its end: what comes in, what goes out, signs of life."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from appliance.config import Websocket
from appliance.errors import RemoteProtocolError
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.outgoing import PeerQueue
from appliance.wire.filters import PrefixSet
from appliance.wire.websocket import Closed, Ignored, Refused, SessionState
from appliance.wire.websocket_frames import WebsocketError
from appliance.wire.websocket_messages import Data
from appliance.zeek.messages import Event

from .figures import PeerFigures
from .greeting import READ_BYTES, Greeted, receive, send
from .intake import Intake

__all__ = ["GOODBYE_PATIENCE_S", "Link"]

log = structlog.get_logger("websocket")

WRITE_BYTES = 256 << 10
GOODBYE_PATIENCE_S = 3.0
"""How long a server may take to answer our goodbye."""
_LAST_WORDS_S = 1.0
MISSED_PINGS = 3
_TOO_LARGE, _NO_GOODBYE = 1009, 1006  # RFC 6455 section 7.4.1
_BROKEN = "the server has closed the connection"


class Link:
    """See the module.

    Args:
        greeted: the connection. It is closed at the end of `run`.
        table: of queue and pings.
        address: where the server is, for people.
        topics: what it has subscribed to.
        account: books each message that is to be sent.
        intake: takes what comes in.
        why_not: as in `Intake.take`.
        refused: called for each error that the server answers with.
    """

    def __init__(
        self,
        greeted: Greeted,
        table: Websocket,
        *,
        address: str,
        topics: Sequence[str],
        account: Account,
        intake: Intake,
        why_not: Callable[[str], str],
        refused: Callable[[], object],
    ) -> None:
        self.name = greeted.ack.endpoint
        self.topics = PrefixSet(topics)
        self.ending = ""
        """Why the connection has ended, or is about to; empty as long as all is well."""
        self.is_ours = False
        """Whether it ends by our will."""
        self._stream, self._session, self._ack = greeted.stream, greeted.session, greeted.ack
        self._table, self._address = table, address
        self._intake, self._why_not, self._refused = intake, why_not, refused
        self.queue = PeerQueue(account, table, cut=self.cut)
        self._since = trio.current_time()
        self._throttle = Throttle()
        self._reading: trio.CancelScope | None = None
        self._writing = trio.CancelScope()
        self._is_paused = self._is_leaving = False
        self._quiet, self._resumed, self._answered = trio.Event(), trio.Event(), trio.Event()
        self._messages_in = self._bytes_in = self._messages_out = self._bytes_out = 0

    # ── what others may ask of it ──

    @property
    def is_ready(self) -> bool:
        """Whether messages can be sent."""
        return not self.ending and self._session.state is SessionState.READY

    def covers(self, prefixes: Sequence[str]) -> bool:
        """Whether everything on these topics comes through this connection."""
        return self.is_ready and all(self.topics.matches(prefix) for prefix in prefixes)

    def render(self, topic: str, event: Event) -> bytes:
        """An event as a frame, to be `put` in the order of rendering.

        Raises:
            LocalProtocolError: it cannot be transmitted.
        """
        self._flush_controls()
        self._session.publish(topic, event)
        return self._session.data_to_send()

    def configure(self, table: Websocket) -> None:
        """Take over what can be changed while it lasts."""
        self._table = table
        self.queue.configure(table)

    def cut(self, reason: str, *, is_ours: bool = True) -> None:
        """End it now: what was read is still handed on, what waits to be sent is dropped."""
        if not self.ending:
            self.ending, self.is_ours = reason, is_ours or self._is_leaving
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
        """Say goodbye and end it when the server has heard everything, or does not answer."""
        self._is_leaving, self._is_paused = True, False
        self._resumed.set()
        self._session.close()
        self._flush_controls()
        await self.queue.wait_idle()
        with trio.move_on_after(GOODBYE_PATIENCE_S):
            await self._answered.wait()
        self.cut("we have left")

    def statistics(self) -> PeerFigures:
        return PeerFigures(
            peer=self.name,
            address=self._address,
            since_s=round(trio.current_time() - self._since, 3),
            filter_entries=len(self.topics.prefixes),
            version=self._ack.version,
            messages_in=self._messages_in,
            bytes_in=self._bytes_in,
            messages_out=self._messages_out,
            bytes_out=self._bytes_out,
            queued=self.queue.messages,
            queued_bytes=self.queue.size,
            dropped=self.queue.dropped,
        )

    # ── its life ──

    async def run(self) -> None:
        """Read and write until the connection ends; `ending` says why it did.

        Cancellation: what was read and not handed on is dropped for ``shutdown``, and what waits to be sent.
        Resource handling: the connection is closed.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                if self._table.ping_interval:
                    nursery.start_soon(self._watch, self._table.ping_interval.seconds)
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
                    await send(self._stream, data)
                except RemoteProtocolError as exc:
                    self.cut(str(exc), is_ours=False)
                    return
                self._messages_out += messages
                self._bytes_out += len(data)
                self.queue.settle()

    async def _read(self) -> None:
        await self._take()  # what came with the acknowledgement
        while not self.ending:
            if self._is_paused:
                self._quiet.set()
                await self._resumed.wait()
                continue
            is_cut = True
            data = b""
            try:
                with trio.CancelScope() as self._reading:
                    data = await receive(self._stream, READ_BYTES)
                    is_cut = False
            except RemoteProtocolError as exc:
                self.cut(str(exc), is_ours=False)
            finally:
                self._reading = None
            if is_cut:
                continue
            if not data and not self._session.is_between_messages:
                self._intake.refuse("torn_message", "the connection ended within a message")
            self._bytes_in += len(data)
            self._session.receive_data(data)
            await self._take()

    async def _take(self) -> None:
        """Take all that is there, and answer what is to be answered."""
        found: list[Data] = []
        ending, is_broken = "", False
        try:
            while (event := self._session.next_event()) is not None:
                match event:
                    case Data():
                        found.append(event)
                    case Ignored(reason, detail):
                        self._intake.refuse(reason, detail)
                    case Refused(code, context):
                        self._hear_refusal(code, context)
                    case Closed(code, reason):
                        ending = (
                            _BROKEN if code == _NO_GOODBYE else f"the server said goodbye: {code} {reason}".rstrip()
                        )
        except RemoteProtocolError as exc:
            is_broken, ending = True, f"it broke the protocol: {exc}"
            is_large = isinstance(exc, WebsocketError) and exc.code == _TOO_LARGE
            self._intake.refuse("too_large" if is_large else "bad_message", str(exc))
        self._flush_controls()
        self._messages_in += len(found)
        if found:
            await self._intake.take(found, self.name, self._why_not)
        if ending:
            with trio.move_on_after(_LAST_WORDS_S):
                await self.queue.wait_idle()
            self.cut(ending, is_ours=is_broken)

    def _hear_refusal(self, code: str, context: str) -> None:
        self._refused()
        if (held := self._throttle.admit(code)) is not None:
            log.warning("the server refuses something that we have published", code=code, context=context, more=held)

    def _flush_controls(self) -> None:
        self.queue.put_control(self._session.data_to_send())

    async def _watch(self, interval_s: float) -> None:
        """Ask for signs of life. Time in which we do not read ourselves says nothing about the server."""
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
            if self.is_ready:
                self._session.ping()
                self._flush_controls()
