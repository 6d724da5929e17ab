"""What signals ask for besides reload and stop: new capture files; an end and a new begin for packages of hooks."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
import trio

from appliance.runtime.supervisor import State, describe

from .hook_parts import SitesTable
from .parts import Unit

__all__ = ["finish_packages", "rotate_files"]

log = structlog.get_logger("appliance")

LOOK_S = 0.05
"""Between two looks at a queue that is to become empty: queues tell nobody."""


async def rotate_files(units: Iterable[Unit]) -> None:
    """End the open files of captures and recorders, and begin new ones. What fails is told, and the others go on."""
    async with trio.open_nursery() as nursery:
        for unit in units:
            if hasattr(unit.service, "rotate_all") and unit.handle is not None:
                nursery.start_soon(_rotate, unit)


async def _rotate(unit: Unit) -> None:
    try:
        await unit.service.rotate_all()
    except OSError as exc:
        log.error("a file was not ended", service=unit.key, error=describe(exc))
    else:
        log.info("files rotated", service=unit.key)


async def finish_packages(units: Iterable[Unit], timeout_s: float) -> None:
    """Let the hooks of packages work off what waits, for `timeout_s` at most, and run their EXIT callables.

    What comes later waits in its queue meanwhile, and is the first that the package gets when it is loaded anew.
    """
    units = list(units)
    async with trio.open_nursery() as nursery:
        for unit in units:
            is_running = unit.handle is not None and unit.handle.state is State.RUNNING
            if isinstance(unit.table, SitesTable) and is_running:
                hooks = [u for u in units if u.key.startswith(f"hook.{unit.table.hook.name}.")]
                nursery.start_soon(_finish, unit, hooks, timeout_s)


async def _finish(unit: Unit, hooks: Iterable[Unit], timeout_s: float) -> None:
    with trio.move_on_after(timeout_s):
        while any(map(_is_busy, hooks)):  # noqa: ASYNC110 - see LOOK_S
            await trio.sleep(LOOK_S)
    await unit.service.finish()
    log.info("exit hooks have run", service=unit.key)


def _is_busy(unit: Unit) -> bool:
    """There is something to be done now; what failed and waits for its next attempt is not waited for."""
    if unit.queue is None:
        return False
    figures = unit.queue.statistics()
    return figures.records > figures.retrying
