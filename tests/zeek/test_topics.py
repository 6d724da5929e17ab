"""Topics and options, as each version spells them."""

from __future__ import annotations

import pytest

from appliance.zeek.cluster_options import NAMES, default_of, names_of
from appliance.zeek.topics import Backend, ClusterTopics, EnvironmentNames, cluster_topics
from appliance.zeek.version import Version, parse_version


def topics(version: str, backend: Backend = "broker") -> ClusterTopics:
    return cluster_topics(parse_version(version), backend)


@pytest.mark.parametrize(
    ("version", "backend", "node", "nodeid"),
    [
        ("2.6", "broker", "bro/cluster/node/worker-1", "bro/cluster/node/ID"),
        ("3.0.0", "broker", "zeek/cluster/node/worker-1", "zeek/cluster/node/ID"),
        ("3.0.3", "broker", "zeek/cluster/node/worker-1", "zeek/cluster/node/ID"),
        ("3.1.1", "broker", "zeek/cluster/node/worker-1", "zeek/cluster/node/ID"),
        ("3.0.4", "broker", "zeek/cluster/node/worker-1/", "zeek/cluster/nodeid/ID/"),
        ("3.1.2", "broker", "zeek/cluster/node/worker-1/", "zeek/cluster/nodeid/ID/"),
        ("3.1", "broker", "zeek/cluster/node/worker-1/", "zeek/cluster/nodeid/ID/"),
        ("8.0", "broker", "zeek/cluster/node/worker-1/", "zeek/cluster/nodeid/ID/"),
        ("7.1", "zeromq", "zeek.cluster.node.worker-1.", "zeek.cluster.nodeid.ID"),
        ("7.2", "zeromq", "zeek.cluster.node.worker-1.", "zeek.cluster.nodeid.ID."),
        ("9.0", "zeromq", "zeek.cluster.node.worker-1.", "zeek.cluster.nodeid.ID."),
    ],
)
def test_node_topics_of_each_version(version: str, backend: Backend, node: str, nodeid: str) -> None:
    """One spelling to send on; before April 2020 IDs had the prefix of names."""
    found = topics(version, backend)
    assert (found.node_topic("worker-1"), found.nodeid_topic("ID")) == (node, nodeid)
    assert found.own_topics("worker-1", "ID")[0] == nodeid
    assert node in found.own_topics("worker-1", "ID")


def test_own_topics_in_every_spelling() -> None:
    """Where the patch is not known, we listen on both; prefixes keep nothing away, so nothing twice."""
    assert topics("3.0").own_topics("a", "ID") == (
        "zeek/cluster/nodeid/ID/",
        "zeek/cluster/node/ID",
        "zeek/cluster/node/a/",
        "zeek/cluster/node/a",
    )
    assert topics("3.2").own_topics("a", "ID") == ("zeek/cluster/nodeid/ID/", "zeek/cluster/node/a/")


@pytest.mark.parametrize(
    ("version", "backend", "manager", "pool", "logs", "tables", "internal"),
    [
        ("2.6", "broker", "bro/cluster/manager", "bro/cluster/pool/proxy", "bro/logs/Conn::LOG", "", ""),
        ("8.0", "broker", "zeek/cluster/manager", "zeek/cluster/pool/proxy", "zeek/logs/Conn::LOG", "", ""),
        ("7.1", "zeromq", "zeek.cluster.manager", "zeek.cluster.pool.proxy", "Conn::LOG", "", ""),
        (
            *("8.2", "zeromq", "zeek.cluster.manager", "zeek.cluster.pool.proxy", "Conn::LOG", "zeek/table/"),
            "zeek.zeromq.internal.",
        ),
    ],
)
def test_other_topics(
    version: str, backend: Backend, manager: str, pool: str, logs: str, tables: str, internal: str
) -> None:
    """Roots, delimiters, and what came later."""
    found = topics(version, backend)
    assert (found.manager, found.proxy_pool, found.log_topic("Conn::LOG")) == (manager, pool, logs)
    assert (found.tables, found.internal) == (tables, internal)
    assert found.broadcast == tuple(
        manager.replace("manager", role) for role in ("logger", "manager", "proxy", "worker")
    )


