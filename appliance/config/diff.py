"""What a reload would change: services that come, go or change, and what only a restart of the process can change."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from appliance.config.metrics_plan import plan_metrics
from appliance.config.shape import toml_fields
from appliance.config.tables import Config, Table

__all__ = ["Difference", "diff"]

_SERVICES = ("store", "zmq", "websocket", "tail", "watch", "capture", "recorder", "hook", "sink", "evidence")
_SINGLE = ("api",)
_PROCESS = ("appliance", "log", "journal", "cluster")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The way from one configuration to another. Services are named ``zmq.NAME``, ``hook.NAME``, …, ``broker``,
    ``api``, ``metrics``.
    """

    added: tuple[str, ...] = ()
    """Services that only the new one has, in its order."""
    removed: tuple[str, ...] = ()
    """Services that only the old one has, in its order."""
    changed: Mapping[str, tuple[str, ...]] = {}
    """Services that both have → the keys that differ."""
    unchanged: tuple[str, ...] = ()
    """Services that are the same in both; their place in the file does not matter."""
    order: tuple[str, ...] = ()
    """Every service of the new one, in its order."""
    process: tuple[str, ...] = ()
    """Key paths outside of services that differ: ``appliance.state_dir``."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.process)


def diff(old: Config, new: Config) -> Difference:
    """Compare two configurations by value."""
    before, after = _services(old), _services(new)
    changes = {name: _changed_keys(before[name], after[name]) for name in after if name in before}
    process = [
        f"{table}.{key}"
        for table in _PROCESS
        if table not in changes
        for key in _changed_keys(getattr(old, table), getattr(new, table))
    ]
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed={name: keys for name, keys in changes.items() if keys},
        unchanged=tuple(name for name, keys in changes.items() if not keys),
        order=tuple(after),
        process=tuple(process),
    )


def _services(config: Config) -> dict[str, Table]:
    services: dict[str, Table] = {
        f"{kind}.{service.name}": service for kind in _SERVICES for service in getattr(config, kind)
    }
    if config.is_peer:
        services["broker"] = config.broker
    if config.cluster.backend != "none":
        services["cluster"] = config.cluster
    if config.has_uids:
        services["uids"] = config.uids
    if (metrics := plan_metrics(config)) is not None:
        services["metrics"] = metrics
    return services | {name: getattr(config, name) for name in _SINGLE}


def _changed_keys(old: Table, new: Table) -> tuple[str, ...]:
    fields = toml_fields(type(new)).items()
    return tuple(key for key, field in fields if getattr(old, field.name) != getattr(new, field.name))
