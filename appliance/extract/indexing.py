"""Indexes beside capture files, made and checked; any PCAP can have one, not only a recorder's. Blocks."""

from __future__ import annotations

from pathlib import Path

import msgspec

from appliance.errors import ApplianceError
from appliance.native import FlowQuery, SegmentFlow, SegmentIndex, SegmentInfo, index_pcap

from .names import index_of, plain_of
from .sources import FileSource

__all__ = ["IndexFigures", "check_index", "index_path", "make_index"]

SAMPLES = 256
"""Flows whose packets are looked up by a check; of each flow a lookup reads all times of the index."""
_MAX_FLOWS = 1 << 24


class IndexFigures(msgspec.Struct, frozen=True):
    """An index and its PCAP."""

    packets: int
    flows: int
    unindexed: int
    """Packets of flows that were too many; they are found, but less exactly."""
    index_bytes: int
    pcap_bytes: int
    """That the index covers."""
    torn_bytes: int
    """After the last whole packet."""


def index_path(path: Path) -> Path:
    """Where the index of a PCAP is: beside it, also if that is compressed."""
    return index_of(plain_of(path))


def make_index(path: Path) -> IndexFigures:
    """Index a PCAP, compressed with zstd or not; an older index is replaced.

    Raises:
        ApplianceError: it is no PCAP file, cannot be read, or the index cannot be written.
    """
    return _index(path, index_path(path))


def check_index(path: Path) -> list[str]:
    """What is wrong with the index of a PCAP: it is made once more, in memory, and compared.

    The one that a recorder made may know more of later fragments, whose first was in the segment before; it must lead
    to every packet that the new one leads to.

    Raises:
        ApplianceError: the PCAP is none, or cannot be read.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="broappliance-") as folder:
        fresh = Path(folder) / "fresh.idx"
        _index(path, fresh)
        try:
            with index_path(path).open("rb") as old, fresh.open("rb") as new:
                return _compare(SegmentIndex(old.fileno()), SegmentIndex(new.fileno()))
        except FileNotFoundError:
            return ["there is no index"]
        except (OSError, ValueError) as exc:
            return [f"the index cannot be used: {exc}"]


def _index(path: Path, out: Path) -> IndexFigures:
    try:
        with FileSource(path).open() as opened:
            # By its descriptor: a compressed one is unpacked into a file without a name.
            place = Path(f"/proc/self/fd/{opened.pcap_fd}")
            counts = index_pcap(place, out)
            size = place.stat().st_size
    except OSError as exc:
        raise ApplianceError(f"{exc.filename or path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ApplianceError(f"{path}: no PCAP file: {exc}") from exc
    return IndexFigures(
        packets=counts.packets,
        flows=counts.flows,
        unindexed=counts.unindexed,
        index_bytes=out.stat().st_size,
        pcap_bytes=counts.pcap_bytes,
        torn_bytes=size - counts.pcap_bytes,
    )


def _compare(old: SegmentIndex, new: SegmentIndex) -> list[str]:
    was, now = old.info(), new.info()
    if not was.is_complete:
        return ["it is the journal of a segment that grows, and no index"]
    fields = ("linktype", "pcap_bytes", "packets", "first_ns", "last_ns")
    wrong = [
        f"{field} is {getattr(was, field)}, and should be {getattr(now, field)}"
        for field in fields
        if getattr(was, field) != getattr(now, field)
    ]
    if wrong:
        return wrong
    flows, _ = new.flows(FlowQuery(), min(now.flows, _MAX_FLOWS))
    old.flows(FlowQuery(), 1)  # looks at every page of them
    missed = sum(not _leads_to(flow, old, new, now) for flow in flows[:: len(flows) // SAMPLES + 1])
    return [f"it does not lead to all packets of {missed} of its flows"] if missed else []


def _leads_to(flow: SegmentFlow, old: SegmentIndex, new: SegmentIndex, info: SegmentInfo) -> bool:
    """Whether every part of the PCAP that has packets of a flow is found by the old index as well."""
    key = flow.key
    if key.first is None or key.second is None:
        return True  # what is not IP is found by its time alone
    ports = (key.first_port, key.second_port) if key.has_ports else ()
    query = FlowQuery(hosts=(key.first, key.second), ports=ports, proto=key.proto, is_conn=bool(ports))
    covered = [(each.offset, each.offset + each.length) for each in old.lookup(query, info.pcap_bytes)]
    return info.unindexed > 0 or all(
        any(start <= each.offset and each.offset + each.length <= end for start, end in covered)
        for each in new.lookup(query, info.pcap_bytes)
    )
