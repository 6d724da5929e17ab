"""The items that flow from doors to consumers: plain values, no behaviour beyond slicing.

An item says what it is (`kind`, `name`: what a consumer's ``on`` patterns match), which door it came through
(`source`, e.g. ``zmq.bro``), and how much it weighs (`count` records, `size` bytes) so that queues can be bounded.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "EventBatch",
    "FileReady",
    "FolderReady",
    "Item",
    "LogBatch",
    "NodeStatus",
    "Print",
    "Segment",
    "StoreEvent",
]


class LogBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Log records of one path that arrived together, still encoded."""

    path: str
    """Zeek's log path, e.g. ``conn``."""
    source: str
    """The door, e.g. ``zmq.bro``."""
    data: bytes
    """`count` JSON objects, each followed by one newline and holding none."""
    count: int
    """Number of records, at least 1."""
    node: str = ""
    """The Zeek node that wrote them, empty if the records do not say."""
    stream: str = ""
    """Zeek's stream, e.g. ``Conn::LOG``, empty if the door cannot know."""
    columns: tuple[tuple[str, str], ...] = ()
    """Name and type of each column in Zeek's order, e.g. ``("id.orig_h", "addr")`` and ``("tags", "set[string]")``;
    empty if the door cannot know."""
    via: tuple[str, ...] = ()
    """The hooks that it was made by, one out of what the other had made, as ``hook.NAME``: they do not get it again."""

    @property
    def kind(self) -> str:
        return "log"

    @property
    def name(self) -> str:
        return self.path

    @property
    def size(self) -> int:
        return len(self.data)

    def rows(self) -> list[bytes]:
        """The records, `count` of them, without their newlines."""
        rows = self.data.split(b"\n")
        rows.pop()
        return rows

    def complete_in(self, size: int) -> int:
        """How many records are complete in the first `size` bytes."""
        return self.data.count(b"\n", 0, max(0, size))

    def split(self, count: int) -> tuple[LogBatch, LogBatch]:
        """The first `count` records and the rest; ``0 < count < self.count``."""
        end = 0
        for _ in range(count):
            end = self.data.index(b"\n", end) + 1
        return (
            msgspec.structs.replace(self, data=self.data[:end], count=count),
            msgspec.structs.replace(self, data=self.data[end:], count=self.count - count),
        )


class EventBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one name and topic that arrived one after the other from one peer, still encoded."""

    name: str
    """Zeek's name with its module, e.g. ``Cluster::hello``."""
    topic: str
    """What they were published on. Bytes that are not UTF-8 are surrogates, as in all names from the network."""
    source: str
    """The door, e.g. ``broker``."""
    data: bytes
    """`count` times a length, 32 bits in network order, and that many bytes: an event message in Broker's binary
    format (`appliance.zeek.messages.decode_message`), known to be well-formed."""
    count: int
    """Number of events, at least 1."""
    peer: str = ""
    """Endpoint ID of the peer that sent them to us, as text; empty for our own events."""
    received_ns: int
    """When they arrived, nanoseconds since the epoch."""

    @property
    def kind(self) -> str:
        return "event"

    @property
    def size(self) -> int:
        return len(self.data)

    def payloads(self) -> list[bytes]:
        """The messages, `count` of them, without their lengths."""
        found, at = [], 0
        while at < len(self.data):
            end = at + 4 + int.from_bytes(self.data[at : at + 4])
            found.append(self.data[at + 4 : end])
            at = end
        return found

    def complete_in(self, size: int) -> int:
        """How many events are complete in the first `size` bytes."""
        count = end = 0
        while end < len(self.data):
            end += 4 + int.from_bytes(self.data[end : end + 4])
            if end > size:
                break
            count += 1
        return count

    def split(self, count: int) -> tuple[EventBatch, EventBatch]:
        """The first `count` events and the rest; ``0 < count < self.count``."""
        end = 0
        for _ in range(count):
            end += 4 + int.from_bytes(self.data[end : end + 4])
        return (
            msgspec.structs.replace(self, data=self.data[:end], count=count),
            msgspec.structs.replace(self, data=self.data[end:], count=self.count - count),
        )


