"""Queues from tables, and the journal that all durable ones share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio

from appliance.config import Config, Evidence, Hook, Sink, Uids

from .intake import ConsumerQueue
from .ledger import Ledger
from .queue import ItemQueue

if TYPE_CHECKING:
    from .journal.desk import Desk
    from .journal.journal import Journal
    from .journal.shelf import RetryPolicy
    from .journal.sqlite import SqliteKeep

__all__ = ["JOURNAL", "JournalFigures", "Queues"]

JOURNAL = "journal/journal.db"
"""Below the state folder."""
CLOSE_S = 3.0
"""How long the last records may take on their way to the disk."""


class JournalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The journal at one moment."""

    is_failing: bool
    """Its disk takes nothing."""
    dead: int
    """Dead letters that are kept, of all hooks."""
    dead_size: int
    """Their bytes."""


class Queues:
    """See the module.

    Args:
        ledger: where accounts are opened.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.journal: Journal | None = None
        """None: no hook has a durable queue, or had one. It opens its file when the first queue is opened."""
        self._desk: Desk | None = None
        self._keep: SqliteKeep | None = None

    def statistics(self) -> JournalFigures | None:
        """The journal's; None: there is none."""
        if self.journal is None or self._keep is None:
            return None
        dead, size = self._keep.held
        return JournalFigures(is_failing=self.journal.is_failing, dead=dead, dead_size=size)

    def make_queue(self, key: str, table: Sink) -> ItemQueue:
        account = self._ledger.account(key)
        bytes_ = int(table.queue_bytes)
        return ItemQueue(account, policy=table.queue, max_records=table.queue_size, max_bytes=bytes_)

    def make_uids_queue(self, key: str, table: Uids) -> ItemQueue:
        account, bytes_ = self._ledger.account(key), int(table.queue_bytes)
        return ItemQueue(account, policy="drop_oldest", max_records=table.queue_size, max_bytes=bytes_)

    def make_hook_queue(self, key: str, table: Hook, config: Config) -> ConsumerQueue:
        from .journal.shelf import RetryPolicy

        first_s, longest_s = table.backoff.seconds, table.backoff_max.seconds
        retry = RetryPolicy(attempts=table.attempts, first_s=first_s, longest_s=longest_s)
        return self._make_consumer_queue(key, table, config, name=table.name, retry=retry)

    def make_evidence_queue(self, key: str, table: Evidence, config: Config) -> ConsumerQueue:
        """As a hook's: in the journal, under a name that no hook can have."""
        from .journal.shelf import RetryPolicy

        return self._make_consumer_queue(key, table, config, name=f"evidence:{table.name}", retry=RetryPolicy())

    def _make_consumer_queue(
        self, key: str, table: Hook | Evidence, config: Config, *, name: str, retry: RetryPolicy
    ) -> ConsumerQueue:
        account, bytes_ = self._ledger.account(key), int(table.queue_bytes)
        if table.queue != "durable":
            return ItemQueue(account, policy=table.queue, max_records=table.queue_size, max_bytes=bytes_)
        from .durable import DurableQueue

        journal = self.make_journal(config)
        return DurableQueue(
            journal, journal.backlog(name, account), policy=table.queue_full, max_records=table.queue_size,
            max_bytes=bytes_, retry=retry,
        )  # fmt: skip

    def make_journal(self, config: Config) -> Journal:
        """The journal, which is not open yet if this is the first time."""
        from .journal.journal import Journal
        from .journal.sqlite import SqliteKeep

        if self.journal is None:
            self._keep = keep = SqliteKeep(
                Path(config.appliance.state_dir) / JOURNAL,
                max_dead=config.journal.dead_letters,
                max_dead_size=int(config.journal.dead_letters_size),
            )
            self.journal = Journal(keep, durability=config.journal.durability)
            self._desk = self._make_desk(self.journal, keep)
        return self.journal

    @staticmethod
    def _make_desk(journal: Journal, keep: SqliteKeep) -> Desk:
        from .journal.desk import Desk

        return Desk(journal, keep)

    async def desk(self, config: Config) -> Desk | None:
        """Where people see to dead letters; None: there is no journal. What hooks left that nobody runs is there, too.

        Raises:
            OSError: the journal cannot be opened.
            ApplianceError: the same, and a person must act.
        """
        if self.journal is None and not await trio.Path(config.appliance.state_dir, JOURNAL).exists():
            return None
        await self.make_journal(config).open()
        return self._desk

    def reconfigure(self, config: Config) -> None:
        """Take over the table ``[journal]``."""
        if self.journal is not None:
            self.journal.configure(
                config.journal.durability,
                max_dead=config.journal.dead_letters,
                max_dead_size=int(config.journal.dead_letters_size),
            )

    async def aclose(self) -> None:
        """Close the journal, after the last consumer has ended.

        Cancellation: of no effect; it takes a few seconds at most.
        """
        if self.journal is not None:
            await self.journal.aclose(CLOSE_S)
