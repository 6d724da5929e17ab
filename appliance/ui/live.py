"""The page as it goes on: sections that changed and log records that pass by, as server-sent events.

Source: the HTML standard, "Server-sent events".
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import trio

from appliance.api.exchange import Answer, Exchange, Reply, problem
from appliance.api.roles import Identity, Role
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger

from .guard import HEADERS
from .markup import Html, join, tag
from .tap import Line, Tap

__all__ = ["ACCOUNT", "MAX_WATCHERS", "Live"]

ACCOUNT = "api.pages"
MAX_WATCHERS = 8
"""A quarter of the connections that the endpoint serves."""
TICK_S = 1.0
SECTIONS_EVERY = 2
"""Ticks."""
LIFE_S = 600.0
"""Then the browser comes again, and is asked again who it is."""
SEND_TIMEOUT_S = 10.0
_MAX_KEPT = 32

Sections = dict[str, Html]


class Live:
    """See the module.

    Args:
        sections: gives what the page shows now to somebody, with the plot of an account.
        dispatcher: where records come from.
        ledger: where those that pass by here are booked, once somebody watched.
    """

    def __init__(
        self,
        sections: Callable[[Identity, str], Awaitable[Sections]],
        *,
        dispatcher: Dispatcher,
        ledger: Ledger,
    ) -> None:
        self._sections, self._dispatcher, self._ledger = sections, dispatcher, ledger
        self._kept: dict[tuple[Role, str], tuple[float, Sections]] = {}
        self._watchers = 0

    def watch(self, who: Identity, *, plotted: str, path: str, contains: str) -> Reply:
        """Sections, and records unless `path` is empty."""
        return self._refuse() or partial(
            self._serve, run=partial(self._run, who, plotted), path=path, contains=contains
        )

    def follow(self, path: str, contains: str) -> Reply:
        """Records alone, as lines of text."""
        return self._refuse() or partial(self._serve, run=_run_text, path=path, contains=contains)

    def _refuse(self) -> Answer | None:
        if self._watchers < MAX_WATCHERS:
            return None
        return problem(503, "too many pages", detail=f"{MAX_WATCHERS} are open already", headers={"retry-after": "10"})

    async def _serve(
        self, exchange: Exchange, *, run: Callable[[Exchange, Tap], Awaitable[None]], path: str, contains: str
    ) -> None:
        self._watchers += 1
        try:
            with self._tap(path, contains) as tap:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when_gone, exchange, nursery.cancel_scope)
                    with suppress(trio.BrokenResourceError, trio.TooSlowError), trio.move_on_after(LIFE_S):
                        await run(exchange, tap)
                    with suppress(trio.BrokenResourceError, trio.TooSlowError), trio.fail_after(SEND_TIMEOUT_S):
                        await exchange.end_stream()
                    nursery.cancel_scope.cancel()
        finally:
            self._watchers -= 1

    @contextmanager
    def _tap(self, path: str, contains: str) -> Iterator[Tap]:
        tap = Tap(self._ledger.account(ACCOUNT), contains.encode("utf-8", "replace").replace(b"\n", b" "))
        name = f"{ACCOUNT}.{secrets.token_hex(8)}"
        if path:
            self._dispatcher.subscribe(name, tap, on=(f"log:{path}",), sources=())
        try:
            yield tap
        finally:
            self._dispatcher.unsubscribe(name)
            tap.retire("unsubscribed")

    async def _run(self, who: Identity, plotted: str, exchange: Exchange, tap: Tap) -> None:
        with trio.fail_after(SEND_TIMEOUT_S):
            await exchange.begin_stream("text/event-stream", HEADERS)
        told: Sections = {}
        tick = 0
        while True:
            frames = [b":\n\n"]
            if tick % SECTIONS_EVERY == 0:
                now = await self._render(who, plotted)
                if changed := {name: made for name, made in now.items() if told.get(name) != made}:
                    frames.append(_frame("sections", changed))
                told = now
            lines, skipped = tap.read()
            if lines or skipped:
                frames.append(_frame("records", {"lines": join(*map(_show, lines)), "skipped": skipped}))
            with trio.fail_after(SEND_TIMEOUT_S):
                await exchange.send_part(b"".join(frames))
            tick += 1
            await trio.sleep(TICK_S)

    async def _render(self, who: Identity, plotted: str) -> Sections:
        """What is shown, made once for all who see the same."""
        now, key = trio.current_time(), (who.role, plotted)
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < TICK_S:
            return kept[1]
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        made = await self._sections(who, plotted)
        self._kept[key] = now, made
        return made


async def _run_text(exchange: Exchange, tap: Tap) -> None:
    with trio.fail_after(SEND_TIMEOUT_S):
        await exchange.begin_stream("text/plain; charset=utf-8", HEADERS)
    while True:
        lines, skipped = tap.read()
        told = [f"{line.path}\t".encode() + line.data + b"\n" for line in lines]
        told += [b"(%d more)\n" % skipped] if skipped else []
        if told:
            with trio.fail_after(SEND_TIMEOUT_S):
                await exchange.send_part(b"".join(told))
        await trio.sleep(TICK_S)


async def _cancel_when_gone(exchange: Exchange, scope: trio.CancelScope) -> None:
    await exchange.wait_gone()
    scope.cancel()


def _show(line: Line) -> Html:
    """A record as an entry of the list: its time if it has one, and its fields."""
    try:
        record: Any = msgspec.json.decode(line.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = None
    if not isinstance(record, dict):
        return tag("li", tag("b", line.path), " ", line.data.decode("utf-8", "replace"))
    when = record.pop("ts", "")
    for name in ("_path", "_write_ts"):
        record.pop(name, None)
    fields = [
        join(tag("i", name), " ", _plain(value), "  ") for name, value in record.items() if value not in (None, "")
    ]
    return tag("li", tag("time", _clock(when)), " ", tag("b", line.path), " ", *fields)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8", "replace")


def _clock(when: Any) -> str:
    """The time of a record, UTC."""
    if isinstance(when, int | float) and 0 <= when < 1e10:
        seconds = int(when) % 86400
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(when)[11:19]


def _frame(kind: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data, enc_hook=str))
