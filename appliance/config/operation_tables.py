"""Tables about the operation of the appliance itself: ``[journal]``, ``[metrics]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import Table
from appliance.units import Size

__all__ = ["Journal", "Metrics"]


class Journal(Table, frozen=True, kw_only=True):
    """The durable queues of all hooks, <state_dir>/journal."""

    durability: Annotated[
        Literal["batch", "always"],
        Meta(
            description="what a power failure may cost; batch: the last second; always: nothing that was written. "
            "Neither loses anything when the process is killed"
        ),
    ] = "batch"
    dead_letters: Annotated[
        int, Meta(ge=1, le=10_000_000, description="failed records that are kept, of all hooks; the oldest go")
    ] = 10_000
    dead_letters_size: Annotated[Size, Meta(description="their bytes")] = Size(256 << 20)


class Metrics(Table, frozen=True, kw_only=True):
    """A listener for Prometheus, which reads /metrics there."""

    listen: Annotated[
        str,
        Meta(
            description="host:port or [address]:port; port 0: any free one. Whoever can reach it can read everything. "
            "Empty: our node's metrics_port in the cluster's layout, else 127.0.0.1:9991"
        ),
    ] = ""
