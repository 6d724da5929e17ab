"""All files of one door: which are new, renamed, gone, truncated, or copies of others, and whose turn it is.

A record is in one file at first, but a log goes through several: it is renamed, copied, truncated, compressed, moved to
another disk. So a file that begins like another one of the same log is a copy of it. While the other is being followed
the copy is left alone; when the other ends or is cut, the copy is read from where the other had been read to.

Blocks on the disk: everything belongs to the worker thread, one call at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import msgspec

from appliance.logfile.naming import log_path_of
from appliance.logfile.source import HEAD_BYTES, ArchiveError, is_archive
from appliance.native.lines import LineBuffer
from appliance.zeek.tsv_header import TsvHeader

from .file import Chunk, TailedFile
from .finder import Seen, find_files
from .position import Position, fingerprint

__all__ = ["Roster"]

LINGER_S = 30.0
"""How long a file that is gone is watched for late writes after the last one, and an archive for the rest of it."""
MAX_OPEN = 256
"""Files open at a time; beyond, those that changed least recently are closed and opened again when they change."""
MAX_PAST = 1024
"""Files that are no more and that are remembered for their copies and archives."""

Key = tuple[int, str]
Report = Callable[..., None]


def _key(position: Position) -> Key | None:
    """What tells a file's copies, if enough was read to tell."""
    return (position.head_len, position.head) if position.rows and position.head_len else None


