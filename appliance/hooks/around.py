"""What a hook has around it: the journal's store to read, and the dispatcher for what it emits and produces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import trio

from appliance.model import FolderReady, Item, LogBatch
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.journal.journal import Journal
from appliance.runtime.journal.records import item_at
from appliance.runtime.journal.values import read_some, read_value
from appliance.runtime.ledger import Account
from appliance.runtime.stores import StoreReply, StoreRequest, Stores

from .data_store import Asker
from .effects import Effects
from .failure import Outcome
from .plan import Job
from .store import Pairs, Reader

__all__ = ["Around", "commit_all", "cut_unsent", "send_all"]

PATIENCE_S = 5.0
"""How long a consumer with policy ``block`` may take nothing."""
MAX_PAGE = 4096


class Around:
    """See the module; for one hook.

    Args:
        source: what it emits comes from, ``hook.NAME``.
        account: opens the account of what it emits.
        dispatcher: takes that.
        journal: where stores are.
        stores: those of ``[[store]]``.
    """

    def __init__(
        self,
        source: str,
        *,
        account: Callable[[], Account],
        dispatcher: Dispatcher,
        journal: Journal,
        stores: Stores | None = None,
    ) -> None:
        self.source = source
        self._account = account
        self._dispatcher = dispatcher
        self._journal = journal
        self.stores = stores or Stores()
        self._token: trio.lowlevel.TrioToken | None = None

    def attach(self) -> None:
        """Serve threads from now on; called in the loop."""
        self._token = trio.lowlevel.current_trio_token()

    # ── reading stores ──

    async def value(self, space: str, key: bytes) -> bytes | None:
        """See `read_value`."""
        await self._journal.open()
        return await read_value(self._journal, space, key)

    async def some(self, space: str, after: bytes | None, limit: int) -> tuple[Pairs, bytes | None]:
        """See `read_some`."""
        await self._journal.open()
        return await read_some(self._journal, space, after, max(1, min(limit, MAX_PAGE)))

    @property
    def waiting_reader(self) -> Reader:
        """For threads."""
        run = partial(trio.from_thread.run, trio_token=self._token)
        return Reader(partial(run, self.value), partial(run, self.some))

    @property
    def awaited_reader(self) -> Reader:
        """For tasks."""
        return Reader(self.value, self.some)

    # ── data stores ──

    def waiting_store(self, name: str) -> Asker | None:
        """For threads; None: there is no such store."""
        return self._ask_waiting if name in self.stores else None

    def _ask_waiting(self, name: str, request: StoreRequest) -> StoreReply:
        return trio.from_thread.run(self.stores.perform, name, request, trio_token=self._token)

    def awaited_store(self, name: str) -> Asker | None:
        """For tasks; likewise."""
        return self.stores.perform if name in self.stores else None

    # ── effects ──

    async def open_for(self, effects: Effects) -> None:
        """Be ready for `commit`."""
        if effects.changes:
            await self._journal.open()

    def commit(self, effects: Effects) -> None:
        """Change stores in the same transaction as what is settled in this moment."""
        for (space, key), change in effects.changes.items():
            self._journal.change(space, key, change)

    async def send(self, some: Sequence[tuple[Item, Effects]]) -> None:
        """Hand on what calls have emitted, each with the item that it was about, until those who keep it on the disk
        have it there.

        Cancellation: some of it may have been handed on.
        """
        is_kept = False
        account = self._account()
        for item, effects in some:
            via = (*getattr(item, "via", ()), self.source)
            items: list[Item] = [*_batches(self.source, effects, via), *_folders(effects, via)]
            for made in items:
                account.received += made.count
                is_kept |= any(queue.is_durable for queue in self._dispatcher.route(made))
                await self._dispatcher.dispatch(made, account, patience_s=PATIENCE_S)
        if is_kept:
            await self._journal.wait_stored()


def _batches(source: str, effects: Effects, via: tuple[str, ...]) -> list[LogBatch]:
    """What was emitted, in its order; neighbours of one path together."""
    found: list[tuple[str, list[bytes]]] = []
    for path, row in effects.emitted:
        if not found or found[-1][0] != path:
            found.append((path, []))
        found[-1][1].append(row)
    return [
        LogBatch(path=path, source=source, data=b"".join(row + b"\n" for row in rows), count=len(rows), via=via)
        for path, rows in found
    ]


def _folders(effects: Effects, via: tuple[str, ...]) -> list[FolderReady]:
    return [msgspec.structs.replace(folder, via=via) for folder in effects.produced]


async def send_all(around: Around | None, job: Job, outcomes: Sequence[Outcome]) -> None:
    """Hand on what calls have emitted that ended well, and forget what the others wanted.

    Cancellation: what is not handed on is still in the job.
    """
    for number in [n for n in job.effects if n >= len(outcomes) or outcomes[n] is not None]:
        del job.effects[number]
    if around is None or not job.effects:
        job.effects.clear()
        return
    some = [(_item_of(job, number), effects) for number, effects in sorted(job.effects.items())]
    if any(effects.has_items for _, effects in some):
        await around.send([(item, effects) for item, effects in some if effects.has_items])
    for _, effects in some:
        await around.open_for(effects)
        effects.emitted.clear()
        effects.produced.clear()


def _item_of(job: Job, number: int) -> Item:
    """The item that a call is about; of a list, its first."""
    call = job.calls[number]
    return call.items[0] if call.items else item_at(job.items, call.positions[0])


def cut_unsent(job: Job, outcomes: list[Outcome]) -> None:
    """Forget the first call whose records were not handed on and, for the order, all behind it: they are made again."""
    unsent = (n for n, effects in sorted(job.effects.items()) if effects.has_items and n < len(outcomes))
    del outcomes[next(unsent, len(outcomes)) :]


def commit_all(around: Around | None, job: Job, outcomes: Sequence[Outcome]) -> None:
    """Do what the calls want to have done that ended well, in the moment in which their records are settled."""
    if around is not None:
        for number, effects in sorted(job.effects.items()):
            if number < len(outcomes) and outcomes[number] is None:
                around.commit(effects)
