"""The addresses that we dial, again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from appliance.config.addresses import parse_peer
from appliance.runtime.dialing import DialerFigures, Dialing
from appliance.wire.names import EndpointId

from .greeting import Unwelcome

__all__ = ["Dialer", "Dialers"]


class Dialer:
    """One address."""

    def __init__(self, text: str, patience_s: float) -> None:
        self.text = text
        self.address = parse_peer(text)
        self.dialing = Dialing(patience_s)
        self.is_stopped = False
        self.scope = trio.CancelScope()
        self._is_own = False

    def succeed(self) -> None:
        """What we dialled is a peer now."""
        self.dialing.succeed()
        self._is_own = True

    def try_again(self) -> None:
        """The next attempt begins."""
        self.dialing.begin()
        self._is_own = False

    def stop(self) -> None:
        """No more attempts; a peering goes on until it ends."""
        self.is_stopped = True
        if not self._is_own:
            self.scope.cancel()

    def statistics(self) -> DialerFigures:
        return self.dialing.figures(self.text)


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

    def change(self, texts: Sequence[str], *, retry_s: float, timeout_s: float) -> None:
        """Dial these addresses and no others.

        Args:
            retry_s: between attempts.
            timeout_s: how long one may take.
        """
        self.retry_s = retry_s
        patience_s = retry_s + timeout_s
        for dialer in self._dialers.values():
            dialer.dialing.reach.patience_s = patience_s
        self._stop_all_but(texts)
        for text in texts:
            if text not in self._dialers:
                dialer = self._dialers[text] = Dialer(text, patience_s)
                self._nursery.start_soon(self._run, dialer)

    def close(self) -> None:
        """Dial nothing more."""
        self._stop_all_but(())

    def _stop_all_but(self, texts: Sequence[str]) -> None:
        for text in [each for each in self._dialers if each not in texts]:
            self._dialers.pop(text).stop()

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
                    dialer.dialing.wait()
                    await trio.sleep(self.retry_s)

    async def _try_once(self, dialer: Dialer) -> bool:
        """Dial, and live through what comes of it; returns whether there was a peering."""
        dialer.try_again()
        try:
            await self._converse(dialer)
        except Unwelcome as exc:
            if exc.is_redundant and exc.peer is not None:
                dialer.dialing.succeed()
                if await self._wait_gone(exc.peer):
                    return True
            dialer.dialing.fail(str(exc))
            await self._report(dialer, exc)
            return False
        return True
