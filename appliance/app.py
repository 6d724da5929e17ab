"""The appliance: signals, start, reload, drain, and what it says about itself. It only wires."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio

from appliance import __version__
from appliance.config import diff, load, node_name, show
from appliance.errors import ApplianceError, ConfigError
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.history import History
from appliance.runtime.ledger import Ledger
from appliance.runtime.logs import configure_logs
from appliance.runtime.losses import Losses
from appliance.runtime.notify import Notifier
from appliance.runtime.outlet import Outlet
from appliance.runtime.rates import RateMeter
from appliance.runtime.reloads import Change, Done, ReloadOutcome, Reloads, list_changes, list_mistakes
from appliance.runtime.supervisor import State, Supervisor, describe, leaf_of

from .assembly import Assembly
from .attention import find_concerns
from .errands import finish_packages, rotate_files
from .hook_parts import Packages, look_at_packages
from .parts import DOORS, Parts, Prepared, prepare
from .status import LedgerLine, ServiceLine, Status

if TYPE_CHECKING:
    from appliance.runtime.packets import PacketStore
    from appliance.runtime.stores import Stores

    from .parts import CaptureControl

__all__ = ["Appliance", "run"]

log = structlog.get_logger("appliance")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_TOLD_TO_STOP = "told to stop before the reload was done"
FIXED = ("name", "state_dir")
"""Keys of [appliance] that other keys were resolved with: a reload cannot change them."""


def _leaves(exc: BaseException) -> list[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc]


def _fixed_changes(leaves: list[BaseException]) -> tuple[Change, ...]:
    """What a reload that was refused for it would have changed of [appliance]."""
    paths = [leaf.key for leaf in leaves if isinstance(leaf, ConfigError)]
    keys = tuple(key for key in FIXED if f"appliance.{key}" in paths)
    return (Change(name="appliance", how="needs_restart", keys=keys),) if keys else ()


class Appliance:
    """One appliance in one process.

    Args:
        prepared: the configuration to start with.
        path: the main file, read again at a reload.
        environ: for ``${NAME}`` in the file; changed: the service manager's variables are taken out.
        make_parts: what builds the services.
    """

    def __init__(
        self,
        prepared: Prepared,
        path: Path,
        environ: MutableMapping[str, str],
        *,
        make_parts: Callable[..., Parts] = Parts,
    ) -> None:
        self.ledger = Ledger()
        self.dispatcher = Dispatcher()
        self.outlet = Outlet()
        self.reloads = Reloads()
        self.history = History()
        self.ready = trio.Event()
        self._prepared = prepared
        self._path = path
        self._environ = environ
        self._make_parts = make_parts
        self._notifier = Notifier(environ)
        self._meters: dict[str, RateMeter] = {}
        self._losses = Losses()
        self._began = trio.current_time()
        self._state = "starting"
        self._generation = 1
        self._applied_ns = time.time_ns()
        self._assembly: Assembly | None = None
        self._parts: Parts | None = None
        self._changing = trio.Lock()
        self._stop_wanted = trio.Event()

    # ── life ──

    async def run(self) -> None:
        """Start, serve until told to stop, drain.

        Raises:
            Exception: a service did not start.
        """
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery)
            parts = self._make_parts(
                ledger=self.ledger,
                dispatcher=self.dispatcher,
                configuration=self._show_config,
                status=self.status,
                outlet=self.outlet,
                captures=lambda: self.captures,
                running=lambda: self._assembly.units.values() if self._assembly else (),
                reloads=self.reloads,
                history=self.history,
                ready=self.ready,
            )
            assembly = Assembly(supervisor=supervisor, dispatcher=self.dispatcher, parts=parts)
            self._assembly, self._parts = assembly, parts
            try:
                nursery.start_soon(partial(self._notifier.run_heartbeat, self._summary, is_busy=self._is_in_between))
                if await self._unless_stopped(partial(assembly.start, self._prepared)):
                    self._enter_service()
                    nursery.start_soon(self._sample)
                    await self._serve(assembly)
            finally:
                self._state = "draining"
                self.reloads.close()
                self._notifier.stopping()
                try:
                    await assembly.drain(self._prepared.config.appliance.drain_timeout.seconds)
                finally:
                    await parts.queues.aclose()
            nursery.cancel_scope.cancel()

    async def _unless_stopped(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do `work`, but cancel it when told to stop; returns whether it was done."""
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await self._stop_wanted.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            await work()
            nursery.cancel_scope.cancel()
            return True
        return False

    def _enter_service(self) -> None:
        self._state = "running"
        self._tell_remarks()
        self.ready.set()
        self._notifier.ready(self._summary())
        log.info("ready", name=self._prepared.config.appliance.name, version=__version__, pid=os.getpid())

    async def _serve(self, assembly: Assembly) -> None:
        while await self._unless_stopped(self.reloads.wait_wanted) and not self._stop_wanted.is_set():
            await self._reload(assembly)

    def stop(self) -> None:
        """Drain and end."""
        self._stop_wanted.set()

    def reload(self) -> None:
        """Read the file again and apply the difference; requests during a reload are one more reload."""
        self.reloads.request()

    async def wait_reloaded(self) -> ReloadOutcome:
        """Wait for the end of the next reload."""
        return await self.reloads.wait_next()

    # ── reload ──

    async def _reload(self, assembly: Assembly) -> None:
        number, began = self.reloads.begin(), trio.current_time()
        self._state = "reloading"
        self._notifier.reloading()
        leaves: list[BaseException] = []
        changes: tuple[Change, ...] = ()
        try:
            candidate = await self._read_again()
            done = await self._change(assembly, candidate)
        except Exception as exc:  # noqa: BLE001 - whatever it was, the old configuration goes on
            leaves = _leaves(exc)
        else:
            changes = self._adopt(candidate, done)
        errors = tuple(describe(leaf) for leaf in leaves)
        for line in errors:
            log.error("reload refused, the old configuration goes on", error=line)
        self._state = "running"
        outcome = ReloadOutcome(
            number=number,
            ok=not errors,
            generation=self._generation,
            at_ns=time.time_ns(),
            took_s=round(trio.current_time() - began, 3),
            errors=errors,
            mistakes=list_mistakes(leaves, errors),
            changes=changes or _fixed_changes(leaves),
        )
        self._applied_ns = outcome.at_ns if outcome.ok else self._applied_ns
        self.reloads.end(outcome)
        self._notifier.ready(self._summary())

    async def _change(self, assembly: Assembly, candidate: Prepared) -> Done:
        done = Done()

        async def change() -> None:
            nonlocal done
            done = await assembly.change(self._prepared, candidate)

        async with self._changing:
            if not await self._unless_stopped(change):
                raise ApplianceError(_TOLD_TO_STOP)
        return done

    def _tell_remarks(self) -> None:
        for remark in self._prepared.loaded.remarks:
            log.warning("the layout is odd", remark=remark)

    def _adopt(self, candidate: Prepared, done: Done) -> tuple[Change, ...]:
        """What runs is what the candidate says: one generation more."""
        difference = diff(self._prepared.config, candidate.config)
        self._prepared = candidate
        self._generation += 1
        if self._parts is not None:
            self._parts.queues.reconfigure(candidate.config)
        logs = candidate.config.log
        configure_logs(level=logs.level, style=logs.format)
        self._tell_remarks()
        log.info(
            "reloaded", generation=self._generation,
            added=difference.added, removed=difference.removed, changed=tuple(difference.changed),
        )  # fmt: skip
        return list_changes(difference, candidate.config, done)

    async def _read_again(self) -> Prepared:
        """The file as it is now. Packages of hooks are imported beside everything that runs."""
        loaded = load(self._path, environ=self._environ)
        packages: Packages = {}

        async def look() -> None:
            nonlocal packages
            packages = await trio.to_thread.run_sync(look_at_packages, loaded, abandon_on_cancel=True)

        if any(hook.sites for hook in loaded.config.hook) and not await self._unless_stopped(look):
            raise ApplianceError(_TOLD_TO_STOP)
        candidate = prepare(loaded, packages)
        self._refuse_fixed(candidate)
        return candidate

    def _refuse_fixed(self, candidate: Prepared) -> None:
        old, new = self._prepared.config.appliance, candidate.config.appliance
        mistakes = [
            candidate.loaded.error(f"appliance.{key}", "a reload cannot change this", hint="restart the appliance")
            for key in FIXED
            if getattr(old, key) != getattr(new, key)
        ]
        if mistakes:
            raise ExceptionGroup("the change needs a restart", mistakes)

    # ── captures ──

    @cached_property
    def captures(self) -> CaptureControl:
        """What starts and stops captures while the appliance runs; not before."""
        assembly, parts = self._assembly, self._parts
        assert assembly is not None
        assert parts is not None

        async def change() -> None:
            async with self._changing:
                await assembly.change(self._prepared, self._prepared)

        return parts.make_capture_control(
            prepared=lambda: self._prepared,
            running=lambda: [unit.service for unit in assembly.units.values()],
            change=change,
        )

    @property
    def recorders(self) -> Mapping[str, PacketStore]:
        """The recorders that run, by name."""
        return self._parts.recorders if self._parts is not None else {}

    @property
    def stores(self) -> Stores:
        """The data stores, by name."""
        assert self._parts is not None
        return self._parts.stores.known

    # ── errands ──

    async def rotate_files(self) -> None:
        """End the open files of captures and recorders, and begin new ones."""
        if self._assembly is not None:
            await rotate_files(self._assembly.units.values())

    async def finish_packages(self) -> None:
        """Let packages of hooks work off what waits and run their EXIT callables; a reload waits until they have."""
        async with self._changing:
            if self._assembly is not None:
                timeout_s = self._prepared.config.appliance.drain_timeout.seconds
                await finish_packages(self._assembly.units.values(), timeout_s)

    # ── what it says ──

    async def _sample(self) -> None:
        while True:
            now = trio.current_time()
            self._meters = {a.name: self._meters.get(a.name) or RateMeter(self._began) for a in self.ledger}
            for account in self.ledger:
                self._meters[account.name].sample(now, account.received)
            self._losses.look(self.ledger, now)
            self.history.sample(now, self.ledger)
            await trio.sleep(1.0)

    def _is_in_between(self) -> bool:
        """What was left behind is repaired before the start, and what was received is delivered before the end."""
        return self._state in ("starting", "draining")

    def _summary(self) -> str:
        doors = (a for a in self.ledger if a.name.startswith(DOORS) and a.unit in ("records", "packets"))
        received = sum(account.received for account in doors)
        units = self._assembly.units.values() if self._assembly else ()
        ill = [u.key for u in units if u.handle is not None and u.handle.state in (State.BACKING_OFF, State.FAILED)]
        trouble = f", in trouble: {' '.join(ill)}" if ill else ""
        return f"{self._state}, generation {self._generation}, {received} received, {self.ledger.lost} lost{trouble}"

    def status(self) -> Status:
        appliance = self._prepared.config.appliance
        units = self._assembly.units.values() if self._assembly else ()
        services = tuple(
            ServiceLine(
                service=unit.handle.statistics(),
                figures=unit.service.statistics() if hasattr(unit.service, "statistics") else None,
                queue=unit.queue.statistics() if unit.queue else None,
            )
            for unit in units
            if unit.handle is not None
        )
        now_s = trio.current_time()
        self._losses.look(self.ledger, now_s)
        ledger = tuple(
            LedgerLine(
                account=a.statistics(),
                rates=self._meters.get(a.name, RateMeter(now_s)).rates(),
                lost_ago_s=self._losses.ago_s(a.name, now_s),
            )
            for a in self.ledger
        )
        return Status(
            name=appliance.name,
            node=node_name(self._prepared.config),
            version=__version__,
            pid=os.getpid(),
            state=self._state,
            generation=self._generation,
            applied_ns=self._applied_ns,
            uptime_s=round(trio.current_time() - self._began, 3),
            state_dir=appliance.state_dir,
            files=tuple(os.fspath(f) for f in self._prepared.loaded.files),
            last_reload=self.reloads.last,
            services=services,
            ledger=ledger,
            journal=self._parts.queues.statistics() if self._parts is not None else None,
            lost=self.ledger.lost,
            attention=find_concerns(services, ledger, self.reloads.last, is_running=self._state == "running"),
        )

    def _show_config(self) -> dict[str, Any]:
        files = [os.fspath(file) for file in self._prepared.loaded.files]
        shown = show(self._prepared.config, self._prepared.loaded.taken)
        return {"generation": self._generation, "files": files, **shown}


