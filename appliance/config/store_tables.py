"""The tables ``[[store]]`` and ``[cluster.stores]``, and what becomes of them: whose a store is, and where."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from appliance.config.table_parts import Table
from appliance.units import Duration

__all__ = ["ClusterStores", "Store", "StorePlan", "plan_store"]

StoreName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$",
        description="1 to 128 letters, digits, '_', '.', ':' and '-': the name that Zeek's scripts use",
    ),
]

_OWN = ("backend", "persistent", "path", "expire_after")
_COPY = ("resync_interval", "stale_interval", "mutation_buffer_interval")


class ClusterStores(Table, frozen=True, kw_only=True):
    """What stores have that do not say it themselves, as Zeek's cluster framework calls it."""

    default_backend: Annotated[Literal["memory", "sqlite"], Meta(description="of stores without backend")] = "memory"
    default_persistent_backend: Annotated[
        Literal["sqlite"], Meta(description="of stores with persistent = true, in place of memory")
    ] = "sqlite"
    default_store_dir: Annotated[
        str, Meta(description="folder of the files of stores without path; empty: <state_dir>/stores")
    ] = ""
    default_master_node: Annotated[
        str, Meta(description='the node that owns stores with role = "auto" and no master_node')
    ] = ""


class Store(Table, frozen=True, kw_only=True):
    """One of Broker's data stores, interchangeable with Zeek's."""

    name: StoreName
    role: Annotated[
        Literal["master", "clone", "frontend", "auto"],
        Meta(
            description="master: it is ours; clone: a copy of a peer's; frontend: a peer's, with a copy only while it "
            "is needed; auto: master on the node that owns it, else clone"
        ),
    ] = "master"
    master_node: Annotated[str, Meta(description="auto: the name of the node that owns it")] = ""
    backend: Annotated[
        Literal["default", "memory", "sqlite"],
        Meta(
            description="master: where the content is kept; default: sqlite with a path, else as [cluster.stores] says"
        ),
    ] = "default"
    persistent: Annotated[
        bool, Meta(description="master: not in memory, but as [cluster.stores] default_persistent_backend says")
    ] = False
    path: Annotated[
        str, Meta(description="master, sqlite: the file; empty: NAME.sqlite in [cluster.stores] default_store_dir")
    ] = ""
    expire_after: Annotated[
        Duration | None, Meta(description="master: lifetime of values that are put without one; absent: for ever")
    ] = None
    resync_interval: Annotated[
        Duration, Meta(description="clone, frontend: between two attempts to find the master")
    ] = Duration(10 * 10**9)
    stale_interval: Annotated[
        Duration,
        Meta(description="clone, frontend: without a master for so long nothing is read any more; 0s: never so"),
    ] = Duration(300 * 10**9)
    mutation_buffer_interval: Annotated[
        Duration, Meta(description="clone, frontend: how long what is written waits for a master to come")
    ] = Duration(120 * 10**9)

    @property
    def foreign_keys(self) -> dict[str, str]:
        """Keys that are of no effect → what they are for."""
        masters, copies = "masters", "clones and frontends"
        found = dict.fromkeys(_OWN, masters) if self.role in ("clone", "frontend") else {}
        found |= dict.fromkeys(_COPY, copies) if self.role == "master" else {}
        if self.role != "auto":
            found["master_node"] = 'role = "auto"'
        if "path" not in found and self.backend == "memory" and not self.persistent:
            found["path"] = 'backend = "sqlite"'
        return found


class StorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a store's service is built from: everything is decided. No table of the file."""

    name: str
    role: Literal["master", "clone", "frontend"]
    path: str = ""
    """Of the file; empty: in memory. Empty for clones and frontends."""
    expire_after: Duration | None = None
    max_snapshot: int = 0
    """Bytes that peers take in one message."""
    resync_interval: Duration = field(default=Duration(0))
    stale_interval: Duration = field(default=Duration(0))
    mutation_buffer_interval: Duration = field(default=Duration(0))


def plan_store(
    store: Store, defaults: ClusterStores, *, node: str, state_dir: str, max_message: int, manager: str = ""
) -> StorePlan:
    """Decide what a store is.

    Args:
        store: its table.
        defaults: of the cluster.
        node: our name.
        state_dir: absolute.
        max_message: bytes.
        manager: the cluster's first, who owns what nobody else does.
    """
    role = store.role
    if role == "auto":
        role = "master" if node == (store.master_node or defaults.default_master_node or manager) else "clone"
    if role != "master":
        return StorePlan(
            name=store.name,
            role=role,
            resync_interval=store.resync_interval,
            stale_interval=store.stale_interval,
            mutation_buffer_interval=store.mutation_buffer_interval,
        )
    backend = store.backend
    if backend == "default":
        backend = "sqlite" if store.path else defaults.default_backend
    if store.persistent and backend == "memory":
        backend = defaults.default_persistent_backend
    folder = Path(state_dir, defaults.default_store_dir or "stores")
    path = os.path.normpath(Path(state_dir, store.path) if store.path else folder / f"{store.name}.sqlite")
    return StorePlan(
        name=store.name,
        role=role,
        path=path if backend == "sqlite" else "",
        expire_after=store.expire_after,
        max_snapshot=max_message,
    )
