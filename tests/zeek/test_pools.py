"""Pools: the members, the turns, and who a key belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.layout import ClusterLayout, LayoutNode, NodeType
from appliance.zeek.pools import MAX_KEYS, Pool, Pools, PoolSpec, builtin_specs
from appliance.zeek.rendezvous import digest, fnv1a32, heaviest, site_id
from appliance.zeek.topics import cluster_topics
from appliance.zeek.values import Count
from appliance.zeek.version import Version, parse_version

KEYS = (0, 1, 2, 3, 13, 37, 42, 101)


def make_layout(**counts: int) -> ClusterLayout:
    made = [
        LayoutNode(name=f"{kind}-{number}", type=NodeType(kind))
        for kind, count in counts.items()
        for number in range(1, count + 1)
    ]
    return ClusterLayout(nodes=(LayoutNode(name="manager", type=NodeType.MANAGER), *made))


def make_pools(layout: ClusterLayout, *specs: PoolSpec, own: str = "manager", version: str = "8.0") -> Pools:
    topics = cluster_topics(parse_version(version))
    return Pools(layout, topics, own, specs or builtin_specs(topics))


def proxies(count: int = 2, version: str = "8.0") -> tuple[Pools, Pool]:
    pools = make_pools(make_layout(proxy=count), version=version)
    for number in range(1, count + 1):
        pools.up(f"proxy-{number}")
    return pools, pools[cluster_topics(parse_version(version)).proxy_pool]


def test_hash_of_members() -> None:
    """Reference values of the hash of plain strings."""
    values = {"worker-1.0": 4178617771, "worker-2.0": 3162793146, "proxy-1.0": 2719221839}
    assert {name: site_id(name, Version(7, 1)) for name in values} == values
    assert fnv1a32(b"") == 2166136261


@pytest.mark.parametrize(
    ("version", "owners"),
    [("2.6", "11112222"), ("4.0", "11112222"), ("4.1", "22122212"), ("7.0", "22122212"), ("8.0", "21221111")],
)
def test_zeek_gives_the_same_keys_to_the_same_proxies(version: str, owners: str) -> None:
    """What Zeek's own test of topic distribution expects in each range of versions, with counts as keys."""
    pools, pool = proxies(version=version)
    assert "".join((pool.hrw_name(Count(key)) or "-")[-1] for key in KEYS) == owners
    pools.down("proxy-1")
    assert {pool.hrw_name(Count(key)) for key in KEYS} == {"proxy-2"}
    pools.down("proxy-2")
    assert {pool.hrw_topic(Count(key)) for key in KEYS} == {""}


def test_turns_go_round() -> None:
    """As in the same test: one after the other for each key, past those that are down, nowhere if all are."""
    pools, pool = proxies(3)
    assert [pool.rr_name("a")[-1:] for _ in range(4)] == ["1", "2", "3", "1"]  # type: ignore[index]
    assert pool.rr_topic("b") == "zeek/cluster/node/proxy-1/"
    pools.down("proxy-2")
    assert pool.alive_count == 2
    assert [pool.rr_topic("a") for _ in range(3)] == [f"zeek/cluster/node/proxy-{n}/" for n in (3, 1, 3)]
    pools.down("proxy-1")
    pools.down("proxy-3")
    assert pool.rr_topic("a") == ""
    pools.up("proxy-2")
    assert pool.rr_topic("a") == "zeek/cluster/node/proxy-2/"


def test_we_take_turns_but_own_no_key() -> None:
    """A node knows that it is alive, and nobody tells it that it is up."""
    pools = make_pools(make_layout(proxy=1), own="proxy-1")
    pool = pools["zeek/cluster/pool/proxy"]
    assert (pool.rr_name(), pool.hrw_name("key")) == ("proxy-1", None)
    assert pools.own_topics == ("zeek/cluster/pool/proxy",)


def test_manager_that_logs_is_in_the_pool_of_loggers() -> None:
    """Behind the loggers; not if the layout says that it does not log."""
    layout = make_layout(logger=2)
    assert make_pools(layout)["zeek/cluster/pool/logger"].members == ("logger-1", "logger-2")
    layout = ClusterLayout(nodes=layout.nodes, manager_is_logger=True)
    assert make_pools(layout)["zeek/cluster/pool/logger"].members == ("logger-1", "logger-2", "manager")


def test_members_are_in_the_order_of_bytes() -> None:
    """So that worker-10 comes before worker-2."""
    assert make_pools(make_layout(worker=11))["zeek/cluster/pool/worker"].members[:3] == (
        "worker-1",
        "worker-10",
        "worker-11",
    )


def spec(topic: str, count: int | None = None, *, exclusive: bool = False) -> PoolSpec:
    return PoolSpec(topic=topic, node_type=NodeType.PROXY, max_nodes=count, exclusive=exclusive)


def test_exclusive_pools_come_first_and_the_others_share_the_rest() -> None:
    """In the order of their topics, whatever the order in which they were made; the shared cursor goes round."""
    pools = make_pools(
        make_layout(proxy=5), spec("d", 2), spec("b"), spec("c", 2), spec("z", 2, exclusive=True), spec("e", 9)
    )
    assert {topic: "".join(name[-1] for name in pools[topic].members) for topic in "bcdez"} == {
        "z": "12",
        "b": "345",
        "c": "34",
        "d": "53",
        "e": "453",
    }


@pytest.mark.parametrize(
    ("specs", "told"),
    [
        ([spec("a", exclusive=True)], "needs max_nodes"),
        ([spec("a", 2, exclusive=True), spec("b", 2, exclusive=True)], "want 4 nodes of type proxy, there are 3"),
        ([PoolSpec(topic="a", node_type=NodeType.MANAGER)], "nodes of type manager have none"),
        ([spec("a"), spec("a")], "two pools have one topic"),
    ],
)
def test_pools_that_zeek_does_not_start_with(specs: list[PoolSpec], told: str) -> None:
    """Fatal there, an error here."""
    with pytest.raises(ValueError, match=told):
        make_pools(make_layout(proxy=3), *specs)


def test_keys_are_forgotten_before_they_fill_the_memory() -> None:
    """The key that was not used for longest starts anew."""
    _, pool = proxies(2)
    for number in range(MAX_KEYS + 1):
        pool.rr_name(str(number))
    assert (pool.rr_name("0"), pool.rr_name(str(MAX_KEYS))) == ("proxy-1", "proxy-2")


def test_keys_of_other_types_are_refused() -> None:
    """Better no answer than another one than Zeek's."""
    with pytest.raises(TypeError, match="a key of type float"):
        digest(1.5, Version(8, 0))  # type: ignore[arg-type]


@given(st.sets(st.integers(0, (1 << 32) - 1), min_size=1, max_size=8), st.integers(0, (1 << 32) - 1))
@settings(deadline=None)
def test_only_keys_of_the_node_that_goes_move(sites: set[int], hashed: int) -> None:
    """What rendezvous hashing is for."""
    owner = heaviest(hashed, sites)
    assert owner in sites
    for gone in sites - {owner}:
        assert heaviest(hashed, sites - {gone}) == owner
