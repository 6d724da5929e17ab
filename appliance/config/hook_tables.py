"""The table ``[[hook]]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from appliance.config.table_parts import Consumer, HookQueue, Policy, Via
from appliance.units import Duration, Size

__all__ = ["Hook"]

_DURABLE_KEYS = frozenset({"attempts", "backoff", "backoff_max", "queue_full"})


_KINDS_OF = {
    "workdir": ("command",),
    "produces": ("command",),
    "run": ("run",),
    "isolation": ("run",),
    "max_items": ("run",),
    "options": ("run",),
    "command": ("command",),
    "concurrency": ("run", "command"),
    "batch": ("run", "command"),
    "cpu_limit": ("run", "command"),
    "sites": ("sites",),
    "logs_path": ("sites",),
    "exit_timeout": ("sites",),
}
"""Key → the kinds of hooks that it is for; others are for all."""


class Hook(Consumer, frozen=True, kw_only=True):
    """A Python callable, a program or a package of BroAPT's kind that is called for each item."""

    where: Annotated[str, Meta(description="rule-engine expression over the record's fields")] = ""
    run: Annotated[str, Meta(description="package.module:attribute; or there is command or sites")] = ""
    command: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="program and arguments, no shell; {path} {name} {dir} {start} {end} stand for what the item is "
            "about; it gets the record as JSON on standard input",
        ),
    ] = ()
    workdir: Annotated[
        str,
        Meta(
            description="command: a folder of its own for each call, e.g. logs/{name}; it gets this name when the "
            "program has ended well, else it is deleted"
        ),
    ] = ""
    produces: Annotated[
        str,
        Meta(
            pattern="^(folder:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$", description="workdir: the item that each folder is"
        ),
    ] = ""
    sites: Annotated[
        str, Meta(description="folder of a package with HOOK and EXIT, whose callables get the names of log folders")
    ] = ""
    logs_path: Annotated[
        str, Meta(description="sites: what it has as const.LOGS_PATH, and what the names of folders are relative to")
    ] = ""
    exit_timeout: Annotated[Duration, Meta(description="sites: for each EXIT callable")] = Duration(5 * 10**9)
    isolation: Annotated[
        Literal["auto", "task", "thread", "process"],
        Meta(description="auto: async callables in a task, sync ones in a process, which can be killed"),
    ] = "auto"
    batch: Annotated[
        int, Meta(ge=1, le=100_000, description="more than 1: each call gets a list of at most so many records")
    ] = 1
    concurrency: Annotated[int, Meta(ge=1, le=256, description="calls at the same time")] = 1
    order_by: Annotated[
        str, Meta(description="a field: records in which it has the same value are called in order, one by one")
    ] = ""
    timeout: Annotated[Duration, Meta(description="for one call")] = Duration(30 * 10**9)
    attempts: Annotated[
        int, Meta(ge=1, le=1000, description="with each record, the first included; then it is a dead letter")
    ] = 5
    backoff: Annotated[
        Duration, Meta(description="before the second attempt; twice as long before each further one")
    ] = Duration(10**9)
    backoff_max: Annotated[Duration, Meta(description="no longer than this between attempts")] = Duration(300 * 10**9)
    queue: Annotated[
        HookQueue,
        Meta(description="durable: on disk, survives a crash; else in memory, and what happens when it is full"),
    ] = "durable"
    queue_full: Annotated[
        Policy, Meta(description="durable: what happens when the queue is full or its disk takes nothing")
    ] = "drop_newest"
    max_items: Annotated[
        int, Meta(ge=0, description="records after which a worker process is replaced by a new one; 0: never")
    ] = 0
    memory_limit: Annotated[
        Size | None, Meta(description="memory of its own that a worker process or program may use; absent: no limit")
    ] = None
    cpu_limit: Annotated[
        Duration | None,
        Meta(description="processor time for one call in a worker process or program; absent: no limit"),
    ] = None
    via: Via = ()
    options: Annotated[dict[str, Any], Meta(description="the hook's own table, handed over as ctx.config")] = field(
        default_factory=dict
    )

    @property
    def kind(self) -> str:
        """The key that says what is called: ``run``, ``command`` or ``sites``."""
        return "command" if self.command else "sites" if self.sites else "run"

    @property
    def foreign_keys(self) -> frozenset[str]:
        """Keys that are for hooks of another kind, or for durable queues if this one is not: of no effect here, and
        refused when they are written.
        """
        return frozenset(self.foreign_kinds).union(() if self.queue == "durable" else _DURABLE_KEYS)

    @property
    def foreign_kinds(self) -> dict[str, tuple[str, ...]]:
        """Those of hooks of other kinds → those kinds."""
        return {key: kinds for key, kinds in _KINDS_OF.items() if self.kind not in kinds}
