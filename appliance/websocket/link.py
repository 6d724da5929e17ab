"""One connection from the acknowledgement of its topics to its end: what comes in, what goes out, signs of life."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from appliance.config import Websocket
from appliance.errors import RemoteProtocolError
from appliance.runtime.ledger import Account
from appliance.runtime.logs import Throttle
from appliance.runtime.peer_connection import PeerConnection
from appliance.wire.filters import PrefixSet
from appliance.wire.websocket import Closed, Ignored, Refused, SessionState
from appliance.wire.websocket_frames import WebsocketError
from appliance.wire.websocket_messages import Data
from appliance.zeek.messages import Event

from .figures import PeerFigures
from .greeting import READ_BYTES, Greeted
from .intake import Intake
from .tls import explain_tls

__all__ = ["Link"]

log = structlog.get_logger("websocket")

_LAST_WORDS_S = 1.0
_TOO_LARGE, _NO_GOODBYE = 1009, 1006  # RFC 6455 section 7.4.1
_BROKEN = "the server has closed the connection"


class Link(PeerConnection):
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
        super().__init__(
            greeted.stream,
            account,
            table,
            explain=explain_tls,
            ping_interval_s=table.ping_interval.seconds,
            read_bytes=READ_BYTES,
        )
        self._session, self._ack = greeted.session, greeted.ack
        self._address = address
        self._intake, self._why_not, self._refused = intake, why_not, refused
        self._throttle = Throttle()
        self._is_leaving = False

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
        self.queue.configure(table)

    def cut(self, reason: str, *, is_ours: bool = True) -> None:
        super().cut(reason, is_ours=is_ours or self._is_leaving)

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

    async def _begin(self) -> None:
        await self._hear()  # what came with the acknowledgement

    async def _take(self, data: bytes) -> None:
        self._session.receive_data(data)
        await self._hear()

    async def _end_of_stream(self) -> None:
        if not self._session.is_between_messages:
            self._intake.refuse("torn_message", "the connection ended within a message")
        await self._take(b"")

    async def _hear(self) -> None:
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

    def _say_bye(self) -> None:
        self._is_leaving = True
        self._session.close()

    def _ping(self) -> None:
        if self.is_ready:
            self._session.ping()
