"""The stages of a file: packets taken from the recorder into pieces, pieces put together. Blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import msgspec

from appliance.extract.extraction import Extraction, plan
from appliance.extract.query import Query
from appliance.extract.sources import FileSource
from appliance.runtime.packets import Gap, PacketStore, Source
from appliance.runtime.partfile import PartFile

from .jobs import Missing, Piece, Span, uncovered
from .selection import Selection
from .times import MARGIN_NS

__all__ = ["HEADER", "Taken", "before_oldest", "cut_piece", "make_query", "put_together", "take", "within"]

HEADER = 24
"""Bytes of a PCAP file's header."""
_BLOCK = 1 << 20

Check = Callable[[], object]
"""Raises what ends the work before its time."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one span."""

    piece: Piece | None
    """None: there are no packets."""
    missing: tuple[Missing, ...]
    is_capped: bool

    @classmethod
    def nothing(cls, reason: str, span: Span) -> Taken:
        """It was not even looked at."""
        return cls(piece=None, missing=(Missing(reason, *span),), is_capped=False)


def make_query(selection: Selection, span: Span) -> Query:
    """The packets of a selection in a span of time."""
    return Query(
        from_ns=max(0, span[0]),
        to_ns=span[1] - 1,
        hosts=tuple(ip_address(host) for host in selection.hosts),
        ports=selection.ports,
        proto=selection.proto,
        is_conn=selection.select == "conn" and len(selection.ports) == 2,
        community_id=selection.community_id or None if not selection.hosts else None,
    )


def take(store: PacketStore, selection: Selection, span: Span, target: Path, *, max_bytes: int, check: Check) -> Taken:
    """Take the packets of a span into a new file, safe on the disk when this returns.

    Args:
        store: where they are.
        selection: which ones; its uid is resolved.
        span: from when to when.
        target: where they go; replaced if it exists, and gone if this fails or there are none.
        max_bytes: the file is no larger.
        check: called often.

    Raises:
        ApplianceError: they cannot be read.
        OSError: they cannot be written.
    """
    query = make_query(selection, span)
    sources, others = _of_one_link(plan(query, store.sources()))
    gaps = store.gaps(query.from_ns, query.to_ns)
    extraction = Extraction(query, sources, gaps, max_bytes=max_bytes)
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        with target.open("wb") as file:
            for block in extraction:
                check()
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        report = extraction.report
        if not report.packets:
            target.unlink()
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    missing = [Missing(gap.reason, *within(gap, span), gap.packets, gap.bytes) for gap in report.gaps]
    missing += [Missing("link_type", *within(Gap(s.first_ns, s.last_ns, ""), span)) for s in others]
    missing += before_oldest(store.oldest_ns, span, report.gaps)
    piece = None
    if report.packets:
        assert report.first_ns is not None
        assert report.last_ns is not None
        piece = Piece(
            target.name, *span, report.packets, report.bytes, report.first_ns, report.last_ns, report.linktype
        )
    if report.is_capped:
        missing.append(Missing("max_size", span[0] if piece is None else piece.last_ns, span[1]))
    return Taken(piece=piece, missing=tuple(missing), is_capped=report.is_capped)


def cut_piece(folder: Path, piece: Piece, max_bytes: int) -> Piece | None:
    """As much of a piece, from its begin on, as there is room for, as another file; None: not even one packet.

    Raises:
        OSError: the disk says no.
    """
    source = FileSource(folder / piece.file, first_ns=piece.first_ns, last_ns=piece.last_ns)
    extraction = Extraction(Query(), [source], max_bytes=max_bytes)
    target = folder / f"{piece.file.removesuffix('.pcap')}-cut.pcap"
    with target.open("wb") as file:
        for block in extraction:
            file.write(block)
    report = extraction.report
    if report.first_ns is None or report.last_ns is None:
        target.unlink()
        return None
    return msgspec.structs.replace(
        piece, file=target.name, packets=report.packets, size=report.bytes, last_ns=report.last_ns
    )


def _of_one_link(sources: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Those that can be in one file with the latest one, and the others."""
    linktype = sources[-1].linktype if sources else 0
    return [s for s in sources if s.linktype == linktype], [s for s in sources if s.linktype != linktype]


def within(gap: Gap, span: Span) -> Span:
    """The part of a gap that is in a span."""
    begin = min(max(gap.from_ns, span[0]), span[1])
    return begin, max(begin, min(gap.to_ns, span[1]))


def before_oldest(oldest_ns: int | None, span: Span, gaps: Sequence[Gap]) -> Iterator[Missing]:
    """What is older than everything that the recorder has, and no gap explains."""
    end = span[1] if oldest_ns is None else min(oldest_ns, span[1])
    explained = sorted((gap.from_ns, gap.to_ns + 1) for gap in gaps)
    for begin, end_ns in uncovered(span[0], end, explained):
        if end_ns - begin > MARGIN_NS:  # what a connection's beginning is earlier than Zeek says
            yield Missing("before_oldest", begin, end_ns)


def put_together(
    pieces: Sequence[Path], final: Path, *, note: Callable[[Path, int], None], check: Check
) -> tuple[Path, int]:
    """Make one PCAP of pieces, in their order.

    Args:
        pieces: PCAP files of one link type.
        final: the file's name; what an earlier attempt has left there as a part is removed.
        note: called with the final name and the size when the packets are safe, before the file has that name.
        check: called often.

    Returns:
        The final name, and the size.

    Raises:
        OSError: the disk says no.
    """
    with suppress(FileNotFoundError):
        final.with_name(final.name + ".part").unlink()
    file = PartFile.create(final)
    try:
        for number, piece in enumerate(pieces):
            with piece.open("rb") as source:
                source.seek(HEADER if number else 0)
                while block := source.read(_BLOCK):
                    check()
                    file.write([block])
        os.fsync(file.fd)
        note(file.path.with_name(file.path.name.removesuffix(".part")), file.size)
        path = file.finish()
    except BaseException:
        file.discard()
        raise
    assert path is not None
    return path, file.size
