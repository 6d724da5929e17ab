"""What a crash left: segments that were growing get their names, an index, and lose a torn end. Everything blocks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from appliance.extract.names import AHEAD, INDEX, PART, PCAP, ZST, SegmentName, index_of
from appliance.native import PcapScan, index_pcap
from appliance.runtime.compress import remove_leftover
from appliance.runtime.torn import cut_torn

from .segment import NEW, give_name, sync_directory

__all__ = ["Repaired", "repair"]


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    part: Path
    path: Path | None = None
    """Its name now; None: there was no packet in it, or `error`."""
    scan: PcapScan | None = None
    cut: int = 0
    """Bytes that were removed from its end."""
    error: str = ""


def repair(directory: Path, recorder: str, *, with_index: bool) -> list[Repaired]:
    """Finish what an earlier run left; what another process writes is locked and left alone.

    Raises:
        OSError: the directory cannot be read.
    """
    repaired: list[Repaired] = []
    names = {path.name for path in directory.iterdir()}
    for name in sorted(names):
        parsed = SegmentName.parse(name)
        if parsed is None or parsed.recorder != recorder:
            continue
        path = directory / name
        if name.endswith((PCAP + PART, PCAP + AHEAD)):
            try:
                found = _repair(path, parsed, with_index=with_index)
            except (OSError, ValueError, MemoryError) as exc:
                found = Repaired(part=path, error=str(exc))
            if found is not None:
                repaired.append(found)
        elif name.endswith((PCAP + ZST + PART, PCAP + INDEX + PART, PCAP + INDEX + NEW, PCAP + INDEX)):
            _remove_orphan(path, names)
    if repaired:
        sync_directory(directory)
    return repaired


def _repair(part: Path, name: SegmentName, *, with_index: bool) -> Repaired | None:
    """None: somebody writes it, or it was opened ahead of time and not needed."""
    fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        scan, cut = cut_torn(part)
        if not scan.packets:
            part.unlink()
            index_of(part).unlink(missing_ok=True)
            return Repaired(part=part, cut=cut) if part.suffix == PART else None
        os.utime(fd, ns=(scan.last_ns, scan.last_ns))
        os.fsync(fd)
        final = give_name(part, part.parent, name._replace(time_ns=scan.first_ns))
        if with_index:
            index_pcap(final, index_of(final))
        index_of(part).unlink(missing_ok=True)
        return Repaired(part=part, path=final, scan=scan, cut=cut)
    finally:
        os.close(fd)


def _remove_orphan(path: Path, names: set[str]) -> None:
    """An index or a journal whose segment is gone, or half of a compressed one."""
    stem = path.name.partition(PCAP)[0] + PCAP
    if path.name.endswith(ZST + PART):
        remove_leftover(path)
    elif stem + PART not in names and (path.name.endswith(NEW) or not {stem, stem + ZST} & names):
        path.unlink(missing_ok=True)
