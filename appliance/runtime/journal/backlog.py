"""What one hook has to do: the head of it in memory, the rest in the journal.

Chunks come into memory when they are written, as long as everything before them is there; else they are loaded when
it is their turn. So memory is bounded however much waits.
"""

from __future__ import annotations

import heapq
import time
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
import trio

from appliance.model import Item
from appliance.runtime.ledger import Account

from .chunk import OpenChunk
from .entries import Attempt, Failure, Letter, Loaded, NewChunk, make_history
from .lease import Lease
from .shelf import LIMIT, RetryPolicy, Shelf
from .worker import Outcome

if TYPE_CHECKING:
    from .journal import Journal

__all__ = ["Backlog", "Front"]

log = structlog.get_logger("journal")

WINDOW_SIZE = 4 << 20
"""Bytes of items that are in memory for each hook; one chunk always is."""
WINDOW_RECORDS = 16_384
_RETRY_LOAD_S = 1.0


class Front(Protocol):
    """The queue that a hook and the doors see."""

    policy: str

    def moved(self) -> None:
        """There is more room, or progress."""

    def arrived(self) -> None:
        """Something came into memory."""


class Backlog:
    """See the module. One for each hook, for as long as the journal is open.

    Args:
        name: of the hook.
        account: where what waits is booked.
        journal: where it is written.
    """

    def __init__(self, name: str, account: Account, journal: Journal) -> None:
        self.name = name
        self.account = account
        self.fronts: list[Front] = []
        """The newest last; two while one succeeds the other, none when the hook is gone."""
        self.fresh = self.size = 0
        """Records that nobody tried yet or that are leased for the first time, and their bytes."""
        self.leased = 0
        """The part of them that is leased."""
        self.letters = 0
        """Records that wait for another attempt, or are leased for it."""
        self.dead = self.retried = 0
        self.unwritten = self.unwritten_size = 0
        """The part of the fresh ones that is not in the journal yet."""
        self.shelf = Shelf()
        self._journal = journal
        self._window: dict[int, OpenChunk] = {}
        self._window_size = self._window_records = 0
        self._free: list[int] = []
        self._last = 0
        self._has_more = self._is_loading = self._is_loading_letters = False
        self._out: set[int] = set()
        self._touched: set[int] = set()
        self._is_open = False
        self._opening = trio.Lock()
        account.add_holder(self._count, kept=self._count_kept)

    @property
    def records(self) -> int:
        return self.fresh + self.letters

    @property
    def waiting(self) -> int:
        """Fresh records that are not leased."""
        return self.fresh - self.leased

    @property
    def in_hands(self) -> int:
        """Records that are leased, letters too."""
        return self.leased + len(self._out)

    def oldest_s(self) -> float | None:
        """How long ago the oldest record arrived that is in memory and not done; what failed counts from its first
        attempt. None: there is none.
        """
        found = [chunk.at_ns for chunk in islice(self._window.values(), 1)]
        if (letter_ns := self.shelf.oldest_ns) is not None:
            found.append(letter_ns)
        return max(0.0, round((time.time_ns() - min(found)) / 1e9, 3)) if found else None

    def _count(self) -> int:
        return self.records

    def _count_kept(self) -> int:
        return self.records - self.unwritten

    async def open(self) -> None:
        """Find what an earlier process left; does nothing the second time.

        Raises:
            OSError: the journal cannot be read.
            ApplianceError: the same, and a person must act.
        """
        async with self._opening:
            if self._is_open:
                return
            await self._journal.open()
            found = await self._journal.call(lambda keep: keep.attach(self.name, time.time_ns()))
            self._is_open = True
            self.fresh += found.records
            self.size += found.size
            self.letters += found.letters
            self._has_more = found.records > 0
            self.shelf.has_more = found.letters > 0
            count = found.records + found.letters + found.lost
            self.account.received += count
            self.account.recovered += count
            self.account.drop("damaged", found.lost)
            if count:
                log.info("an earlier run left records", hook=self.name, records=count, damaged=found.lost)
            self.pump()

    # ── in ──

    def append(self, item: Item) -> None:
        self.fresh += item.count
        self.size += item.size
        self.unwritten += item.count
        self.unwritten_size += item.size
        self._journal.append(self, item)

    def refuse(self, item: Item, reason: str) -> None:
        """An item that was appended will never be written."""
        self.fresh -= item.count
        self.size -= item.size
        self.unwritten -= item.count
        self.unwritten_size -= item.size
        self.account.drop(reason, item.count)
        self.account.report([item], 0, item.count, "lost")
        self._tell_room()
        self._tell_arrival()

    @property
    def is_patient(self) -> bool:
        """Whether items wait for a disk that takes nothing."""
        return bool(self.fronts) and self.fronts[-1].policy == "block"

    def written(self, chunk: NewChunk) -> None:
        """A chunk is in the journal."""
        self.unwritten -= chunk.records
        self.unwritten_size -= chunk.size
        if self._has_more or self._is_full(chunk.size, chunk.records):
            self._has_more = True
        else:
            self._take_in(OpenChunk(chunk.id, chunk.items, chunk.records, chunk.size, at_ns=chunk.at_ns))
        self._tell_room()
        self._tell_arrival()

    def _is_full(self, size: int, records: int) -> bool:
        return bool(self._window) and (
            self._window_size + size > WINDOW_SIZE or self._window_records + records > WINDOW_RECORDS
        )

    def _take_in(self, chunk: OpenChunk) -> None:
        self._window[chunk.id] = chunk
        self._window_size += chunk.size
        self._window_records += chunk.records
        self._last = chunk.id
        heapq.heappush(self._free, chunk.id)

    def _tell_arrival(self) -> None:
        for front in self.fronts:
            front.arrived()

    def _tell_room(self) -> None:
        for front in self.fronts:
            front.moved()

    def pump(self) -> None:
        """Load what there is room for; letters first, which are older."""
        if self.shelf.is_low and not self._is_loading_letters and not self._journal.has_unwritten_letters:
            self._is_loading_letters = True
            self._touched.clear()
            self._journal.submit(lambda keep: keep.waiting_letters(self.name, LIMIT), self._loaded_letters)
        if self._has_more and not self._is_loading and not self._is_full(WINDOW_SIZE // 2, WINDOW_RECORDS // 2):
            self._is_loading = True
            after = self._last
            records, size = WINDOW_RECORDS - self._window_records, WINDOW_SIZE - self._window_size
            self._journal.submit(
                lambda keep: keep.load(self.name, after, max_records=records, max_size=size), self._loaded
            )

    def _loaded(self, outcome: Outcome[Loaded]) -> None:
        self._is_loading = False
        if outcome.error is not None:
            self._try_again(outcome.error)
            return
        loaded = outcome.unwrap()
        for chunk in loaded.chunks:
            self._take_in(OpenChunk(chunk.id, chunk.items, chunk.records, chunk.size, chunk.done, at_ns=chunk.at_ns))
        self._last = max(self._last, loaded.last)
        self._has_more = not loaded.is_all
        self._tell_arrival()
        self.pump()

    def _loaded_letters(self, outcome: Outcome[list[Letter]]) -> None:
        self._is_loading_letters = False
        if outcome.error is not None:
            self._try_again(outcome.error)
            return
        letters = outcome.unwrap()
        self.shelf.fill(letters, without=self._out | self._touched, is_all=len(letters) < LIMIT)
        self._tell_arrival()

    def _try_again(self, error: BaseException) -> None:
        log.error("cannot read the journal, trying again", hook=self.name, error=str(error))
        self._journal.pump_in(_RETRY_LOAD_S)

    def lose(self, chunks: dict[int, int]) -> None:
        """These turned out to be damaged: records by chunk; negative numbers are letters."""
        for chunk, count in chunks.items():
            if chunk < 0:
                self.letters -= 1
            elif chunk in self._window:
                continue  # it is still whole in memory
            else:
                share = (self.size - self.unwritten_size) * count // max(1, self.fresh - self.unwritten)
                self.size -= share
                self.fresh -= count
            self.account.drop("damaged", count)
        self._tell_room()
        self._tell_arrival()

    # ── out ──

    def take(self, max_records: int) -> Lease | None:
        """Lease what is due, at most so many records; None: nothing is there. `mark` comes next."""
        if (letter := self.shelf.pop_due(time.time_ns())) is not None:
            self._out.add(letter.id)
            self._touched.add(letter.id)
            self._journal.put_letter(msgspec.structs.replace(letter, in_flight=True))
            return Lease(self, (), letter)
        pieces: list[tuple[OpenChunk, int, Item]] = []
        while max_records > 0 and self._free:
            chunk = self._window.get(self._free[0])
            if chunk is None or not chunk.free:
                heapq.heappop(self._free)
                continue
            begin, item = chunk.take(max_records)
            pieces.append((chunk, begin, item))
            self.leased += item.count
            max_records -= item.count
            self._journal.touch(self, chunk)
        return Lease(self, pieces, None) if pieces else None

    def next_due_s(self) -> float | None:
        """Seconds until the next letter is due; None: there is none in memory."""
        due_ns = self.shelf.next_due_ns
        return None if due_ns is None else max(0.0, (due_ns - time.time_ns()) / 1e9)

    def settle(self, chunk: OpenChunk, begin: int, end: int) -> None:
        self.leased -= end - begin
        self._finish(chunk, begin, end)

    def _finish(self, chunk: OpenChunk, begin: int, end: int) -> None:
        self.fresh -= end - begin
        self.size -= chunk.finish(begin, end)
        self._journal.touch(self, chunk)
        if not chunk.left:
            del self._window[chunk.id]
            self._window_size -= chunk.size
            self._window_records -= chunk.records
            self.pump()

    def give_back(self, chunk: OpenChunk, begin: int, end: int) -> None:
        if begin == end:
            return
        self.leased -= end - begin
        chunk.give_back(begin, end)
        heapq.heappush(self._free, chunk.id)
        self._journal.touch(self, chunk)
        self._tell_arrival()

    def evict(self, count: int) -> int:
        """Drop the oldest waiting records, as far as they are in memory, at most `count`; returns their bytes."""
        freed = 0
        while count > 0 and self._free:
            chunk = self._window.get(self._free[0])
            if chunk is None or not chunk.free:
                heapq.heappop(self._free)
                continue
            begin, end = chunk.free.first()
            end = min(end, begin + count)
            chunk.free.discard(begin, end)
            before = self.size
            self._finish(chunk, begin, end)
            freed += before - self.size
            self.account.drop("queue_full", end - begin)
            self.account.report(chunk.items, begin, end, "lost")
            count -= end - begin
        return freed

    # ── letters ──

    def make_letter(self, item: Item) -> Letter:
        """The letter of a record that was not tried yet; it is one of the backlog's."""
        self.letters += 1
        now_ns = time.time_ns()
        return Letter(
            id=self._journal.new_letter_id(), hook=self.name, item=item, attempts=0, due_ns=now_ns, first_ns=now_ns,
            reason="",
        )  # fmt: skip

    def fail(self, letter: Letter, failure: Failure, retry: RetryPolicy) -> bool:
        """An attempt failed; returns whether there is another one. If not, the record is booked as dropped."""
        now_ns = time.time_ns()
        number = letter.attempts + 1
        attempt = Attempt(number=number, at_ns=now_ns, reason=failure.reason, error=failure.error)
        is_dead = failure.is_final or number >= retry.attempts
        delay_s = failure.retry_after_s if failure.retry_after_s is not None else retry.delay_s(number)
        letter = msgspec.structs.replace(
            letter, attempts=number, due_ns=now_ns if is_dead else now_ns + int(delay_s * 1e9), is_dead=is_dead,
            in_flight=False, reason=failure.reason, error=failure.error, trace=failure.trace,
            history=make_history(letter.history, attempt),
        )  # fmt: skip
        self._out.discard(letter.id)
        self._journal.put_letter(letter)
        if is_dead:
            self._bury(letter)
        else:
            self.retried += 1
            self.shelf.add(letter)
            self._tell_arrival()
        return not is_dead

    def bury_if_spent(self, lease: Lease, retry: RetryPolicy) -> bool:
        """A letter whose last attempt was interrupted gets no further one; returns whether `lease` is such."""
        letter = lease.letter
        if letter is None or letter.attempts < retry.attempts:
            return False
        self._out.discard(letter.id)
        dead = msgspec.structs.replace(letter, is_dead=True, in_flight=False)
        self._journal.put_letter(dead)
        self._bury(dead)
        return True

    def _bury(self, letter: Letter) -> None:
        self.letters -= 1
        self.dead += 1
        self.account.drop(letter.reason, 1)
        self.account.report([letter.item], 0, 1, "failed")

    def settle_letter(self, letter: Letter) -> None:
        self._out.discard(letter.id)
        self._touched.add(letter.id)
        self.letters -= 1
        self._journal.settle_letter(letter.id)

    def give_back_letter(self, letter: Letter) -> None:
        self._out.discard(letter.id)
        self._journal.put_letter(letter)
        self.shelf.add(letter)
        self._tell_arrival()

    def letter_written(self, letter: Letter) -> None:
        """A letter is in the journal; if it was left out of memory it is to be loaded."""
        is_here = letter.id in self.shelf or letter.id in self._out
        if not (letter.is_dead or letter.in_flight or is_here):
            self.shelf.has_more = True

    def forget(self) -> None:
        """What waited was deleted, by a person, while nobody ran the hook."""
        self.account.drop("purged", self.records - self.leased - self.unwritten)
        self.fresh = self.leased + self.unwritten
        self.size, self.letters = self.unwritten_size, 0
        self.shelf = Shelf()
        self._window.clear()
        self._window_size = self._window_records = 0
        self._has_more = False

    def revived(self, count: int) -> None:
        """So many dead letters are to be tried again."""
        self.letters += count
        self.account.received += count
        self.account.recovered += count
        self.shelf.refresh()
        self.pump()
