"""From tables to services: which room builds what. Only constructors; imports are late so that nobody waits for a room
that his file does not use.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from appliance.config import (
    Api,
    Appliance,
    CaptureGroup,
    Cluster,
    Config,
    Evidence,
    Hook,
    Metrics,
    NodePlan,
    Peering,
    ProxyPlan,
    Recorder,
    Sink,
    StorePlan,
    Tail,
    Uids,
    Watch,
    Websocket,
    Zmq,
    group_captures,
    mistakes_in_captures,
    plan_metrics,
    plan_peering,
)
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.history import History
from appliance.runtime.intake import ConsumerQueue
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queues import Queues
from appliance.runtime.reloads import Reloads
from appliance.runtime.supervisor import Handle, Service

from .cluster_parts import cluster_tables, make_cluster_service
from .evidence_parts import EvidenceParts
from .hook_parts import Callee, SitesTable, make_call, make_host, spread
from .metric_parts import MetricParts
from .preparation import Prepared, prepare
from .sink_parts import make_sink
from .status import Status
from .store_parts import StoreParts, store_tables

if TYPE_CHECKING:
    from appliance.capture.changes import Changes
    from appliance.capture.control import CaptureControl as CaptureControl
    from appliance.capture.disks import Disks
    from appliance.hooks.around import Around
    from appliance.hooks.sites.host import Hosts
    from appliance.recorder.recorder import Recorder as RecorderService
    from appliance.runtime.asking import PacketMaker
    from appliance.runtime.packets import PacketStore
    from appliance.status import Status

__all__ = ["CONSUMERS", "DOORS", "Parts", "Prepared", "Unit", "prepare", "tables_of"]

CONSUMERS = ("sink", "hook", "evidence", "uids")
DOORS = ("zmq", "websocket", "cluster", "tail", "watch", "capture", "recorder", "broker")
Door = Zmq | Websocket | Cluster | NodePlan | ProxyPlan | Tail | Peering
Table = Door | Watch | CaptureGroup | Recorder | StorePlan | Hook | Evidence | Uids | Sink | Api | Metrics | SitesTable


class Unit(msgspec.Struct, kw_only=True):
    """One service, the table that it was built from, and the queue that feeds it if it is a consumer."""

    key: str
    """e.g. ``zmq.bro``"""
    table: Table
    service: Any
    queue: ConsumerQueue | None = None
    handle: Handle | None = None

    @property
    def kind(self) -> str:
        return self.key.partition(".")[0]


def tables_of(config: Config, captures: Sequence[CaptureGroup] | None = None) -> dict[str, Table]:
    """Every table that a service is built from, by key, in the order in which services start: nobody sends before
    somebody takes. Captures of one socket are one service, with the name of the first.

    Args:
        config: the file.
        captures: what runs instead of the file's captures.
    """
    tables: dict[str, Table] = {}
    for kind in ("sink", "hook", "evidence"):
        tables |= {f"{kind}.{table.name}": table for table in getattr(config, kind)}
    if config.has_uids:
        tables["uids"] = config.uids
    tables["api"] = config.api
    if (metrics := plan_metrics(config)) is not None:
        tables["metrics"] = metrics
    tables |= store_tables(config)
    for kind in ("zmq", "websocket", "tail", "watch"):
        tables |= {f"{kind}.{table.name}": table for table in getattr(config, kind)}
    groups = group_captures(config.capture) if captures is None else captures
    tables |= {f"capture.{group.first.name}": group for group in groups}
    tables |= {f"recorder.{table.name}": table for table in config.recorder}
    tables |= cluster_tables(config)
    if (peering := plan_peering(config)) is not None:
        tables["broker"] = peering
    return tables


class Parts:
    """Builds units.

    Args:
        ledger: where accounts are opened.
        dispatcher: what doors hand their items to.
        status: what the endpoint and the metrics tell about everything; None: nothing.
        configuration: what the endpoint shows of the configuration in force; None: nothing.
        outlet: through which consumers publish; one of its own if it is left out.
        captures: gives what changes captures over the endpoint; None: nobody does.
        running: gives every unit that runs; None: hooks cannot be looked at over the endpoint.
        reloads: where reloads are asked for over the endpoint; None: nowhere.
        history: the last hour, for the page; None: nobody remembers.
        ready: set when everything runs; None: nobody tells.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        dispatcher: Dispatcher,
        status: Callable[[], Status] | None = None,
        configuration: Callable[[], dict[str, Any]] | None = None,
        outlet: Outlet | None = None,
        captures: Callable[[], CaptureControl] | None = None,
        running: Callable[[], Iterable[Unit]] | None = None,
        reloads: Reloads | None = None,
        history: History | None = None,
        ready: trio.Event | None = None,
    ) -> None:
        self._reloads, self._history = reloads, history or History()
        self._ledger = ledger
        self._dispatcher = dispatcher
        self.metrics = MetricParts(status)
        self._outlet = outlet or Outlet()
        self._status = status
        self._configuration = configuration
        self._captures = captures
        self._running = running
        self._ready = ready
        self._disks: Disks | None = None
        self._hosts: Hosts | None = None
        self._packets: PacketMaker | None = None
        self.recorders: dict[str, PacketStore] = {}
        """Those that run, by name."""
        self.queues = Queues(ledger)
        self.evidence = EvidenceParts(
            ledger=ledger, dispatcher=dispatcher, outlet=self._outlet, recorders=self.recorders
        )
        self.stores = StoreParts(ledger=ledger, dispatcher=dispatcher)
        self.changes: Changes | None = None
        """What was changed in the captures while running; None: it was not looked at yet."""

    def tables(self, prepared: Prepared) -> dict[str, Table]:
        """As `tables_of`, with the changes that were made while running.

        Raises:
            ApplianceError: they cannot be read.
            ExceptionGroup: of `ConfigError`: they do not go together with the file.
        """
        changes = self._read_changes(prepared)
        if not (changes.added or changes.stopped):
            return self._spread(tables_of(prepared.config), prepared)
        captures, runtime = changes.merge(prepared.config.capture)
        if mistakes := mistakes_in_captures(captures, prepared.config.appliance.state_dir):
            raise ExceptionGroup("captures that were started while running do not go with the file", mistakes)
        return self._spread(tables_of(prepared.config, group_captures(captures, runtime)), prepared)

    def _spread(self, tables: dict[str, Table], prepared: Prepared) -> dict[str, Table]:
        return spread(tables, prepared.targets, prepared.config.appliance.python_path)

    def make_capture_control(
        self,
        *,
        prepared: Callable[[], Prepared],
        running: Callable[[], Iterable[Any]],
        change: Callable[[], Awaitable[None]],
    ) -> CaptureControl:
        """What starts and stops captures while the appliance runs.

        Args:
            prepared: the configuration in force.
            running: every service.
            change: makes what runs what `tables` says, or raises and leaves it as it was.
        """
        from appliance.capture.capturer import SocketCapture
        from appliance.capture.control import CaptureControl

        async def apply(changes: Changes) -> None:
            before, self.changes = self.changes, changes
            try:
                await change()
            except BaseException:
                self.changes = before
                raise

        return CaptureControl(
            Path(prepared().config.appliance.state_dir),
            self._read_changes(prepared()),
            configured=lambda: prepared().config.capture,
            running=lambda: [service for service in running() if isinstance(service, SocketCapture)],
            apply=apply,
        )

    def _read_changes(self, prepared: Prepared) -> Changes:
        from appliance.capture.changes import FILE, read_changes

        if self.changes is None:
            self.changes = read_changes(Path(prepared.config.appliance.state_dir) / FILE)
        return self.changes

    def announce(self, *candidates: Prepared) -> None:
        """Let hooks know the stores of these configurations, before they are open."""
        self.stores.known.announce(store.name for each in candidates for store in each.config.store)

    def make(self, key: str, table: Table, prepared: Prepared) -> Unit:
        """A unit that is not running yet."""
        if isinstance(table, Api):
            return Unit(key=key, table=table, service=self._api(table, prepared))
        if isinstance(table, Metrics):
            return Unit(key=key, table=table, service=self.metrics.make(table))
        if isinstance(table, Hook | Sink):
            return self._consumer(key, table, prepared)
        if isinstance(table, Evidence | Uids):
            service, queue = self.evidence.make(key, table, prepared, self.queues)
            return Unit(key=key, table=table, service=service, queue=queue)
        if isinstance(table, SitesTable):
            return Unit(key=key, table=table, service=make_host(table, self._make_hosts()))
        if isinstance(table, CaptureGroup):
            return Unit(key=key, table=table, service=self._capture(table, prepared))
        if isinstance(table, StorePlan):
            return Unit(key=key, table=table, service=self.stores.make(key, table))
        if isinstance(table, Recorder):
            return Unit(key=key, table=table, service=self._recorder(table))
        if isinstance(table, Watch):
            return Unit(key=key, table=table, service=self._watch(key, table, prepared.config))
        return Unit(key=key, table=table, service=self._door(key, table, prepared.config.appliance))

    def _api(self, table: Api, prepared: Prepared) -> Service:
        from .api_parts import ApiParts

        parts = ApiParts(
            ledger=self._ledger,
            dispatcher=self._dispatcher,
            outlet=self._outlet,
            queues=self.queues,
            stores=self.stores,
            recorders=self.recorders,
            status=self._status,
            configuration=self._configuration,
            captures=self._captures,
            running=self._running,
            reloads=self._reloads,
            history=self._history,
            metrics=self.metrics,
            ready=self._ready,
        )
        return parts.make(table, prepared)

    def _consumer(self, key: str, table: Hook | Sink, prepared: Prepared) -> Unit:
        if isinstance(table, Hook):
            queue = self.queues.make_hook_queue(key, table, prepared.config)
            from appliance.hooks.runner import HookRunner

            target, where, config = prepared.targets[key], prepared.filters[key], table
            if isinstance(target, Callee):
                config, target = make_call(table, target, self._make_hosts())
            around = self._around(key, prepared.config)
            state_dir = Path(prepared.config.appliance.state_dir)
            runner = HookRunner(
                config,
                target=target,
                where=where,
                queue=queue,
                outlet=self._outlet,
                around=around,
                packets=partial(self._make_packets, state_dir),
                folder=state_dir / "extracts" / table.name,
            )
            return Unit(key=key, table=table, service=runner, queue=queue)
        return self._sink(key, table)

    def _make_packets(self, state_dir: Path) -> PacketMaker:
        from appliance.evidence.packets import PacketFiles

        self._packets = self._packets or PacketFiles(self.recorders, state_dir)
        return self._packets

    def _around(self, key: str, config: Config) -> Around:
        from appliance.hooks.around import Around

        account = partial(self._ledger.account, f"{key}.out")
        journal = self.queues.make_journal(config)
        return Around(key, account=account, dispatcher=self._dispatcher, journal=journal, stores=self.stores.known)

    def _make_hosts(self) -> Hosts:
        from appliance.hooks.sites.host import Hosts

        self._hosts = self._hosts or Hosts()
        return self._hosts

    def _sink(self, key: str, table: Sink) -> Unit:
        queue = self.queues.make_queue(key, table)
        service = make_sink(table, queue=queue, outlet=self._outlet)
        return Unit(key=key, table=table, service=service, queue=queue)

    def _door(self, key: str, table: Door, appliance: Appliance) -> Service:
        if isinstance(table, Peering):
            return self._endpoint(key, table, Path(appliance.state_dir))
        if isinstance(table, Websocket):
            from appliance.websocket.build import make_client

            return make_client(key, table, ledger=self._ledger, dispatcher=self._dispatcher, outlet=self._outlet)
        if isinstance(table, Zmq):
            from appliance.zeromq.subscriber import LogSubscriber

            return LogSubscriber(table, account=self._ledger.account(key), dispatcher=self._dispatcher)
        if isinstance(table, Cluster | NodePlan | ProxyPlan):
            return make_cluster_service(
                table,
                state_dir=Path(appliance.state_dir),
                ledger=self._ledger,
                dispatcher=self._dispatcher,
                outlet=self._outlet,
            )
        from appliance.tail.follower import LogTail

        return LogTail(
            table,
            state_dir=Path(appliance.state_dir),
            account=self._ledger.account(key),
            ledger=self._ledger,
            dispatcher=self._dispatcher,
        )

    def _watch(self, key: str, table: Watch, config: Config) -> Service:
        from appliance.watch.door import WatchDoor

        return WatchDoor(
            table,
            account=self._ledger.account(key),
            dispatcher=self._dispatcher,
            receipts=self._ledger.receipts,
            journal=self.queues.make_journal(config),
        )

    def _capture(self, group: CaptureGroup, prepared: Prepared) -> Service:
        from appliance.capture.capturer import SocketCapture
        from appliance.capture.disks import Disks
        from appliance.capture.handler import Surroundings

        self._disks = self._disks or Disks()
        appliance = prepared.config.appliance
        around = Surroundings(
            ledger=self._ledger,
            dispatcher=self._dispatcher,
            disks=self._disks,
            host=appliance.name,
            state_dir=Path(appliance.state_dir),
            clock_ns=time.time_ns,
        )
        return SocketCapture(group, around=around)

    def _recorder(self, table: Recorder) -> RecorderService:
        from appliance.capture.disks import Disks
        from appliance.recorder.recorder import Recorder as RecorderService
        from appliance.recorder.recorder import Surroundings

        self._disks = self._disks or Disks()
        around = Surroundings(
            ledger=self._ledger, dispatcher=self._dispatcher, shares=self._disks.shares, recorders=self.recorders
        )
        return RecorderService(table, around=around)

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
            stores=self.stores.hub,
        )
