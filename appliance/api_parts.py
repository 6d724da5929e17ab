"""From ``[api]`` to its service: which endpoints there are, and where they get what they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from appliance.config import Api, Evidence, Hook
from appliance.config.paths import SOCKETS_FILE
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.history import History
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet
from appliance.runtime.queues import Queues
from appliance.runtime.reloads import Reloads

from .metric_parts import MetricParts
from .preparation import Prepared
from .status import LedgerLine, ServiceLine, Status
from .store_parts import StoreParts

if TYPE_CHECKING:
    from appliance.api.hooks import HookLine
    from appliance.api.server import ApiServer
    from appliance.runtime.packets import PacketStore

__all__ = ["ApiParts"]


class ApiParts:
    """Builds the endpoint.

    Args:
        ledger, dispatcher, outlet, queues, stores: as `appliance.parts.Parts` has them.
        recorders: those that run, by name.
        status: the present status; None: nobody can ask for it.
        configuration: what is shown of the configuration in force; None: nothing.
        captures: gives what changes captures; None: nobody does.
        running: gives every unit that runs; None: hooks and stores cannot be looked at.
        reloads: where reloads are asked for; None: nobody can.
        history: the last hour, for the page.
        ready: set when everything runs; None: nobody tells.
        metrics: what Prometheus is told.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        dispatcher: Dispatcher,
        outlet: Outlet,
        queues: Queues,
        stores: StoreParts,
        recorders: Mapping[str, PacketStore],
        status: Callable[[], Status] | None,
        configuration: Callable[[], dict[str, Any]] | None,
        captures: Callable[[], Any] | None,
        running: Callable[[], Iterable[Any]] | None,
        reloads: Reloads | None,
        history: History,
        metrics: MetricParts,
        ready: trio.Event | None,
    ) -> None:
        self._ledger, self._dispatcher, self._outlet = ledger, dispatcher, outlet
        self._queues, self._stores, self._recorders = queues, stores, recorders
        self._status, self._captures, self._running = status, captures, running
        self._configuration, self._reloads, self._history = configuration, reloads, history
        self._metrics, self._ready = metrics, ready

    def make(self, table: Api, prepared: Prepared) -> ApiServer:
        """A service that is not running yet."""
        from appliance.api.captures import CaptureRoutes
        from appliance.api.credentials import Credentials
        from appliance.api.events import EventsApi
        from appliance.api.evidence import EvidenceRoutes
        from appliance.api.extract import ExtractRoutes
        from appliance.api.files import FileRoutes
        from appliance.api.hooks import HookRoutes
        from appliance.api.metrics import metrics_endpoint
        from appliance.api.reload import ReloadRoutes
        from appliance.api.server import ApiServer
        from appliance.api.services import ServiceRoutes, configuration_endpoint

        config = prepared.config
        state_dir = config.appliance.state_dir
        events = EventsApi(outlet=self._outlet, dispatcher=self._dispatcher, ledger=self._ledger)
        credentials = Credentials(table)
        endpoints = []
        if self._status is not None:
            about = ServiceRoutes(self._status, kind=Status, service=ServiceLine, account=LedgerLine)
            endpoints += about.endpoints()
            endpoints.append(metrics_endpoint(self._read_metrics))
        if self._configuration is not None:
            endpoints.append(configuration_endpoint(self._configuration))
        if self._reloads is not None:
            endpoints += ReloadRoutes(self._reloads).endpoints()
        endpoints += events.endpoints()
        if self._captures is not None:
            endpoints += CaptureRoutes(self._captures, state_dir=state_dir).endpoints()
            endpoints += FileRoutes(self._captures, state_dir=state_dir).endpoints()
        if self._running is not None:
            endpoints += HookRoutes(partial(self._queues.desk, config), self._hook_lines).endpoints()
            endpoints += self._stores.routes(self._running, events.feeds).endpoints()
        endpoints += EvidenceRoutes(self._windows).endpoints()
        endpoints += ExtractRoutes(
            lambda: self._recorders,
            state_dir=state_dir,
            bytes_per_s=table.extract_rate.bytes,
            lost=lambda: sum(account.lost for account in self._ledger if account.unit == "packets"),
        ).endpoints()
        if table.legacy_routes and self._captures is not None:
            from appliance.ait.routes import LegacyRoutes

            endpoints += LegacyRoutes(self._captures, state_dir=state_dir).endpoints()
        if table.ui:
            from appliance.ui.routes import UiRoutes

            endpoints += UiRoutes(
                tuple(endpoints),
                credentials=credentials,
                history=self._history,
                dispatcher=self._dispatcher,
                ledger=self._ledger,
                name=config.appliance.name,
            ).endpoints()
        return ApiServer(
            table,
            endpoints,
            events=events,
            told_in=Path(state_dir) / SOCKETS_FILE,
            credentials=credentials,
            name=config.appliance.name,
            is_optional=not prepared.loaded.is_set("api.listen"),
            ready=self._ready,
        )

    async def _read_metrics(self, accept: str) -> tuple[str, bytes]:
        return await self._metrics.source.read(accept)

    def _units(self) -> Iterable[Any]:
        return self._running() if self._running is not None else ()

    def _windows(self) -> dict[str, Any]:
        """Where tables of evidence that run can be asked."""
        return {unit.table.name: unit.service.window for unit in self._units() if isinstance(unit.table, Evidence)}

    def _hook_lines(self) -> dict[str, HookLine]:
        from appliance.api.hooks import HookLine

        ready = [unit for unit in self._units() if unit.handle is not None and unit.queue is not None]
        hooks = {
            unit.table.name: HookLine(unit.handle.state.value, unit.service.statistics(), unit.queue.statistics())
            for unit in ready
            if isinstance(unit.table, Hook)
        }
        return hooks | {
            f"evidence:{unit.table.name}": HookLine(unit.handle.state.value, None, unit.queue.statistics())
            for unit in ready
            if isinstance(unit.table, Evidence)
        }
