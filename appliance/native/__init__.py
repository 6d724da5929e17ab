"""The C module as Python classes: frames to rows, datagrams to PCAP, by the block and never by the record.

The only room that imports `appliance._native`. Every class owns one C object, for one thread at a time; the calls that
can take long release the GIL. A closed object raises `ValueError`. Whatever is not closed goes with its Python object.
"""

from __future__ import annotations

from appliance.native.batches import BatchCounts, BatchGroup, BatchIntake
from appliance.native.broker import BrokerIntake, IntakeCounts, OversizeFrameError, Run, RunKind, frame_events
from appliance.native.logs import LogCounts, LogGroup, LogIntake, LogSequence, ZmqDrain, check_json_row
from appliance.native.packets import (
    DatagramCounts,
    DatagramReceiver,
    PcapBlock,
    PcapScan,
    Received,
    scan_pcap,
    scan_pcap_bytes,
)
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
    "BatchCounts",
    "BatchGroup",
    "BatchIntake",
    "BrokerGroup",
    "BrokerGroups",
    "BrokerIntake",
    "DatagramCounts",
    "DatagramReceiver",
    "EscapePolicy",
    "ExtraMembers",
    "IntakeCounts",
    "LogColumn",
    "LogColumns",
    "LogCounts",
    "LogGroup",
    "LogIntake",
    "LogSequence",
    "OversizeFrameError",
    "PcapBlock",
    "PcapScan",
    "Received",
    "Run",
    "RunKind",
    "TimeFormat",
    "Transcoded",
    "TranscodedGroup",
    "Transcoder",
    "TypeNumbers",
    "WriteSchema",
    "ZmqDrain",
    "check_json_row",
    "frame_events",
    "scan_pcap",
    "scan_pcap_bytes",
]
