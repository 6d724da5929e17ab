"""From tables to services: which room builds what. Only constructors; imports are late so that nobody waits for a room
that his file does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Api, Appliance, Capture, Cluster, Config, Hook, Loaded, Peering, Sink, Tail, Zmq
from appliance.errors import ConfigError
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queue import ItemQueue
from appliance.runtime.supervisor import Handle, Service

__all__ = ["CONSUMERS", "DOORS", "Documents", "Parts", "Prepared", "Unit", "prepare", "tables_of"]

CONSUMERS = ("sink", "hook")
DOORS = ("zmq", "cluster", "tail", "capture", "broker")
CAPTURE_FIELDS = {"name", "capture", "host", "pid", "seq"}
Documents = Mapping[str, Callable[[], bytes]]
Table = Zmq | Cluster | Tail | Capture | Peering | Hook | Sink | Api


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was checked as far as possible without opening anything."""

    loaded: Loaded
    targets: dict[str, Any]
    """`HookCallable` of each hook, by the hook's key."""
    filters: dict[str, Any]
    """`Filter` of each hook."""

    @property
    def config(self) -> Config:
        return self.loaded.config


class Unit(msgspec.Struct, kw_only=True):
    """One service, the table that it was built from, and the queue that feeds it if it is a consumer."""

    key: str
    """e.g. ``zmq.bro``"""
    table: Table
    service: Any
    queue: ItemQueue | None = None
    handle: Handle | None = None

    @property
    def kind(self) -> str:
        return self.key.partition(".")[0]


def tables_of(config: Config) -> dict[str, Table]:
    """Every table that a service is built from, by key, in the order in which services start: nobody sends before
    somebody takes.
    """
    tables: dict[str, Table] = {}
    for kind in CONSUMERS:
        tables |= {f"{kind}.{table.name}": table for table in getattr(config, kind)}
    tables["api"] = config.api
    for kind in ("zmq", "tail", "capture"):
        tables |= {f"{kind}.{table.name}": table for table in getattr(config, kind)}
    if config.cluster.is_logger:
        tables["cluster"] = config.cluster
    if config.broker.is_endpoint:
        tables["broker"] = Peering(broker=config.broker, zeek_version=config.cluster.zeek_version)
    return tables


def prepare(loaded: Loaded) -> Prepared:
    """Import hooks and compile expressions.

    Raises:
        ExceptionGroup: one `ConfigError` for each mistake.
    """
    targets: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    mistakes: list[ConfigError] = []
    if loaded.config.hook:
        from appliance.hooks.callables import extend_path

        extend_path(loaded.config.appliance.python_path)
    for i, hook in enumerate(loaded.config.hook):
        for key, make, found in (("run", _target, targets), ("where", _filter, filters)):
            try:
                found[f"hook.{hook.name}"] = make(hook)
            except ValueError as exc:
                mistakes.append(loaded.error(f"hook[{i}].{key}", str(exc)))
    mistakes += _pattern_mistakes(loaded)
    if mistakes:
        raise ExceptionGroup("the configuration has mistakes", mistakes)
    return Prepared(loaded=loaded, targets=targets, filters=filters)


def _pattern_mistakes(loaded: Loaded) -> list[ConfigError]:
    """Patterns whose names could become too long: what only the room that renders them knows."""
    if not (loaded.config.sink or loaded.config.capture):
        return []
    from appliance.runtime.pattern import PathPattern

    mistakes: list[ConfigError] = []
    found = [
        (f"sink[{i}].path", sink.path, {"path", "node", "source"})
        for i, sink in enumerate(loaded.config.sink)
        if "path" not in sink.foreign_keys
    ]
    for i, capture in enumerate(loaded.config.capture):
        for j, handler in enumerate(capture.handler):
            whole = f"{handler.log_dir}/{handler.file_name_pattern}"
            found.append((f"capture[{i}].handler[{j}].file_name_pattern", whole, CAPTURE_FIELDS))
    for key, template, fields in found:
        try:
            PathPattern(template, fields=fields)
        except ValueError as exc:
            mistakes.append(loaded.error(key, str(exc)))
    return mistakes


def _target(hook: Hook) -> Any:
    from appliance.hooks.callables import load_callable

    target = load_callable(hook.run)
    if target.is_async and hook.isolation == "thread":
        raise ValueError(f'{hook.run!r} is asynchronous; use isolation = "task", or leave it out')
    if not target.is_async and hook.isolation == "task":
        raise ValueError(f'{hook.run!r} is not asynchronous; use isolation = "thread", or leave it out')
    return target


