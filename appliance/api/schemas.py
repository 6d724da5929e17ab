"""The documents that the endpoint takes and gives, for its description: what is in them, and of which type.

Figures of services differ by kind and grow with each version; they are objects without a fixed form here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "CaptureList",
    "CaptureRequest",
    "Changed",
    "ClusterViews",
    "Conditions",
    "Configuration",
    "DeadLetter",
    "DeadLetters",
    "EvidenceList",
    "ExtractReport",
    "FileList",
    "HandlerDocument",
    "Health",
    "HookList",
    "Job",
    "PeerList",
    "PublishedTo",
    "Recorded",
    "RecorderList",
    "Rotated",
    "Started",
    "Stopped",
    "StoreAnswer",
    "StoreList",
    "StoreOperation",
]

Figures = dict[str, Any]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it lives, or is ready."""

    status: str
    """``ok``, or the state that it is in."""


class ClusterViews(msgspec.Struct, frozen=True, kw_only=True):
    """How services that are nodes see their cluster, by the names of the services."""

    views: dict[str, dict[str, Any]]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force."""

    generation: int
    files: list[str]


# ── captures ──


class HandlerDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A handler of a capture."""

    name: str
    config: dict[str, Any]
    """Its table, as in the file."""
    statistics: Figures | None
    """None: it does not run at the moment."""
    capture: str = ""


class CaptureDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A capture; besides these it has the keys of its table."""

    name: str
    socket: Figures | None
    handlers: list[HandlerDocument]


class CaptureList(msgspec.Struct, frozen=True, kw_only=True):
    captures: list[CaptureDocument]


class HandlerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A ``[[capture.handler]]`` table; besides these it may have the keys that the file's has."""

    name: str = ""
    """Of ``PUT`` the path has it."""


class CaptureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A ``[[capture]]`` table; besides these it may have the keys that the file's has."""

    conn_type: Literal["udp", "tcp", "ethernet"]
    address: list[str | int]
    """Host and port, or interface and protocol."""
    name: str = ""
    handler: list[HandlerRequest] = []


class Started(msgspec.Struct, frozen=True, kw_only=True):
    capture: str
    handlers: list[HandlerDocument]


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    stopped: int
    """How many handlers."""


class SegmentDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file."""

    handler: str
    source: str
    path: str
    packets: int
    disk_size: int
    linktype: int
    first_ns: int | None = None
    last_ns: int | None = None


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    segments: list[SegmentDocument]


class FileLine(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file."""

    name: str
    """Below the folder of its handler."""
    size: int
    finished_ns: int


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    files: list[FileLine]
    next: str | None


# ── recorders and peers ──


class RecorderDocument(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    """Of its service."""
    figures: Figures | None


class RecorderList(msgspec.Struct, frozen=True, kw_only=True):
    recorders: list[RecorderDocument]


class PeerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What one service is connected with."""

    service: str
    state: str
    peers: list[Any]
    """Connections that stand."""
    dialers: list[Any]
    """Addresses that are dialled."""
    nodes: Any
    """Of the cluster, as far as the service knows them; null if it knows none."""


class PeerList(msgspec.Struct, frozen=True, kw_only=True):
    peers: list[PeerDocument]


# ── hooks ──


class HookDocument(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    """Of its service; ``absent``: nobody runs it."""
    waiting: int
    retrying: int
    dead: int
    queue: Figures | None
    figures: Figures | None


class HookList(msgspec.Struct, frozen=True, kw_only=True):
    hooks: list[HookDocument]
    dead_letters: Figures | None


class ShortLetter(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    hook: str
    kind: str
    name: str
    source: str
    attempts: int
    first_ns: int
    last_ns: int
    reason: str
    error: str


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    letters: list[ShortLetter]
    next: str | None
    """The cursor of the next page; None: this is the last."""


class DeadLetter(ShortLetter, frozen=True, kw_only=True):
    trace: str
    history: list[dict[str, Any]]
    record: dict[str, Any] | None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    count: int


# ── events and stores ──


class PublishedTo(msgspec.Struct, frozen=True, kw_only=True):
    peers: int
    """For how many it was queued."""


class StoreList(msgspec.Struct, frozen=True, kw_only=True):
    stores: list[Figures]


class StoreOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked of a store; which of the others are needed depends on the operation."""

    operation: Literal[
        "get", "exists", "index", "keys", "entries", "size",
        "put", "put_unique", "erase", "clear", "increment", "decrement", "append", "insert", "remove", "push", "pop",
    ]  # fmt: skip
    key: Any = None
    value: Any = None
    index: Any = None
    ttl: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    """Seconds."""
    timeout: Annotated[float, Meta(gt=0, le=600)] | None = None
    """Seconds."""
    limit: Annotated[int, Meta(ge=0, le=10_000)] = 1000
    cursor: str | None = None
    """The answer's `next`: the page behind it."""


class StoreAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a store says; which of these depends on the operation."""

    has_effect: bool = False
    has_value: bool = False
    value: dict[str, Any] | None = None
    expiry_ns: int | None = None
    size: int = 0
    entries: list[dict[str, Any]] = []
    next: str | None = None
    """The cursor of the next page; None: this is the last."""


# ── packets ──


class EvidenceTable(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    recorder: str
    pending: list[dict[str, Any]]
    finished: list[dict[str, Any]]


class EvidenceList(msgspec.Struct, frozen=True, kw_only=True):
    evidence: list[EvidenceTable]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request for packets."""

    id: int
    state: str
    pcap: str
    packets: int


class RecorderSpan(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    oldest_ns: int | None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    recorders: list[RecorderSpan]
    running: int
    """Extractions at this moment."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Which packets; as the arguments of ``broappliance extract``."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    host: list[str] = []
    """One, or two: packets between them."""
    port: list[str] = []
    proto: str = ""
    conn: str = ""
    community_id: str = ""
    uid: str = ""
    bpf: str = ""
    recorder: str = ""
    max_bytes: int | None = None


class ExtractReport(msgspec.Struct, frozen=True, kw_only=True):
    packets: int
    bytes: int
    is_complete: bool
    missing: list[str]
    """A line for people for each gap."""
