"""The topics of Zeek's cluster framework, as each version and backend spells them.

Topics match by prefix. Whoever receives takes every spelling that its version may use; whoever sends chooses one, for
two copies would run the handlers twice.

Source: Zeek, ``scripts/base/frameworks/cluster/main.zeek`` and ``policy/frameworks/cluster/backend/zeromq/main.zeek``,
by their history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from .version import Version

__all__ = ["EXPERIMENTAL_STARTED", "OVERRIDES", "Backend", "ClusterTopics", "EnvironmentNames", "cluster_topics"]

Backend = Literal["broker", "zeromq"]

EXPERIMENTAL_STARTED = "zeek/cluster/experimental/started"
"""Where the manager says that all nodes are connected, with slashes on every backend. Zeek 6.0 and later."""

OVERRIDES = ("logger", "manager", "proxy", "worker", "time_machine", "node_prefix", "nodeid_prefix")
"""What a site may have redefined, by the names of our configuration."""


class ClusterTopics(msgspec.Struct, frozen=True, kw_only=True):
    """All topics of a cluster."""

    version: Version
    backend: Backend
    logger: str
    manager: str
    proxy: str
    worker: str
    time_machine: str
    """Zeek has no such role from 7.1 on; as a topic the text works for whoever agrees on it."""
    node_prefix: str
    """With what comes between it and the name."""
    nodeid_prefix: str
    logger_pool: str
    proxy_pool: str
    worker_pool: str
    logs: str
    """In front of a stream's name; empty on ZeroMQ, where logs have no topic."""
    tables: str
    """Of tables with ``&publish_on_change``; empty before Zeek 8.2."""
    control: str
    """Of the answers of the control framework."""
    internal: str
    """In front of a node's own topic by which it learns that its subscriptions are known; empty but on ZeroMQ from 7.2
    on."""
    node_end: str
    """What closes the name of a node."""
    nodeid_end: str

    def node_topic(self, name: str) -> str:
        """Where to send what is for a node."""
        return f"{self.node_prefix}{name}{self.node_end}"

    def nodeid_topic(self, node_id: str) -> str:
        """Where to send what is for the node of an ID: before 3.0.4 and 3.1.2 the prefix is that of names."""
        prefix = self.node_prefix if _is_before_fix(self.version) else self.nodeid_prefix
        return f"{prefix}{node_id}{self.nodeid_end}"

    def own_topics(self, name: str, node_id: str) -> tuple[str, ...]:
        """What a node of this name and ID subscribes to, in every spelling that the version may use."""
        spellings = [self, *self._older()]
        topics = [each.nodeid_topic(node_id) for each in spellings] + [each.node_topic(name) for each in spellings]
        return tuple(dict.fromkeys(topics))

    def _older(self) -> tuple[ClusterTopics, ...]:
        if self.version.patch is not None or self.version.branch not in ((3, 0), (3, 1)):
            return ()
        version = Version(*self.version.branch, 0)
        return (msgspec.structs.replace(self, version=version, node_end="", nodeid_end=""),)

    def id_of(self, topic: str) -> str | None:
        """The ID in a node-ID topic; None if it is another topic. Before the prefix was repaired, a node's name."""
        start = self.nodeid_topic("").removesuffix(self.nodeid_end)
        end = self.nodeid_end
        if not topic.startswith(start) or not topic.endswith(end):
            return None
        found = topic[len(start) : len(topic) - len(end)]
        return found or None

    def log_topic(self, stream: str) -> str:
        """Where a stream's log records go without round robin."""
        return f"{self.logs}{stream}"

    @property
    def broadcast(self) -> tuple[str, ...]:
        """Topics that together reach every node once: ``Cluster::broadcast_topics``, for one message on each."""
        return (self.logger, self.manager, self.proxy, self.worker)


def _is_before_fix(version: Version) -> bool:
    """Whether node topics have no end and IDs the prefix of names."""
    patch = version.patch
    fixed = {(3, 0): 4, (3, 1): 2}.get(version.branch)
    if fixed is None:
        return version < (3, 0)
    return patch is not None and patch < fixed


def cluster_topics(
    version: Version, backend: Backend = "broker", overrides: Mapping[str, str] | None = None
) -> ClusterTopics:
    """The topics of a version.

    Args:
        version: without a patch the last one counts.
        backend: ZeroMQ exists from 7.1 on.
        overrides: what the site has redefined, by `OVERRIDES`.

    Raises:
        ValueError: ZeroMQ before 7.1, or a topic that nobody can redefine.
    """
    if backend == "zeromq" and version < (7, 1):
        raise ValueError(f"Zeek {version} has no ZeroMQ backend, which came with 7.1")
    given = dict(overrides or {})
    if given.keys() - set(OVERRIDES):
        raise ValueError(f"no such topic: {', '.join(sorted(given.keys() - set(OVERRIDES)))}")
    is_zeromq = backend == "zeromq"
    mark = "." if is_zeromq else "/"
    root = "bro" if version < (3, 0) else "zeek"
    base = f"{root}{mark}cluster{mark}"
    end = "" if _is_before_fix(version) else mark
    prefixes = {"node_prefix": f"{base}node{mark}", "nodeid_prefix": f"{base}nodeid{mark}"}
    for key in prefixes.keys() & given.keys():
        # Zeek's own options end in a slash on Broker; on ZeroMQ its functions add the dot.
        prefixes[key] = f"{given[key]}{mark}" if is_zeromq else given[key]
    roles = {key: given.get(key, f"{base}{key}") for key in OVERRIDES[:5]}
    return ClusterTopics(
        version=version,
        backend=backend,
        **roles,
        **prefixes,
        logger_pool=f"{base}pool{mark}logger",
        proxy_pool=f"{base}pool{mark}proxy",
        worker_pool=f"{base}pool{mark}worker",
        logs="" if is_zeromq else f"{root}/logs/",
        tables="zeek/table/" if version >= (8, 2) else "",
        control=f"{root}/control/",
        internal="zeek.zeromq.internal." if is_zeromq and version >= (7, 2) else "",
        node_end=end,
        nodeid_end="" if is_zeromq and version < (7, 2) else end,
    )


class EnvironmentNames(msgspec.Struct, frozen=True):
    """Variables that decide about a Bro or Zeek node, by version."""

    node: str
    connect_retry: str
    """Whole seconds; in place of ``Cluster::retry_interval``."""
    listen_retry: str
    listen_address: str
    max_threads: str
    check_config: str
    """Not empty: neither listen nor connect."""

    @classmethod
    def of(cls, version: Version) -> EnvironmentNames:
        """The names that a version reads."""
        prefix, control = ("BRO", "BROCTL") if version < (3, 0) else ("ZEEK", "ZEEKCTL")
        return cls(
            node="CLUSTER_NODE",
            connect_retry=f"{prefix}_DEFAULT_CONNECT_RETRY",
            listen_retry=f"{prefix}_DEFAULT_LISTEN_RETRY",
            listen_address=f"{prefix}_DEFAULT_LISTEN_ADDRESS",
            max_threads=f"{prefix}_BROKER_MAX_THREADS",
            check_config=f"{control}_CHECK_CONFIG",
        )