def _filter(hook: Hook) -> Any:
    if not hook.where:
        from appliance.hooks.filter import Everything

        return Everything()
    from appliance.hooks.where import Where

    return Where(hook.where)


class Parts:
    """Builds units.

    Args:
        ledger: where accounts are opened.
        dispatcher: what doors hand their items to.
        documents: what the status endpoint serves.
        outlet: through which consumers publish; one of its own if it is left out.
    """

    def __init__(
        self, *, ledger: Ledger, dispatcher: Dispatcher, documents: Documents, outlet: Outlet | None = None
    ) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._documents = documents
        self._outlet = outlet or Outlet()

    def make(self, key: str, table: Table, prepared: Prepared) -> Unit:
        """A unit that is not running yet."""
        if isinstance(table, Api):
            return Unit(key=key, table=table, service=self._api(table, prepared))
        if isinstance(table, Hook | Sink):
            return self._consumer(key, table, prepared)
        return Unit(key=key, table=table, service=self._door(key, table, prepared.config.appliance))

    def _api(self, table: Api, prepared: Prepared) -> Service:
        from appliance.api.events import EventsApi
        from appliance.api.server import StatusServer

        return StatusServer(
            tuple(address.removeprefix("unix:") for address in table.listen),
            self._documents,
            events=EventsApi(outlet=self._outlet, dispatcher=self._dispatcher, ledger=self._ledger),
            is_optional=not prepared.loaded.is_set("api.listen"),
        )

    def _consumer(self, key: str, table: Hook | Sink, prepared: Prepared) -> Unit:
        queue = ItemQueue(
            self._ledger.account(key),
            policy=table.queue,
            max_records=table.queue_size,
            max_bytes=int(table.queue_bytes),
        )
        if isinstance(table, Hook):
            from appliance.hooks.runner import HookRunner

            target, where = prepared.targets[key], prepared.filters[key]
            service: Service = HookRunner(table, target=target, where=where, queue=queue, outlet=self._outlet)
        elif table.kind == "broker":
            from appliance.sinks.broker import BrokerSink

            service = BrokerSink(table, queue=queue, outlet=self._outlet)
        else:
            from appliance.sinks.sink import FileSink

            service = FileSink(table, queue=queue)
        return Unit(key=key, table=table, service=service, queue=queue)

    def _door(self, key: str, table: Zmq | Cluster | Tail | Capture | Peering, appliance: Appliance) -> Service:
        if isinstance(table, Peering):
            return self._endpoint(key, table, Path(appliance.state_dir))
        if isinstance(table, Zmq):
            from appliance.zeromq.subscriber import LogSubscriber

            return LogSubscriber(table, account=self._ledger.account(key), dispatcher=self._dispatcher)
        if isinstance(table, Cluster):
            from appliance.runtime.quarantine import Quarantine
            from appliance.zeromq.logger import LogReceiver

            return LogReceiver(
                table,
                account=self._ledger.account(key),
                batches=self._ledger.account(f"{key}.batches", unit="batches"),
                dispatcher=self._dispatcher,
                quarantine=Quarantine(Path(appliance.state_dir) / "quarantine" / "cluster"),
            )
        if isinstance(table, Tail):
            from appliance.tail.follower import LogTail

            return LogTail(
                table,
                state_dir=Path(appliance.state_dir),
                account=self._ledger.account(key),
                ledger=self._ledger,
                dispatcher=self._dispatcher,
            )
        from appliance.capture.udp import UdpCapture

        return UdpCapture(
            table,
            account=self._ledger.account(key, unit="packets"),
            segments=self._ledger.account(f"{key}.segments", unit="segments"),
            dispatcher=self._dispatcher,
            host=appliance.name,
        )

    def _endpoint(self, key: str, peering: Peering, state_dir: Path) -> Service:
        from appliance.broker.endpoint import BrokerEndpoint
        from appliance.runtime.quarantine import Quarantine

        return BrokerEndpoint(
            peering,
            state_dir=state_dir,
            records=self._ledger.account(key),
            messages=self._ledger.account(f"{key}.messages", unit="messages"),
            copies=self._ledger.account(f"{key}.out", unit="messages"),
            dispatcher=self._dispatcher,
            quarantine=Quarantine(state_dir / "quarantine" / "broker"),
            outlet=self._outlet,
        )