async def _watch_signals(signals: AsyncIterator[int], appliance: Appliance, nursery: trio.Nursery) -> None:
    errands = {signal.SIGUSR1: appliance.rotate_files, signal.SIGUSR2: appliance.finish_packages}
    stopping = False
    async for number in signals:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            log.info("reload requested", signal=name)
            appliance.reload()
        elif errand := errands.get(signal.Signals(number)):
            log.info("asked by a signal", signal=name, errand=errand.__name__)
            nursery.start_soon(errand)
        elif not stopping:
            stopping = True
            log.info("stopping: draining what was received; once more to stop at once", signal=name)
            appliance.stop()
        else:
            log.warning("stopping at once", signal=name)
            nursery.cancel_scope.cancel()


async def run(
    prepared: Prepared, path: Path, environ: MutableMapping[str, str], *, make_parts: Callable[..., Parts] = Parts
) -> tuple[int, Status | None]:
    """Run an appliance under this process's signals: SIGTERM and SIGINT drain, a second one aborts, SIGHUP reloads,
    SIGUSR1 begins new capture files, SIGUSR2 runs the exit hooks of packages.

    Returns:
        The exit code and the final status: 0 after an orderly stop, 1 if a service did not start or it was aborted.
    """
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        appliance = Appliance(prepared, path, environ, make_parts=make_parts)
        final: Status | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch_signals, signals, appliance, nursery)
                await appliance.run()
                final = appliance.status()
                nursery.cancel_scope.cancel()
        except Exception as exc:
            leaf = leaf_of(exc)
            if not isinstance(leaf, ApplianceError | OSError):
                raise
            log.error("cannot start", error=str(leaf))
            return 2 if isinstance(leaf, ConfigError) else 1, None
    return (0, final) if final is not None else (1, appliance.status())
