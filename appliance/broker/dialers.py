"""The addresses that we dial, again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from appliance.config.addresses import parse_peer
from appliance.wire.names import EndpointId

from .figures import DialerFigures
from .greeting import Unwelcome

__all__ = ["Dialer", "Dialers"]


class Dialer:
    """One address."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.address = parse_peer(text)
        self.state = "connecting"
        self.attempts = 0
        self.last_error = ""
        self.is_stopped = False
        self.scope = trio.CancelScope()
        self._is_own = False

    def succeed(self) -> None:
        """What we dialled is a peer now."""
        self.state, self.last_error, self._is_own = "peered", "", True

    def try_again(self) -> None:
        """The next attempt begins."""
        self.state, self._is_own = "connecting", False
        self.attempts += 1

    def stop(self) -> None:
        """No more attempts; a peering goes on until it ends."""
        self.is_stopped = True
        if not self._is_own:
            self.scope.cancel()

    def statistics(self) -> DialerFigures:
        return DialerFigures(address=self.text, state=self.state, attempts=self.attempts, last_error=self.last_error)


class Dialers:
    """A task for each address, for ever.

    A lost peering is dialled again at once, and after each failure `retry_s` passes, without limit or growth: so Broker
    does it, and its peers count on it. Only who has lost two peerings in a row as soon as they had begun waits as well.

    Args:
        nursery: where the tasks live.
        converse: dials and lives through a peering; raises `Unwelcome` if there was none.
        wait_gone: waits for the end of the peering with that endpoint; returns whether there was one.
        report: told of each failure.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        converse: Callable[[Dialer], Awaitable[None]],
        wait_gone: Callable[[EndpointId], Awaitable[bool]],
        report: Callable[[Dialer, Unwelcome], Awaitable[None]],
    ) -> None:
        self._nursery = nursery
        self._converse, self._wait_gone, self._report = converse, wait_gone, report
        self._dialers: dict[str, Dialer] = {}
        self.retry_s = 1.0

    def change(self, texts: Sequence[str]) -> None:
        """Dial these addresses and no others."""
        for text in [each for each in self._dialers if each not in texts]:
            self._dialers.pop(text).stop()
        for text in texts:
            if text not in self._dialers:
                dialer = self._dialers[text] = Dialer(text)
                self._nursery.start_soon(self._run, dialer)

    def close(self) -> None:
        """Dial nothing more."""
        self.change(())

    def statistics(self) -> tuple[DialerFigures, ...]:
        return tuple(dialer.statistics() for dialer in self._dialers.values())

    async def _run(self, dialer: Dialer) -> None:
        was_hasty = False
        with dialer.scope:
            while not dialer.is_stopped:
                began = trio.current_time()
                is_done = await self._try_once(dialer)
                is_hasty = trio.current_time() - began < self.retry_s
                if is_done and not (is_hasty and was_hasty):
                    was_hasty = is_hasty
                elif not dialer.is_stopped:
                    was_hasty = False
                    dialer.state = "waiting"
                    await trio.sleep(self.retry_s)

    async def _try_once(self, dialer: Dialer) -> bool:
        """Dial, and live through what comes of it; returns whether there was a peering."""
        dialer.try_again()
        try:
            await self._converse(dialer)
        except Unwelcome as exc:
            if exc.is_redundant and exc.peer is not None:
                dialer.state, dialer.last_error = "peered", ""
                if await self._wait_gone(exc.peer):
                    return True
            dialer.last_error = str(exc)
            await self._report(dialer, exc)
            return False
        return True
