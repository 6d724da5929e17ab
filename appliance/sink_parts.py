"""From ``[[sink]]`` tables to services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.config import Sink
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue

if TYPE_CHECKING:
    from appliance.runtime.supervisor import Service

__all__ = ["make_sink"]


def make_sink(table: Sink, *, queue: ItemQueue, outlet: Outlet) -> Service:
    """A service that is not running yet."""
    if table.kind == "broker":
        from appliance.sinks.broker import BrokerSink

        return BrokerSink(table, queue=queue, outlet=outlet)
    if table.kind == "zmq":
        from appliance.zeromq.writer import LogWriter

        return LogWriter(table, queue=queue)
    from appliance.sinks.sink import FileSink

    return FileSink(table, queue=queue)