class Print(msgspec.Struct, frozen=True, kw_only=True):
    """A remote print: one text on a topic, ``bro/print/...`` by convention."""

    topic: str
    source: str
    """The door, e.g. ``broker``."""
    text: bytes
    """What was printed: any bytes."""
    peer: str = ""
    """As in `EventBatch`."""
    received_ns: int
    """When it arrived, nanoseconds since the epoch."""

    @property
    def kind(self) -> str:
        return "print"

    @property
    def name(self) -> str:
        return self.topic

    @property
    def count(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.text)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One finished capture file. It weighs what its names do, as a finished file does: the packets are not in it."""

    handler: str
    """The handler that wrote it."""
    source: str
    """The door, e.g. ``capture.telemetry``."""
    path: str
    """Absolute path of the finished file."""
    packets: int
    disk_size: int = msgspec.field(name="size")
    """Bytes on disk; ``size`` in a hook's record."""
    first_ns: int
    """Time of the first packet, nanoseconds since the epoch; 0 if there is none."""
    last_ns: int
    linktype: int
    """LINKTYPE_ value of the file (https://www.tcpdump.org/linktypes.html)."""
    drops: int = 0
    """Packets that are not in it and should be: the kernel had no room for them, or the disk was too slow."""

    @property
    def kind(self) -> str:
        return "segment"

    @property
    def name(self) -> str:
        return self.handler

    @property
    def count(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.path) + len(self.handler)


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What finished files and folders have in common. An item weighs what its names do: the content is not in it."""

    watch: str
    """The watch that found it, or what the hook that produced it calls its results: what ``on`` names."""
    source: str
    """The door, e.g. ``watch.uploads``, or the hook that produced it, ``hook.zeek``."""
    path: str
    """Absolute path. Bytes that are not UTF-8 are surrogates."""
    relative: str
    """The same from the watched folder on: ``2026-11-21/a.pcap``."""
    disk_size: int = msgspec.field(name="size", default=0)
    """Bytes on disk; ``size`` in a hook's record."""
    mtime_ns: int
    """When it was last modified, nanoseconds since the epoch."""
    inode: int = 0
    via: tuple[str, ...] = ()
    """As in `LogBatch`."""

    @property
    def name(self) -> str:
        return self.watch

    @property
    def count(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.path) + len(self.relative)


class FileReady(_Ready, frozen=True, kw_only=True):
    """A file that is finished."""

    @property
    def kind(self) -> str:
        return "file"


class FolderReady(_Ready, frozen=True, kw_only=True):
    """A folder that is finished, with all that is in it, e.g. the logs of one run of Zeek."""

    files: int = 0
    """Regular files in it, at any depth."""

    @property
    def kind(self) -> str:
        return "folder"


class StoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an entry of a data store. Keys and values are in Broker's binary format."""

    store: str
    """Its name."""
    source: str
    """The door, e.g. ``store.hosts``."""
    change: str
    """``insert``, ``update``, ``erase``, ``expire`` or ``clear``."""
    key: bytes = b""
    """Empty if everything was removed."""
    value: bytes | None = None
    """The new one."""
    old: bytes | None = None
    """The one before."""
    expiry_ns: int | None = None
    """When the new value is over, nanoseconds since the epoch; only the master knows."""
    publisher: str = ""
    """Endpoint ID and number of whoever wanted it, as text; empty for ourselves."""
    received_ns: int
    """When it happened here, nanoseconds since the epoch."""

    @property
    def kind(self) -> str:
        return "store"

    @property
    def name(self) -> str:
        return self.store

    @property
    def count(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.key) + len(self.value or b"") + len(self.old or b"")


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the cluster has come or gone."""

    node: str
    """Its name in the layout."""
    status: str
    """``up`` or ``down``: what ``on`` names."""
    type: str
    """What it does, as in ``[cluster.nodes.NAME]``."""
    id: str
    """The ID that it has, or had, in the cluster's backend."""
    source: str
    """The door, ``cluster``, whichever backend it is."""
    received_ns: int
    """When we learnt of it, nanoseconds since the epoch."""

    @property
    def kind(self) -> str:
        return "node"

    @property
    def name(self) -> str:
        return self.status

    @property
    def count(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.node) + len(self.id)


Item = LogBatch | EventBatch | Print | Segment | FileReady | FolderReady | StoreEvent | NodeStatus