def test_ids_in_topics() -> None:
    """An ID comes out of its topic and of no other."""
    for found in (topics("8.0"), topics("8.0", "zeromq"), topics("7.1", "zeromq"), topics("2.6")):
        assert found.id_of(found.nodeid_topic("x.y")) == "x.y"
        assert found.id_of(found.manager) is None
        assert found.id_of(found.nodeid_topic("")) is None
    assert topics("8.0", "zeromq").id_of("zeek.cluster.nodeid.x") is None


def test_what_a_site_has_redefined() -> None:
    """Its topics replace ours; on ZeroMQ prefixes are written without their last dot."""
    found = cluster_topics(Version(8, 0), "zeromq", {"manager": "m", "nodeid_prefix": "ids"})
    assert (found.manager, found.nodeid_topic("1"), found.node_topic("n")) == ("m", "ids.1.", "zeek.cluster.node.n.")
    assert cluster_topics(Version(8, 0), "broker", {"node_prefix": "n/"}).node_topic("a") == "n/a/"
    with pytest.raises(ValueError, match="no such topic: managr"):
        cluster_topics(Version(8, 0), "broker", {"managr": ""})
    with pytest.raises(ValueError, match=r"came with 7\.1"):
        cluster_topics(Version(7, 0), "zeromq")


def test_environment_of_bro_and_zeek() -> None:
    """The prefix changed with the name."""
    assert EnvironmentNames.of(Version(2, 6)).connect_retry == "BRO_DEFAULT_CONNECT_RETRY"
    assert EnvironmentNames.of(Version(2, 6)).check_config == "BROCTL_CHECK_CONFIG"
    assert EnvironmentNames.of(Version(8, 0)).connect_retry == "ZEEK_DEFAULT_CONNECT_RETRY"
    assert EnvironmentNames.of(Version(8, 0)).node == "CLUSTER_NODE"


@pytest.mark.parametrize(
    ("name", "version", "value"),
    [
        ("Cluster::retry_interval", "2.6", "1min"),
        ("Cluster::retry_interval", "7.1", "1min"),
        ("Cluster::retry_interval", "7.2", "1sec"),
        ("Cluster::manager_topic", "2.6", '"bro/cluster/manager"'),
        ("Cluster::time_machine_topic", "7.0", '"zeek/cluster/time_machine"'),
        ("Cluster::time_machine_topic", "7.1", None),
        ("Cluster::node_topic_prefix", "8.0", '"zeek/cluster/node/"'),
        ("Cluster::broadcast_topics", "5.0", None),
        ("Cluster::proxy_pool_spec", "2.6", '[$topic="bro/cluster/pool/proxy", $node_type=Cluster::PROXY]'),
        ("Cluster::backend", "8.0", "Cluster::CLUSTER_BACKEND_BROKER"),
        ("Cluster::backend", "8.1", "Cluster::CLUSTER_BACKEND_NONE"),
        ("Cluster::Backend::ZeroMQ::ipv6", "8.2", "F"),
        ("Cluster::hello", "8.0", None),
        ("Cluster::nonsense", "8.0", None),
    ],
)
def test_defaults_of_options(name: str, version: str, value: str | None) -> None:
    """What a site has that redefines nothing."""
    assert default_of(name, parse_version(version)) == value


def test_broadcast_topics_on_zeromq() -> None:
    """Defaults follow the backend."""
    value = default_of("Cluster::broadcast_topics", Version(8, 0), "zeromq")
    assert value is not None
    assert value.startswith('{"zeek.cluster.logger", ')


def test_every_option_has_a_default_in_every_version_that_has_it() -> None:
    """The table has no holes, and no name twice."""
    assert len({each.name for each in NAMES}) == len(NAMES)
    for text in ("2.6", "3.2", "5.0", "6.0", "6.2", "7.0", "7.1", "7.2", "8.0", "8.1", "8.2", "9.0"):
        version = parse_version(text)
        for each in names_of(version):
            assert (default_of(each.name, version) is not None) == (each.kind == "option")
    counts = [len(names_of(parse_version(text))) for text in ("2.6", "7.0", "7.1", "8.2")]
    assert counts == sorted(counts)
    assert "Cluster::worker_count" not in {each.name for each in names_of(Version(6, 1))}
