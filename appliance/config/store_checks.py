"""What types cannot tell about data stores: keys of another role, owners that nobody named, files of two stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.config.lines import Key
from appliance.config.membership import first_manager
from appliance.config.report import Report, nearest, quote, show_key
from appliance.config.shape import EACH, HOLE, select
from appliance.config.store_tables import Store, plan_store
from appliance.config.tables import Config

__all__ = ["check_stores"]


def check_stores(config: Config, report: Report, *, state_dir: str, complete: bool) -> None:
    """Report what is wrong with each store.

    Args:
        config: the tables, with holes.
        report: takes the mistakes.
        state_dir: absolute.
        complete: whether every file could be read; if not, nobody is blamed for what may be in the others.
    """
    for key, store in select(config, "store", EACH):
        if HOLE not in (store.role, store.backend, store.persistent):
            for name, whose in store.foreign_keys.items():
                if (*key, name) in report.places:
                    report.add((*key, name), f"is for {whose}", "leave it out")
        if store.path is not HOLE and store.path and (not store.path.strip() or "\0" in store.path):
            report.add((*key, "path"), f"{quote(store.path)} is not the path of a file")
        if complete:
            _check_surroundings(key, store, config, report)
    _check_paths(config, report, state_dir)


def _check_surroundings(key: Key, store: Any, config: Config, report: Report) -> None:
    defaults = [each for _, each in select(config, "cluster", "stores")]
    if store.role == "auto" and HOLE not in (store.master_node, *defaults):
        owner = store.master_node or next((each.default_master_node for each in defaults), "")
        nodes = next((each for _, each in select(config, "cluster", "nodes")), HOLE)
        if nodes is HOLE or any(each is HOLE or each.type is HOLE for each in nodes.values()):
            pass  # who there is, is not known
        elif owner == "" and not first_manager(config.cluster):
            hint = "set master_node, or default_master_node in [cluster.stores]"
            report.add((*key, "role"), "nobody owns this store", hint)
        elif owner and nodes and owner not in nodes:
            meant = nearest(owner, nodes)
            hint = f"did you mean {quote(meant)}?" if meant else ""
            where = (*key, "master_node") if store.master_node else ("cluster", "stores", "default_master_node")
            report.add(where, f"there is no node {quote(owner)} in the cluster", hint)
    for _, broker in select(config, "broker"):
        knows_peers = HOLE not in (broker.listen, broker.connect)
        if knows_peers and not _has_peers(config) and store.role in ("clone", "frontend"):
            report.add((*key, "role"), f"a {store.role} needs its master as a peer", "set [broker] connect")


def _has_peers(config: Config) -> bool:
    return config.broker.is_endpoint or any(backend == "broker" for _, backend in select(config, "cluster", "backend"))


def _plans(config: Config, state_dir: str) -> Iterator[tuple[Key, str]]:
    """Key and path of each store that may have a file."""
    for _, cluster in select(config, "cluster"):
        defaults = cluster.stores
        if defaults is HOLE or HOLE in (getattr(defaults, name) for name in defaults.__struct_fields__):
            return
        for key, store in select(config, "store", EACH):
            if HOLE in (getattr(store, name) for name in store.__struct_fields__) or "\0" in store.path:
                continue
            assert isinstance(store, Store)
            node = store.master_node or defaults.default_master_node
            plan = plan_store(store, defaults, node=node, state_dir=state_dir, max_message=0)
            if plan.path:
                yield (*key, "path"), plan.path


def _check_paths(config: Config, report: Report, state_dir: str) -> None:
    first: dict[str, Key] = {}
    for key, path in _plans(config, state_dir):
        other = first.setdefault(path, key)
        if other is not key:
            file, line = report.place(other)
            report.add(key, f"is the same file as that of {show_key(other[:-1])} at {file}:{line}")