class Roster:
    """See the module.

    Args:
        saved: positions of an earlier run; None if there was none.
        from_start: whether to read what is in the files when there was no earlier run.
        max_line: see `LineReader`.
        clock: seconds, monotonic.
        report: told of what a person should know: an event and its details.
    """

    def __init__(
        self,
        saved: Iterable[Position] | None,
        *,
        from_start: bool,
        max_line: int,
        clock: Callable[[], float],
        report: Report,
    ) -> None:
        self.files: dict[tuple[int, int], TailedFile] = {}
        self.torn_ends = 0
        """Files that ended within a line."""
        self.cuts = 0
        """Truncations."""
        self.has_more = False
        """Whether the last `read` left something."""
        self._buffer = LineBuffer()
        self._skips_once = saved is None and not from_start
        self._max_line = max_line
        self._clock = clock
        self._report = report
        self._order = count()
        self._turn = 0
        self._saved: dict[tuple[int, int], Position] = {}
        self._past: OrderedDict[Key, tuple[Position, bool]] = OrderedDict()
        self._active: list[TailedFile] = []
        self._copies: dict[tuple[int, int], Key] = {}
        self._troubles: dict[tuple[int, int], str] = {}
        for position in saved or ():
            self._saved[position.identity] = position
            self._remember(position, is_recent=False)

    # ── what is kept ──

    def positions(self) -> list[Position]:
        """Where to begin after a restart: behind everything that was handed on."""
        current = [file.position for file in list(self.files.values()) if file.position.size or file.position.offset]
        known = {position.identity for position in current}
        past = [position for position, _ in list(self._past.values()) if position.identity not in known]
        return past + current

    @property
    def open_files(self) -> int:
        return sum(file.is_open for file in list(self.files.values()))

    @property
    def unread_bytes(self) -> int:
        """Bytes of plain files behind what was read."""
        return sum(file.unread_bytes for file in list(self._active))

    @property
    def copies(self) -> int:
        """Copies that wait for their original to end."""
        return len(self._copies)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What cannot be read, and why."""
        return tuple(sorted(set(self._troubles.values())))

    def _remember(self, position: Position, *, is_recent: bool) -> None:
        key = _key(position)
        if key is not None:
            self._past[key] = (position, is_recent)
            self._past.move_to_end(key)
            while len(self._past) > MAX_PAST:
                self._past.popitem(last=False)

    # ── looking ──

    def look(self, globs: Sequence[str]) -> None:
        """Compare the files with what the globs name now."""
        seen = find_files(globs)
        for identity, file in list(self.files.items()):
            if identity not in seen:
                self._miss(file)
            elif file.notice(seen[identity]):
                file.is_at_end = False
        for identity, one in seen.items():
            if identity not in self.files and not self._is_waiting_copy(identity):
                self._meet(one)
        for gone in [identity for identity in self._troubles if identity not in seen]:
            del self._troubles[gone]
        for gone in [identity for identity in self._copies if identity not in seen]:
            del self._copies[gone]
        self._skips_once = False
        self._close_some()
        # In the order in which they were met. Nothing else can have something new before the next look.
        self._active = [file for file in self.files.values() if file.is_open or not file.is_at_end]

    def _miss(self, file: TailedFile) -> None:
        """No glob names the file; it is followed until it surely has ended, as far as it is open."""
        if not file.is_gone:
            file.is_gone = True
            file.changed_s = self._clock()
        is_late = self._clock() - file.changed_s >= LINGER_S
        is_over = file.is_closed or (is_late and (file.is_at_end or file.is_undecided))
        if (is_over or not file.is_open) and file.position == file.reached:
            if file.has_torn_end():
                self.torn_ends += 1
            file.close()
            del self.files[file.identity]
            self._remember(file.position, is_recent=True)

    def _meet(self, seen: Seen) -> None:
        """A file that was not here before."""
        file = TailedFile(seen, order=next(self._order), max_line=self._max_line, buffer=self._buffer)
        file.changed_s = self._clock()
        saved = self._saved.pop(seen.identity, None)
        self._copies.pop(seen.identity, None)
        with self._trouble(file):
            if saved is not None and (saved.size, saved.mtime_ns) == (seen.size, seen.mtime_ns):
                file.resume(saved, extent=seen.size)
                file.trust(seen)
            elif saved is not None and saved.head_len and self._begins_like(file, saved):
                file.resume(saved, extent=saved.size if is_archive(seen.path) else max(saved.size, saved.offset))
            elif self._skips_once:
                file.skip_to_end()
                file.position = file.reached
            else:
                file.open()  # at once: it can be renamed out of sight before its turn comes
                if saved is not None:  # truncated while nobody watched: then it goes on without a header
                    file.position = msgspec.structs.replace(file.position, header=saved.header)
            self.files[seen.identity] = file
            if saved is not None and not file.is_undecided and (key := _key(saved)) is not None:
                self._past.pop(key, None)
        if seen.identity not in self.files:
            file.close()
            if saved is not None:
                self._saved[seen.identity] = saved

    @staticmethod
    def _begins_like(file: TailedFile, position: Position) -> bool:
        return fingerprint(file.open().head(position.head_len)) == position.head

    def _close_some(self) -> None:
        """Close what need not be open: ended logs, archives that were read, and whatever is beyond the bound."""
        idle = [file for file in self.files.values() if file.is_open and file.is_at_end and not file.is_gone]
        idle.sort(key=lambda file: file.changed_s)
        excess = self.open_files - MAX_OPEN
        for i, file in enumerate(idle):
            is_over = is_archive(file.path) and self._clock() - file.changed_s >= LINGER_S
            if i < excess or file.is_closed or is_over:
                file.close()

    # ── copies ──

    def _is_waiting_copy(self, identity: tuple[int, int]) -> bool:
        """Whether the file is a copy whose original is still followed."""
        key = self._copies.get(identity)
        return key is not None and any(_key(file.reached) == key for file in self.files.values())

    def _decide(self, file: TailedFile) -> bool:
        """Where to begin with a new file; returns whether it is to be read now."""
        head = file.open().head(HEAD_BYTES)
        if not head:
            return False
        for other in self.files.values():
            key = _key(other.reached)
            if other.is_undecided or other.log_path != file.log_path or (other.is_gone and other.path == file.path):
                continue
            if key is not None and len(head) >= key[0] and fingerprint(head[: key[0]]) == key[1]:
                self._copies[file.identity] = key
                file.close()
                del self.files[file.identity]
                self._active.remove(file)
                return False
            if key is not None and len(head) < key[0] and other.head.startswith(head):
                return False  # the beginning of a copy, perhaps: it will be longer soon
        fresh = file.position if head[:1] != b"{" else msgspec.structs.replace(file.position, header=TsvHeader())
        file.resume(self._find_past(file, head) or fresh, extent=0)
        return True

    def _find_past(self, file: TailedFile, head: bytes) -> Position | None:
        """The position of an earlier file with the same beginning, unless this is that one made anew."""
        lengths = sorted({length for length, _ in self._past if length <= len(head)}, reverse=True)
        for length in lengths:
            position, is_recent = self._past.get((length, fingerprint(head[:length])), (None, False))
            if position is None or log_path_of(position.path.rpartition("/")[2]) != file.log_path:
                continue
            if not (is_recent and position.path == file.path):
                return position
        return None

    # ── reading ──

    def read(self, budget: int) -> list[Chunk]:
        """Blocks of the files that have something new, at least one if there is one, until `budget` bytes are read.

        Groups take turns; within a group the oldest file comes first, and the next when that is at its end.
        """
        groups: dict[tuple[str, str], list[TailedFile]] = {}
        for file in self._active:
            groups.setdefault(file.group, []).append(file)
        turns = list(groups.values())
        chunks: list[Chunk] = []
        for i in range(len(turns)):
            at = (self._turn + i) % len(turns)
            budget = self._read_group(turns[at], chunks, budget)
            if budget <= 0:
                self._turn = at + 1
                break
        self.has_more = budget <= 0 or any(not (file.is_at_end or file.is_undecided) for file in self._active)
        return chunks

    def _read_group(self, files: list[TailedFile], chunks: list[Chunk], budget: int) -> int:
        """One block of the oldest file, and of the next ones if the one before is at its end; returns what is left."""
        for file in files:
            chunk = None
            with self._trouble(file):
                if not file.is_undecided or self._decide(file):
                    chunk = file.read()
            self._book_cut(file)
            if chunk is not None:
                file.changed_s = self._clock()
                chunks.append(chunk)
                budget -= max(1, chunk.size)
                if budget <= 0 or not file.is_at_end:
                    break
        return budget

    def _book_cut(self, file: TailedFile) -> None:
        if file.cut_from is not None:
            self.cuts += 1
            self._remember(file.cut_from, is_recent=True)
            self._report("a file was truncated: reading it from the start", file=file.path, read=file.cut_from.offset)
            file.cut_from = None

    # ── troubles ──

    @contextmanager
    def _trouble(self, file: TailedFile) -> Iterator[None]:
        """Keep what one file has from the others: its errors are told once, and it is tried again when it changes."""
        try:
            yield
        except FileNotFoundError:  # renamed just now: the next look finds it
            file.is_at_end = True
        except (OSError, ArchiveError) as exc:
            file.is_at_end = True
            self._note(file, str(exc))
        else:
            self._note(file, None)

    def _note(self, file: TailedFile, problem: str | None) -> None:
        """A file cannot be read, which is told once, or it can again (None)."""
        if problem is None:
            if self._troubles.pop(file.identity, None) is not None:
                self._report("a file can be read again", file=file.path)
        elif self._troubles.get(file.identity) != problem:
            self._troubles[file.identity] = problem
            self._report("cannot read a file", file=file.path, error=problem)
