"""The C module as Python classes: frames to rows, packets to capture files, by the block and never by the record.

The only room that imports `appliance._native`. Every class owns one C object, for one thread at a time; the calls that
can take long release the GIL. A closed object raises `ValueError`. Whatever is not closed goes with its Python object.

A module of this room is imported when something of it is first asked for: whoever reads files needs no rings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appliance.native.batches import BatchCounts, BatchGroup, BatchIntake
    from appliance.native.bpf import compile_filter
    from appliance.native.broker import BrokerIntake, IntakeCounts, OversizeFrameError, Run, RunKind, frame_events
    from appliance.native.flows import (
        FlowCounts,
        FlowKey,
        FlowQuery,
        FlowTable,
        FlowTotals,
        FlowVerdict,
        PacketFlow,
        Seen,
        community_id,
        flow_key,
        packet_flow,
    )
    from appliance.native.logs import LogCounts, LogGroup, LogIntake, LogSequence, ZmqDrain, check_json_row
    from appliance.native.memory_ring import MemoryRing, MemorySegment
    from appliance.native.merge import MergeCounts, MergeEnd, PcapMerge
    from appliance.native.pcap import (
        SNAPLEN_MAX,
        PcapBlock,
        PcapFormat,
        PcapScan,
        PcapSpan,
        Received,
        Stored,
        make_file_header,
        record_bytes,
        scan_pcap,
        scan_pcap_bytes,
    )
    from appliance.native.receivers import (
        DatagramCounts,
        DatagramReceiver,
        EthernetReceiver,
        Packet,
        PacketBatch,
        ReceiverCounts,
    )
    from appliance.native.ring import NEW_GROUP, Ring, RingCounts, RingStatus
    from appliance.native.ring_output import OutputKind, RingOutput, RingSegment
    from appliance.native.ring_tap import RingTap
    from appliance.native.segments import (
        Extent,
        SegmentCounts,
        SegmentFlow,
        SegmentIndex,
        SegmentIndexWriter,
        SegmentInfo,
        index_pcap,
    )
    from appliance.native.synth import LINKTYPE_RAW, Address, TcpSynth, synthesise_udp
    from appliance.native.transcode import (
        BrokerGroup,
        BrokerGroups,
        EscapePolicy,
        ExtraMembers,
        LogColumn,
        LogColumns,
        TimeFormat,
        Transcoded,
        TranscodedGroup,
        Transcoder,
        TypeNumbers,
        WriteSchema,
    )

__all__ = [
    "LINKTYPE_RAW",
    "NEW_GROUP",
    "SNAPLEN_MAX",
    "Address",
    "BatchCounts",
    "BatchGroup",
    "BatchIntake",
    "BrokerGroup",
    "BrokerGroups",
    "BrokerIntake",
    "DatagramCounts",
    "DatagramReceiver",
    "EscapePolicy",
    "EthernetReceiver",
    "Extent",
    "ExtraMembers",
    "FlowCounts",
    "FlowKey",
    "FlowQuery",
    "FlowTable",
    "FlowTotals",
    "FlowVerdict",
    "IntakeCounts",
    "LogColumn",
    "LogColumns",
    "LogCounts",
    "LogGroup",
    "LogIntake",
    "LogSequence",
    "MemoryRing",
    "MemorySegment",
    "MergeCounts",
    "MergeEnd",
    "OutputKind",
    "OversizeFrameError",
    "Packet",
    "PacketBatch",
    "PacketFlow",
    "PcapBlock",
    "PcapFormat",
    "PcapMerge",
    "PcapScan",
    "PcapSpan",
    "Received",
    "ReceiverCounts",
    "Ring",
    "RingCounts",
    "RingOutput",
    "RingSegment",
    "RingStatus",
    "RingTap",
    "Run",
    "RunKind",
    "Seen",
    "SegmentCounts",
    "SegmentFlow",
    "SegmentIndex",
    "SegmentIndexWriter",
    "SegmentInfo",
    "Stored",
    "TcpSynth",
    "TimeFormat",
    "Transcoded",
    "TranscodedGroup",
    "Transcoder",
    "TypeNumbers",
    "WriteSchema",
    "ZmqDrain",
    "check_json_row",
    "community_id",
    "compile_filter",
    "flow_key",
    "frame_events",
    "index_pcap",
    "make_file_header",
    "packet_flow",
    "record_bytes",
    "scan_pcap",
    "scan_pcap_bytes",
    "synthesise_udp",
]

_NAMES: dict[str, tuple[str, ...]] = {
    "batches": ("BatchCounts", "BatchGroup", "BatchIntake"),
    "bpf": ("compile_filter",),
    "broker": ("BrokerIntake", "IntakeCounts", "OversizeFrameError", "Run", "RunKind", "frame_events"),
    "flows": (
        "FlowCounts",
        "FlowKey",
        "FlowQuery",
        "FlowTable",
        "FlowTotals",
        "FlowVerdict",
        "PacketFlow",
        "Seen",
        "community_id",
        "flow_key",
        "packet_flow",
    ),
    "logs": ("LogCounts", "LogGroup", "LogIntake", "LogSequence", "ZmqDrain", "check_json_row"),
    "memory_ring": ("MemoryRing", "MemorySegment"),
    "merge": ("MergeCounts", "MergeEnd", "PcapMerge"),
    "pcap": (
        "SNAPLEN_MAX",
        "PcapBlock",
        "PcapFormat",
        "PcapScan",
        "PcapSpan",
        "Received",
        "Stored",
        "make_file_header",
        "record_bytes",
        "scan_pcap",
        "scan_pcap_bytes",
    ),
    "receivers": ("DatagramCounts", "DatagramReceiver", "EthernetReceiver", "Packet", "PacketBatch", "ReceiverCounts"),
    "ring": ("NEW_GROUP", "Ring", "RingCounts", "RingStatus"),
    "ring_output": ("OutputKind", "RingOutput", "RingSegment"),
    "ring_tap": ("RingTap",),
    "segments": (
        "Extent",
        "SegmentCounts",
        "SegmentFlow",
        "SegmentIndex",
        "SegmentIndexWriter",
        "SegmentInfo",
        "index_pcap",
    ),
    "synth": ("LINKTYPE_RAW", "Address", "TcpSynth", "synthesise_udp"),
    "transcode": (
        "BrokerGroup",
        "BrokerGroups",
        "EscapePolicy",
        "ExtraMembers",
        "LogColumn",
        "LogColumns",
        "TimeFormat",
        "Transcoded",
        "TranscodedGroup",
        "Transcoder",
        "TypeNumbers",
        "WriteSchema",
    ),
}
"""What is in which module."""
_PLACES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
