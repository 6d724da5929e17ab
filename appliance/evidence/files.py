"""Where the files of one table are: finished ones, and the pieces of pending ones. Blocks, but for the names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from appliance.config import Evidence
from appliance.runtime.pattern import MAX_COUNTER, PathPattern, numbered

from .jobs import Job, Missing, Piece
from .names import FIELDS, file_pattern
from .note import job_note, left_out_note, write_note
from .room import split_excess
from .stages import cut_piece, put_together
from .state import State

__all__ = ["Files"]


class Files:
    """See the module.

    Args:
        config: the table.
    """

    def __init__(self, config: Evidence) -> None:
        self._config = config
        self.pattern = pattern = PathPattern(file_pattern(config.directory, config.name), fields=FIELDS)
        """Of the finished files."""
        self.stages = Path(pattern.static_root) / f".{config.name}.stages"
        """The folder of pieces: on the disk of the files, and nothing that looks like one."""

    def path(self, job: Job, kind: str) -> Path:
        """The name of a job's ``pcap`` or ``json``."""
        return self._render(job.ts_ns, job.tag, kind)

    def _render(self, ts_ns: int, tag: str, kind: str) -> Path:
        return Path(self.pattern.render(ts_ns, {"tag": tag, "kind": kind}))

    def finish(self, job: Job, now_ns: int, check: Callable[[], object]) -> tuple[Path | None, Path, int]:
        """Write a job's PCAP and note; the PCAP has its name last.

        Returns:
            The PCAP or None if there are no packets, the note, and the PCAP's size.

        Raises:
            OSError: the disk says no; it can be tried again.
        """
        note, recorder = self.path(job, "json"), self._config.recorder
        is_complete = not job.missing

        def write(pcap: Path | None, size: int) -> None:
            told = job_note(
                job, evidence=self._config.name, recorder=recorder, pcap=pcap, size=size,
                is_complete=is_complete, now_ns=now_ns,
            )  # fmt: skip
            note.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_note(note, told)

        if not job.pieces:
            write(None, 0)
            return None, note, 0
        pieces = [self.stages / piece.file for piece in sorted(job.pieces, key=lambda piece: piece.from_ns)]
        path, size = put_together(pieces, self.path(job, "pcap"), note=write, check=check)
        return path, note, size

    def find_finished(self, job: Job) -> Path | None:
        """The PCAP, if an earlier run finished it and did not come to say so."""
        path = self.path(job, "pcap")
        return path if path.is_file() and not path.is_symlink() else None

    def lost(self, job: Job) -> list[Piece]:
        """Pieces that are not there any more, or not whole."""

        def size(piece: Piece) -> int:
            try:
                return (self.stages / piece.file).stat().st_size
            except OSError:
                return -1

        return [piece for piece in job.pieces if size(piece) != piece.size]

    def trim(self, job: Job, max_size: int) -> None:
        """Leave out of a job what does not fit: its latest packets. What was taken stays on the disk.

        Raises:
            OSError: the disk says no.
        """
        fitting, excess = split_excess(job.pieces, max_size)
        if not excess:
            return
        cut = cut_piece(self.stages, excess[0], max_size - sum(piece.size for piece in fitting))
        begin = excess[0].from_ns if cut is None else cut.last_ns
        job.missing.append(Missing("max_size", begin, excess[-1].to_ns))
        job.pieces = fitting if cut is None else [*fitting, cut]

    def forget(self, job: Job) -> None:
        """Remove everything that was taken for a job."""
        for path in self.stages.glob(f"{job.id}-*.pcap"):
            path.unlink(missing_ok=True)

    def remove(self, piece: Piece | None) -> None:
        """Remove a piece that no job has."""
        if piece is not None:
            (self.stages / piece.file).unlink(missing_ok=True)

    def sweep(self, jobs: Collection[Job]) -> None:
        """Remove pieces that no job has."""
        known = {piece.file for job in jobs for piece in job.pieces}
        if self.stages.is_dir():
            for path in self.stages.iterdir():
                if path.name not in known:
                    path.unlink(missing_ok=True)

    def write_left_out(self, state: State, now_ns: int) -> Path:
        """Write the note about alarms that were left out, and forget them.

        Raises:
            OSError: the disk says no.
        """
        listed, more = state.left_out()
        note = left_out_note(listed, more, evidence=self._config.name, recorder=self._config.recorder, now_ns=now_ns)
        base = str(self._render(now_ns, "left-out", "json"))
        path = next(path for n in range(MAX_COUNTER) if not (path := Path(numbered(base, n))).exists())
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_note(path, note)
        state.told()
        return path
