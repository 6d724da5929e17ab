"""Hooks beside a program of one's own: packages with ``HOOK`` and ``EXIT`` without an appliance around them."""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import trio

from appliance.config import Appliance, Config, Duration, Hook, Loaded
from appliance.hooks import HookWarning
from appliance.model import FolderReady
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.logs import configure_logs
from appliance.runtime.supervisor import Supervisor, leaf_of

from .assembly import Assembly
from .hook_parts import SitesTable, look_at_packages, make_host, prepare_hooks
from .parts import Parts, Table, Unit
from .preparation import Prepared

__all__ = ["RemoteHooks", "remote_proc"]

log = structlog.get_logger("sites")

LOOK_S = 0.02
"""Between two looks at what is left to be done: accounts tell nobody."""
DRAIN_S = 5.0
"""For consumers that have nothing left to do."""


class _HookParts(Parts):
    """Builds packages and their hooks, and nothing else."""

    def tables(self, prepared: Prepared) -> dict[str, Table]:
        return {key: table for key, table in super().tables(prepared).items() if key.startswith(("sites.", "hook."))}

    def make(self, key: str, table: Table, prepared: Prepared) -> Unit:
        if isinstance(table, SitesTable):
            return Unit(key=key, table=table, service=make_host(table, self._make_hosts(), failed=_warn))
        return super().make(key, table, prepared)


def _warn(told: str) -> None:
    """Warn of a hook that failed; a filter that makes an error of it does not make one of ours."""
    try:
        warnings.warn(told, HookWarning, stacklevel=2)
    except HookWarning:
        log.warning("hook failed", error=told)


class RemoteHooks:
    """The hooks of a package that run; made by `remote_proc`."""

    def __init__(self, prepared: Prepared, drain_timeout_s: float) -> None:
        self._prepared = prepared
        self._drain_timeout_s = drain_timeout_s
        self._ledger = Ledger()
        self._dispatcher = Dispatcher()
        self._started = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._is_over = trio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="remote_proc")

    # ── in the caller's thread ──

    def put(self, folder: str | os.PathLike[str]) -> None:
        """Have every hook called for a folder of logs. Returns as soon as that is noted, and waits while there are too
        many already.

        Args:
            folder: its path, or its name below ``logs_path``.

        Raises:
            RuntimeError: the hooks do not run any more.
        """
        hook = self._prepared.config.hook[0]
        path = os.path.join(hook.logs_path or os.getcwd(), os.fspath(folder))  # noqa: PTH109, PTH118 - names are bytes
        stat = os.stat(path) if os.path.exists(path) else None  # noqa: PTH110, PTH116
        item = FolderReady(
            watch="remote_proc", source="remote_proc", path=path, relative=os.fspath(folder),
            mtime_ns=stat.st_mtime_ns if stat is not None else 0, inode=stat.st_ino if stat is not None else 0,
        )  # fmt: skip
        try:
            trio.from_thread.run(self._put, item, trio_token=self._token)
        except (trio.RunFinishedError, trio.Cancelled):
            raise RuntimeError("the hooks do not run any more") from self._error

    def start(self) -> None:
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def finish(self) -> None:
        """Wait until what was put is done and the exit hooks have run; at once if this is interrupted."""
        self._tell(self._is_over.set)
        try:
            self._thread.join()
        except BaseException:
            self._tell(self._scope.cancel)
            self._thread.join()
            raise
        if self._error is not None:
            raise self._error

    def _tell(self, what: Any) -> None:
        assert self._token is not None
        try:
            self._token.run_sync_soon(what)
        except trio.RunFinishedError:
            return

    # ── in the thread of the hooks ──

    def _work(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as exc:  # noqa: BLE001 - raised in the caller's thread
            self._error = leaf_of(exc)
        finally:
            self._started.set()

    async def _run(self) -> None:
        parts = _HookParts(ledger=self._ledger, dispatcher=self._dispatcher)
        async with trio.open_nursery() as nursery:
            assembly = Assembly(supervisor=Supervisor(nursery), dispatcher=self._dispatcher, parts=parts)
            try:
                with self._scope:
                    await assembly.start(self._prepared)
                    self._token = trio.lowlevel.current_trio_token()
                    self._started.set()
                    await self._is_over.wait()
                    with trio.move_on_after(self._drain_timeout_s) as patience:
                        while any(account.queued for account in self._ledger):  # noqa: ASYNC110 - see LOOK_S
                            await trio.sleep(LOOK_S)
                    await assembly.drain(0.0 if patience.cancelled_caught else DRAIN_S)
            finally:
                nursery.cancel_scope.cancel()
                await parts.queues.aclose()

    async def _put(self, item: FolderReady) -> None:
        account = self._ledger.account("remote_proc")
        account.received += 1
        await self._dispatcher.dispatch(item, account, patience_s=float("inf"))


@contextmanager
def remote_proc(
    sites: str | os.PathLike[str],
    *,
    logs_path: str | os.PathLike[str] = "",
    state_dir: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
    exit_timeout: float = 5.0,
    attempts: int = 5,
    backoff: float = 1.0,
    drain_timeout: float = float("inf"),
) -> Iterator[RemoteHooks]:
    """Run the hooks of a package beside the body; see ``docs/hooks.md`` for what a package is.

    When the body ends, however it does, what was put is worked off, with all its attempts, then the exit hooks run;
    what the body raised is raised after that. A hook that fails is a `HookWarning`, and no error of the body.

    Args:
        sites: the package's folder.
        logs_path: its ``const.LOGS_PATH``.
        state_dir: where the journal of what is to be done is kept: what a crash, or `drain_timeout`, leaves undone is
            done the next time. None: it ends with the body.
        timeout: seconds for each call.
        exit_timeout: seconds for each EXIT callable.
        attempts: with each folder for each hook.
        backoff: seconds before the second attempt, twice as many before each further one.
        drain_timeout: seconds for what is left to be done when the body ends.

    Raises:
        ValueError: there is no such package, or it cannot be imported; says why, with file and line.

    Resource handling: the processes of the package have ended when this returns.
    """
    if not structlog.is_configured():
        configure_logs(level="warning", style="console")
    with tempfile.TemporaryDirectory() as temporary:
        hook = Hook(
            name="sites", on=("folder:*",), sites=str(Path(sites).absolute()),
            logs_path=str(Path(logs_path).absolute()) if os.fspath(logs_path) else "",
            timeout=_duration(timeout), exit_timeout=_duration(exit_timeout), attempts=attempts,
            backoff=_duration(backoff), backoff_max=_duration(max(backoff, 300.0)), queue_full="block",
        )  # fmt: skip
        place = str(Path(state_dir).absolute()) if state_dir is not None else temporary
        config = Config(appliance=Appliance(state_dir=place), hook=(hook,))
        loaded = Loaded(config=config, files=(Path("remote_proc"),), places={})
        targets, filters, mistakes = prepare_hooks(loaded, look_at_packages(loaded))
        if mistakes:
            raise ValueError(mistakes[0].message)
        hooks = RemoteHooks(Prepared(loaded=loaded, targets=targets, filters=filters), drain_timeout)
        hooks.start()
        try:
            yield hooks
        finally:
            hooks.finish()


def _duration(seconds: float) -> Duration:
    return Duration(int(seconds * 10**9))
