"""From hooks to what they call; and from those with ``sites`` to services: one for the package, and a consumer for each
of its HOOK callables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from appliance.config import Duration, Evidence, Hook, Loaded
from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.hooks.callables import HookCallable
    from appliance.hooks.sites.host import Hosts, SitesHost
    from appliance.hooks.sites.messages import Described

__all__ = [
    "Callee",
    "Packages",
    "SitesTable",
    "look_at_packages",
    "make_call",
    "make_filter",
    "make_host",
    "prepare_hooks",
    "spread",
]

Packages = Mapping[str, "Described | ValueError"]
"""What packages of hooks hold, or why that cannot be told, by the name of the hook."""

_ENDLESS = Duration(10**18)
"""The runner waits for ever: a hook that waits for another one of its module would be charged with the other's time."""


class SitesTable(msgspec.Struct, frozen=True, kw_only=True):
    """What a package's service is built from."""

    hook: Hook
    described: Any
    """`Described`"""
    import_path: tuple[str, ...]


class Callee(msgspec.Struct, frozen=True, kw_only=True):
    """The target of a consumer: a hook of a package."""

    package: Hook
    name: str


def look_at_packages(loaded: Loaded) -> Packages:
    """Import every package of hooks, each in a process of its own. Blocks for as long as that takes: up to a minute for
    each of them.
    """
    found: dict[str, Described | ValueError] = {}
    for hook in loaded.config.hook:
        if hook.kind == "sites":
            from appliance.hooks.sites.describe import describe_package
            from appliance.hooks.sites.messages import Setup

            setup = Setup(package=hook.sites, logs_path=hook.logs_path, import_path=loaded.config.appliance.python_path)
            try:
                found[hook.name] = describe_package(setup)
            except ValueError as exc:
                found[hook.name] = exc
    return found


def prepare_hooks(loaded: Loaded, packages: Packages) -> tuple[dict[str, Any], dict[str, Any], list[ConfigError]]:
    """Import callables, look for programs, compile expressions.

    Args:
        loaded: the configuration.
        packages: of its hooks, see `look_at_packages`.

    Returns:
        Targets and filters by key, see `Prepared`, and the mistakes.
    """
    targets: dict[str, Any] = {}
    filters: dict[str, Any] = {}
    mistakes: list[ConfigError] = []
    for i, hook in enumerate(loaded.config.hook):
        key = f"hook.{hook.name}"
        makers = (
            (hook.kind, partial(_target, hook, loaded, packages), targets),
            ("where", partial(make_filter, hook), filters),
        )
        for name, make, found in makers:
            try:
                found[key] = make()
            except ValueError as exc:
                mistakes.append(loaded.error(f"hook[{i}].{name}", str(exc)))
        if hook.kind == "sites" and key in targets and key in filters:
            callees = dict(_consumers_of(hook, targets[key]))
            targets |= callees
            filters |= dict.fromkeys(callees, filters[key])
    return targets, filters, mistakes


def _target(hook: Hook, loaded: Loaded, packages: Packages) -> Any:
    if hook.kind == "sites":
        return _check_names(hook, loaded, packages[hook.name])
    from appliance.hooks.callables import HookCallable, load_callable

    if hook.kind == "command":
        from appliance.hooks.command import Command, find_program

        find_program(hook.command)
        return HookCallable(function=Command(hook), is_async=True, takes_context=True)

    target = load_callable(hook.run)
    if target.is_async and hook.isolation in ("thread", "process"):
        raise ValueError(f'{hook.run!r} is asynchronous; use isolation = "task", or leave it out')
    if not target.is_async and hook.isolation == "task":
        raise ValueError(f'{hook.run!r} is not asynchronous; use isolation = "process", or leave it out')
    if target.is_async and (hook.max_items or hook.memory_limit or hook.cpu_limit):
        raise ValueError(f"{hook.run!r} is asynchronous; max_items, memory_limit and cpu_limit are for processes")
    return target


def make_filter(table: Hook | Evidence) -> Any:
    """The `Filter` of a table's ``where``.

    Raises:
        ValueError: a mistake in the expression.
    """
    if not table.where:
        from appliance.hooks.filter import Everything

        return Everything()
    from appliance.hooks.where import Where

    return Where(table.where)


def _check_names(hook: Hook, loaded: Loaded, described: Described | ValueError) -> Described:
    """What the package of a hook holds.

    Raises:
        ValueError: it cannot be imported, or a name of its hooks is that of another hook.
    """
    if isinstance(described, ValueError):
        raise described
    taken = {other.name for other in loaded.config.hook}
    for key, _ in _consumers_of(hook, described):
        if key.removeprefix("hook.") in taken:
            raise ValueError(f"its hook would have the name {key.removeprefix('hook.')!r}, which another one has")
    return described


def _consumers_of(hook: Hook, described: Described) -> Iterator[tuple[str, Callee]]:
    """Key and target of the consumer for each hook of a package."""
    for callee in described.hooks:
        yield f"hook.{hook.name}.{callee.name}", Callee(package=hook, name=callee.name)


def spread(tables: dict[str, Any], targets: dict[str, Any], import_path: tuple[str, ...]) -> dict[str, Any]:
    """Tables of services in which a hook with ``sites`` is its package and all its consumers, in their order.

    Args:
        tables: by key.
        targets: of all hooks, by key.
        import_path: where modules are imported from.
    """
    found: dict[str, Any] = {}
    for key, table in tables.items():
        if not isinstance(table, Hook) or table.kind != "sites":
            found[key] = table
            continue
        described = targets[key]
        found[f"sites.{table.name}"] = SitesTable(hook=table, described=described, import_path=import_path)
        for consumer, callee in _consumers_of(table, described):
            found[consumer] = replace(table, name=f"{table.name}.{callee.name}")
    return found


def make_host(table: SitesTable, hosts: Hosts, *, failed: Callable[[str], None] | None = None) -> SitesHost:
    """The service of a package; `failed` hears of each of its callables that failed."""
    from appliance.hooks.sites.host import SitesHost

    return SitesHost(table.hook, table.described, import_path=table.import_path, hosts=hosts, failed=failed)


def make_call(table: Hook, callee: Callee, hosts: Hosts) -> tuple[Hook, HookCallable]:
    """The table and the callable that a consumer of a package runs with."""
    from appliance.hooks.callables import HookCallable
    from appliance.hooks.sites.host import SitesCall

    call = SitesCall(callee.package, callee.name, hosts)
    return replace(table, timeout=_ENDLESS), HookCallable(function=call, is_async=True, takes_context=False)
