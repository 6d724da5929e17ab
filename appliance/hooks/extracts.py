"""`ctx.extract`: packets that the recorders have, as files of a hook's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.errors import ApplianceError
from appliance.runtime.asking import PacketMaker, PacketRequest, Packets

from .extract import checked_path
from .steer import ExtractError

__all__ = ["Extracts", "sweep"]

CALLS = ".calls"
"""Below the hook's folder: files that last as long as a call."""


class Extracts:
    """The files of one lane, in which calls are made one after the other.

    Args:
        maker: gives who makes them; None: nobody does.
        folder: of the hook.
    """

    _numbers = itertools.count(1)

    def __init__(self, maker: Callable[[], PacketMaker] | None, folder: Path | None) -> None:
        self._maker, self._folder = maker, folder
        self._passing: list[Path] = []
        self._token: trio.lowlevel.TrioToken | None = None

    def attach(self) -> None:
        """Serve threads from now on; called in the loop."""
        self._token = trio.lowlevel.current_trio_token()

    async def extract(self, request: PacketRequest) -> Packets:
        """Have a file made.

        Raises:
            ExtractError: it cannot be had.
        """
        if self._maker is None or self._folder is None:
            raise ExtractError("there is no recorder")
        target = self._folder / checked_path(request.path)
        if not request.path:
            target = self._folder / CALLS / f"{os.getpid()}-{next(self._numbers)}.pcap"
            self._passing.append(target)
        try:
            return await self._maker().extract(request, target)
        except (ApplianceError, OSError, ValueError) as exc:
            raise ExtractError(str(exc)) from exc

    @property
    def waiting(self) -> Callable[[PacketRequest], Packets]:
        """For threads."""
        return lambda request: trio.from_thread.run(partial(self.extract, request), trio_token=self._token)

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """For a worker process.

        Raises:
            ExtractError: it cannot be had.
            ValueError: that is no request.
        """
        found = await self.extract(msgspec.convert(asked, PacketRequest))
        return msgspec.to_builtins(found)  # type: ignore[no-any-return]

    async def clean(self) -> None:
        """The calls have ended: remove what was for them alone."""
        passing, self._passing = self._passing, []
        if passing:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, passing)


def sweep(folder: Path) -> None:
    """Remove what calls of another process have left; blocks."""
    mine = f"{os.getpid()}-"
    with suppress(OSError):
        _remove([path for path in (folder / CALLS).iterdir() if not path.name.startswith(mine)])


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # the hook has moved it
            path.unlink()
