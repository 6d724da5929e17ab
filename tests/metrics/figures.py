"""Structs of figures with a number of its own in every field."""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.api.server import ApiFigures
from appliance.broker.figures import EndpointFigures
from appliance.broker.stores.figures import StoreFigures
from appliance.capture.figures import CaptureFigures
from appliance.evidence.feed import UidFigures
from appliance.evidence.service import EvidenceFigures
from appliance.hooks.sites.host import SitesFigures
from appliance.hooks.tally import HookFigures
from appliance.metrics.listener import ListenerFigures
from appliance.recorder.figures import RecorderFigures
from appliance.runtime.histogram import BOUNDS_S, HistogramFigures
from appliance.runtime.ledger import AccountFigures
from appliance.runtime.supervisor import ServiceFigures
from appliance.sinks.broker import BrokerSinkFigures
from appliance.sinks.sink import SinkFigures
from appliance.status import LedgerLine, ServiceLine, Status
from appliance.tail.follower import TailFigures
from appliance.watch.door import WatchFigures
from appliance.websocket.figures import ClientFigures
from appliance.zeromq.logger import ReceiverFigures
from appliance.zeromq.node_figures import NodeFigures
from appliance.zeromq.proxy import ProxyFigures
from appliance.zeromq.subscriber import SubscriberFigures
from appliance.zeromq.writer import WriterFigures

KINDS: dict[str, type[msgspec.Struct]] = {
    "api": ApiFigures, "broker": EndpointFigures, "capture": CaptureFigures, "cluster": ReceiverFigures,
    "cluster_node": NodeFigures, "proxy": ProxyFigures,
    "evidence": EvidenceFigures, "hook": HookFigures, "metrics": ListenerFigures, "recorder": RecorderFigures,
    "sink": SinkFigures, "broker_sink": BrokerSinkFigures, "zmq_sink": WriterFigures,
    "sites": SitesFigures, "store": StoreFigures,
    "tail": TailFigures, "uids": UidFigures, "watch": WatchFigures, "websocket": ClientFigures,
    "zmq": SubscriberFigures,
}  # fmt: skip
"""What services tell of themselves."""


def fill(kind: Any, numbers: Iterator[int]) -> Any:
    """A value of that type; every number in it is the next one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is HistogramFigures:
        return HistogramFigures(counts=tuple(next(numbers) for _ in range(len(BOUNDS_S) + 1)), sum_s=next(numbers))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: fill(hints[field.name], numbers) for field in msgspec.structs.fields(kind)})
    if origin in (types.UnionType, typing.Union):
        return fill(arguments[0], numbers)
    if origin is tuple:
        return tuple(fill(arguments[0], numbers) for _ in range(2))
    if origin is dict:
        return {f"key-{next(numbers)}": fill(arguments[1], numbers) for _ in range(2)}
    if origin is typing.Literal:
        return arguments[0]
    if kind is bool:
        return True
    if kind is str:
        return f"text-{next(numbers)}"
    if kind in (int, float):
        return kind(next(numbers))
    raise TypeError(kind)


def make_status() -> Status:
    """One service of each kind, with a queue and an account."""
    numbers = itertools.count(1_000_003, 7)
    status: Status = fill_status(numbers)
    return status


def fill_status(numbers: Iterator[int]) -> Status:
    """As `make_status`; services that are told by name."""
    hints = typing.get_type_hints(Status)
    own = {
        field.name: fill(hints[field.name], numbers)
        for field in msgspec.structs.fields(Status)
        if field.name not in ("services", "ledger")
    }
    services = []
    for name, kind in KINDS.items():
        service = msgspec.structs.replace(fill(ServiceFigures, numbers), name=f"{name}.x", state="running")
        queue = fill(typing.get_type_hints(ServiceLine)["queue"], numbers)
        services.append(ServiceLine(service=service, figures=fill(kind, numbers), queue=queue))
    rates = typing.get_type_hints(LedgerLine)["rates"]
    ledger = [LedgerLine(account=fill(AccountFigures, numbers), rates=fill(rates, numbers)) for _ in range(2)]
    return Status(**own, services=tuple(services), ledger=tuple(ledger))
