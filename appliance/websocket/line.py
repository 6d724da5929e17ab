"""A connection that is made again and again: by back-off with jitter, for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from appliance.config import Websocket
from appliance.runtime.backoff import Backoff
from appliance.runtime.dialing import DialerFigures, Dialing
from appliance.runtime.logs import Throttle
from appliance.wire.websocket import Ignored

from .greeting import Access, Greeted, Unwelcome, greet
from .link import Link

__all__ = ["HEALTHY_S", "Line"]

log = structlog.get_logger("websocket")

HEALTHY_S = 10.0
"""A connection that lasted so long was a good one: the next is made after the first delay again."""


class Line:
    """See the module.

    Args:
        table: of time-outs and delays.
        access: how the server is reached.
        topics: gives what to subscribe to, for each connection anew.
        make_link: makes the connection's other half.
        changed: called after each acknowledgement and at each end.
        ignored: told of messages before the acknowledgement that make no sense.
    """

    def __init__(
        self,
        table: Websocket,
        access: Access,
        *,
        topics: Callable[[], Sequence[str]],
        make_link: Callable[[Greeted, Sequence[str]], Link],
        changed: Callable[[], object],
        ignored: Callable[[Ignored], object],
    ) -> None:
        self._table, self._access = table, access
        self._topics, self._make_link, self._changed, self._ignored = topics, make_link, changed, ignored
        self._throttle = Throttle()
        self._scope = trio.CancelScope()
        self._backoff = self._make_backoff()
        self._dialing = Dialing(_patience_s(table))
        self._is_stopped = False
        self.link: Link | None = None
        """The connection, as long as there is one."""

    def _make_backoff(self) -> Backoff:
        table = self._table
        return Backoff(first_s=table.retry_interval.seconds, longest_s=table.retry_max.seconds)

    def configure(self, table: Websocket) -> None:
        """Take over what can be changed while it lasts."""
        self._table = table
        self._backoff = self._make_backoff()
        self._dialing.reach.patience_s = _patience_s(table)
        if self.link is not None:
            self.link.configure(table)

    def statistics(self) -> DialerFigures:
        return self._dialing.figures(self._table.url)

    def stop(self) -> None:
        """Dial nothing more; what is connected stays."""
        self._is_stopped = True
        if self.link is None:
            self._scope.cancel()

    async def leave(self) -> None:
        """`stop`, and say goodbye."""
        self.stop()
        if self.link is not None:
            await self.link.leave()

    async def run(self) -> None:
        """Go on until stopped."""
        with self._scope:
            while not self._is_stopped:
                self._dialing.begin()
                try:
                    await self._live()
                except Unwelcome as exc:
                    self._dialing.fail(str(exc))
                    if (held := self._throttle.admit(str(exc))) is not None:
                        log.warning("cannot connect, trying on", url=self._table.url, error=str(exc), more=held)
                if self._is_stopped:
                    return
                self._dialing.wait()
                await trio.sleep(self._backoff.next_s())

    async def _live(self) -> None:
        """Connect, and live through it."""
        topics = tuple(self._topics())
        greeted = await greet(self._table, self._access, topics, ignored=self._ignored)
        link = self.link = self._make_link(greeted, topics)
        self._dialing.succeed()
        began = trio.current_time()
        log.info("connected", url=self._table.url, endpoint=greeted.ack.endpoint, version=greeted.ack.version)
        try:
            self._changed()
            await link.run()
        finally:
            self.link = None
            self._changed()
        self._dialing.fail(link.ending)
        if trio.current_time() - began >= HEALTHY_S:
            self._backoff.reset()
        tell = log.info if link.is_ours and self._is_stopped else log.warning
        tell("disconnected", url=self._table.url, endpoint=greeted.ack.endpoint, reason=link.ending)


def _patience_s(table: Websocket) -> float:
    """How long the longest wait, and an attempt after it, take."""
    return table.retry_max.seconds + table.connect_timeout.seconds + table.ack_timeout.seconds
