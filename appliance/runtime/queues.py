"""Queues from tables, and the journal that all durable ones share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trio

from appliance.config import Config, Hook, Sink

from .intake import ConsumerQueue
from .ledger import Ledger
from .queue import ItemQueue

if TYPE_CHECKING:
    from .journal.desk import Desk
    from .journal.journal import Journal
    from .journal.sqlite import SqliteKeep

__all__ = ["JOURNAL", "Queues"]

JOURNAL = "journal/journal.db"
"""Below the state folder."""
CLOSE_S = 3.0
"""How long the last records may take on their way to the disk."""


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

    def make_queue(self, key: str, table: Sink) -> ItemQueue:
        account = self._ledger.account(key)
        bytes_ = int(table.queue_bytes)
        return ItemQueue(account, policy=table.queue, max_records=table.queue_size, max_bytes=bytes_)

    def make_hook_queue(self, key: str, table: Hook, config: Config) -> ConsumerQueue:
        account, bytes_ = self._ledger.account(key), int(table.queue_bytes)
        if table.queue != "durable":
            return ItemQueue(account, policy=table.queue, max_records=table.queue_size, max_bytes=bytes_)
        from .durable import DurableQueue
        from .journal.shelf import RetryPolicy

        journal = self.make_journal(config)
        return DurableQueue(
            journal,
            journal.backlog(table.name, account),
            policy=table.queue_full,
            max_records=table.queue_size,
            max_bytes=bytes_,
            retry=RetryPolicy(
                attempts=table.attempts, first_s=table.backoff.seconds, longest_s=table.backoff_max.seconds
            ),
        )

    def make_journal(self, config: Config) -> Journal:
        """The journal, which is not open yet if this is the first time."""
        from .journal.journal import Journal
        from .journal.sqlite import SqliteKeep

        if self.journal is None:
            keep = SqliteKeep(
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
