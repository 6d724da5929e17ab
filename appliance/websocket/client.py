"""A client of Zeek's WebSocket API: the service that stays connected, and the way out for who publishes.

Topics cannot be changed during a connection. Who asks for more for a while gets a connection of his own for them, until
the first one is made again, with all of them. An event that comes through several connections is taken once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from appliance.config import Websocket
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import Outlet, Published
from appliance.wire.filters import PrefixSet, minimal
from appliance.wire.websocket import Ignored

from .figures import ClientFigures
from .greeting import Access, Greeted, make_access
from .intake import Intake
from .line import Line
from .link import Link
from .publishing import WayOut, is_text

__all__ = ["WebsocketClient"]

_TUNABLE = frozenset(
    {
        "ack_timeout",
        "connect_timeout",
        "max_wait",
        "overflow",
        "ping_interval",
        "publish",
        "queue",
        "queue_bytes",
        "retry_interval",
        "retry_max",
    }
)
"""Keys that need no new connection."""


class _Asked:
    """Topics that somebody wants for a while."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.prefixes = prefixes
        self.line: Line | None = None
        """The connection of its own; None: another one brings everything."""


class WebsocketClient:
    """See the module. A service of the supervisor, and a `Publisher`.

    Args:
        table: what it is made from.
        records: the account of the events that are handed on.
        messages: the account of the messages that arrive.
        copies: the account of the messages that are to be sent.
        outlet: this client is a door of it as long as it runs.
        clock_ns: wall time.
    """

    def __init__(
        self,
        table: Websocket,
        *,
        records: Account,
        messages: Account,
        copies: Account,
        dispatcher: Dispatcher,
        outlet: Outlet,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.table = table
        self.door = f"websocket.{table.name}"
        self._copies = copies
        self._outlet = outlet
        self._intake = Intake(
            self.door,
            records=records,
            messages=messages,
            dispatcher=dispatcher,
            patience_s=table.max_wait.seconds,
            clock_ns=clock_ns,
        )
        self._asked: list[_Asked] = []
        self._way_out = WayOut(table, copies)
        self._access: Access | None = None
        self._nursery: trio.Nursery | None = None
        self._main: Line | None = None
        self._refused = 0
        self._is_closing = False
        self._stop_wanted = trio.Event()
        self._set_topics()

    def _set_topics(self) -> None:
        self._wanted = PrefixSet((*self.table.topics, *(each for asked in self._asked for each in asked.prefixes)))

    def statistics(self) -> ClientFigures:
        lines = self._lines()
        return ClientFigures(
            peers=tuple(line.link.statistics() for line in lines if line.link is not None),
            dialers=tuple(line.statistics() for line in lines),
            refused=self._refused,
            mended=self._intake.mended,
        )

    def _lines(self) -> list[Line]:
        """Those that there are, the first one first."""
        return [line for line in (self._main, *(asked.line for asked in self._asked)) if line is not None]

    # ── the service ──

    def stop(self) -> None:
        self._stop_wanted.set()

    async def stop_intake(self) -> None:
        """Take in nothing more, but go on sending until `stop`. Returns when everything that was read is handed on."""
        self._is_closing = True
        for line in self._lines():
            line.stop()
        links = [line.link for line in self._lines() if line.link is not None]
        for link in links:
            link.pause()
        for link in links:
            await link.wait_quiet()

    def apply(self, table: Websocket) -> bool:
        """Take over a new table while the connections stay; False if they cannot."""
        fields = (name for name in Websocket.__struct_fields__ if name not in _TUNABLE)
        if any(getattr(table, name) != getattr(self.table, name) for name in fields):
            return False
        self.table = table
        self._intake.patience_s = table.max_wait.seconds
        self._way_out.configure(table)
        for line in self._lines():
            line.configure(table)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._access = make_access(self.table)
        self._intake.open()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._main = self._make_line(self._main_topics)
                self._outlet.open(self.door, self)
                try:
                    nursery.start_soon(self._main.run)
                    task_status.started()
                    await self._stop_wanted.wait()
                    await self._leave()
                finally:
                    self._outlet.close(self.door, self)
                    self._nursery = None
                nursery.cancel_scope.cancel()
        finally:
            self._main = None
            self._intake.close()

    async def _leave(self) -> None:
        self._is_closing = self._intake.is_discarding = True
        async with trio.open_nursery() as nursery:
            for line in self._lines():
                nursery.start_soon(line.leave)

    # ── connections ──

    def _main_topics(self) -> tuple[str, ...]:
        # With what is asked for meanwhile: whoever asked needs no connection of his own then.
        return minimal(self._wanted.prefixes)

    def _make_line(self, topics: Callable[[], Sequence[str]]) -> Line:
        assert self._access is not None

        def make_link(greeted: Greeted, topics: Sequence[str]) -> Link:
            return Link(
                greeted,
                self.table,
                address=self.table.url,
                topics=topics,
                account=self._copies,
                intake=self._intake,
                why_not=lambda topic: self._why_not(line, topic),
                refused=self._count_refusal,
            )

        line = Line(
            self.table,
            self._access,
            topics=topics,
            make_link=make_link,
            changed=lambda: self._review(line),
            ignored=self._hear_nonsense,
        )
        return line

    def _hear_nonsense(self, event: Ignored) -> None:
        self._intake.refuse(event.reason, event.detail)

    def _count_refusal(self) -> None:
        self._refused += 1

    def _why_not(self, line: Line, topic: str) -> str:
        """Why an event is not taken: nobody wants it any more, or another connection brings it as well."""
        if not self._wanted.matches(topic):
            return "unsubscribed"
        for other in self._lines():
            if other is line:
                break
            if other.link is not None and other.link.is_ready and other.link.topics.matches(topic):
                return "duplicate"
        return ""

    def _review(self, changed: Line | None = None) -> None:
        """Give connections of their own to those who need one now, and take them from those who do not."""
        if changed is not None and changed is self._main and changed.link is not None:
            self._way_out.announce_again(changed.link)
        if self._nursery is None or self._is_closing or self._main is None or self._main.link is None:
            return  # what is asked for becomes part of the first connection when it is made again
        for asked in self._asked:
            is_covered = self._main.link.covers(asked.prefixes)
            if is_covered and asked.line is not None:
                self._end(asked)
            elif not is_covered and asked.line is None:
                asked.line = self._make_line(lambda asked=asked: asked.prefixes)  # type: ignore[misc]
                self._nursery.start_soon(asked.line.run)

    def _end(self, asked: _Asked) -> None:
        line, asked.line = asked.line, None
        if line is not None and self._nursery is not None:
            self._nursery.start_soon(line.leave)

    # ── the way out ──

    @property
    def _link(self) -> Link | None:
        return self._main.link if self._main is not None else None

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:  # noqa: ARG002
        return self._way_out.publish(self._link, topic, messages)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:  # noqa: ARG002
        return self._way_out.announce(self._link, key, topic, message)

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        asked = _Asked(tuple(prefix for prefix in minimal(prefixes) if is_text(prefix)))
        self._asked.append(asked)
        self._set_topics()
        self._review()
        try:
            yield
        finally:
            self._asked.remove(asked)
            self._set_topics()
            self._end(asked)
