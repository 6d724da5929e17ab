"""What the tables of the TOML file are made of: their base, names, and what consumers have in common."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from appliance.units import Duration, Size

__all__ = ["NAME_PATTERN", "Consumer", "HookQueue", "Keep", "MaxWait", "Name", "Policy", "QueueSize", "Table", "Via"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="1 to 64 letters, digits, '.', '_' and '-'")]
Policy = Literal["block", "drop_oldest", "drop_newest"]
HookQueue = Literal["durable", "block", "drop_oldest", "drop_newest"]
MaxWait = Annotated[Duration, Meta(description='longest wait for a consumer with queue = "block" that takes nothing')]
Via = Annotated[
    tuple[str, ...],
    Meta(description="doors through which it publishes, e.g. broker or websocket.*; empty: all that are open"),
]
QueueSize = Annotated[int, Meta(ge=1, le=100_000_000, description="records that may wait")]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """Base of every table: immutable, compared by value, unknown keys refused."""


class Keep(Table, frozen=True, kw_only=True):
    """How much of the finished files is kept; the oldest go first."""

    size: Annotated[Size | None, Meta(description="bytes of all finished files together")] = None
    age: Annotated[Duration | None, Meta(description="time since a file was finished")] = None


class Consumer(Table, frozen=True, kw_only=True):
    """What a hook and a sink have in common."""

    name: Name
    on: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="what it takes: log:<path glob>, event:<name glob>, print:<topic prefix>, for hooks also "
            "segment:<handler glob>, file:<watch glob>, folder:<watch glob>, store:<store glob>; node:up, node:down",
        ),
    ]
    from_: Annotated[tuple[str, ...], Meta(description="doors, e.g. zmq.bro; empty: any")] = field(
        name="from", default=()
    )
    queue_size: QueueSize = 100_000
    queue_bytes: Annotated[Size, Meta(description="bytes that may wait")] = Size(256 << 20)
