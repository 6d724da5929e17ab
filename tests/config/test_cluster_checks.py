"""[cluster]: who we are, who there is, whom we dial."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Config, Loaded, Peering, plan_membership, plan_peering
from appliance.units import Duration
from appliance.zeek.layout import NodeType

Loader = Callable[..., Loaded]
Mistakes = Callable[..., list[str]]

NODES = """
[cluster.nodes.manager]
type = "manager"
ip = "10.0.0.1"
port = 27761
[cluster.nodes.logger-1]
type = "logger"
ip = "10.0.0.2"
port = 27762
[cluster.nodes.proxy-1]
type = "proxy"
ip = "fe80::1"
zone_id = "eth0"
port = 27763
manager = "manager"
[cluster.nodes.worker-1]
type = "worker"
ip = "10.0.0.4"
manager = "manager"
[cluster.nodes.recorder-1]
type = "none"
ip = "10.0.0.9"
port = 27770
"""
LAYOUT = """
redef Cluster::manager_is_logger = F;
redef Cluster::retry_interval = 3sec;
redef Cluster::nodes = {
    ["manager"] = [$node_type=Cluster::MANAGER, $ip=10.0.0.1, $p=1/tcp],
    ["logger-1"] = [$node_type=Cluster::LOGGER, $ip=[2001:db8::1], $p=2/tcp, $manager="manager"],
};
"""


def as_node(name: str, more: str = "") -> str:
    return f'[appliance]\nname = "{name}"\n[cluster]\nbackend = "broker"\n{more}{NODES}'


def peering(config: Config) -> Peering:
    found = plan_peering(config)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "connect", "listen"),
    [
        ("manager", ("10.0.0.2:27762",), ("10.0.0.1:27761",)),
        ("logger-1", (), ("10.0.0.2:27762",)),
        ("proxy-1", ("10.0.0.2:27762", "10.0.0.1:27761"), ("[fe80::1%eth0]:27763",)),
        ("worker-1", ("10.0.0.2:27762", "[fe80::1%eth0]:27763", "10.0.0.1:27761"), ()),
        ("recorder-1", (), ("10.0.0.9:27770",)),
    ],
)
def test_roles_dial_whom_zeek_dials(read: Loader, name: str, connect: tuple[str, ...], listen: tuple[str, ...]) -> None:
    """From the table of nodes alone; a node without port does not listen."""
    broker = peering(read(as_node(name)).config).broker
    assert (broker.connect, broker.listen) == (connect, listen)


def test_a_worker_and_a_manager_dial_their_time_machine(read: Loader) -> None:
    """Which has to be named, as up to Zeek 7.0."""
    machine = '[cluster.nodes.tm]\ntype = "time_machine"\nip = "10.0.0.8"\nport = 47757\n'
    text = as_node("worker-2", 'zeek_version = "7.0"\n') + machine
    worker = '[cluster.nodes.worker-2]\ntype = "worker"\nip = "10.0.0.5"\ntime_machine = "tm"\n'
    assert peering(read(text + worker).config).broker.connect[-1] == "10.0.0.8:47757"


@pytest.mark.parametrize(("version", "is_odd"), [("3.0", False), ("7.0", False), ("7.1", True), ("8.0", True)])
def test_zeek_has_time_machines_up_to_7_0(read: Loader, version: str, is_odd: bool) -> None:
    """The remark has the line of the role, and of the node's type; it is taken all the same."""
    role = f'zeek_version = "{version}"\nrole = "time_machine"\n'
    text = as_node("recorder-7", f'{role}[broker]\nlisten = ["127.0.0.1:0"]\n')
    text += '[cluster.nodes.tm]\ntype = "time_machine"\n'
    loaded = read(text)
    assert loaded.config.cluster.role == "time_machine"
    lines = [text[: text.index(key)].count("\n") + 1 for key in ("role =", 'type = "time_machine"')]
    told = f"Zeek {version} has no time machines"
    assert len(loaded.remarks) == (2 if is_odd else 0)
    assert all(f":{line}: {told}" in remark for line, remark in zip(lines, loaded.remarks, strict=False))


def test_what_the_file_says_comes_before_the_nodes(read: Loader) -> None:
    """Addresses of [broker] stay, those that are the same are dialled once."""
    more = '[broker]\nlisten = ["127.0.0.1:0"]\nconnect = ["10.0.0.1:27761", "10.9.9.9:1"]\n'
    broker = peering(read(as_node("proxy-1") + more).config).broker
    assert broker.listen == ("127.0.0.1:0",)
    assert broker.connect == ("10.0.0.1:27761", "10.9.9.9:1", "10.0.0.2:27762")


def test_who_is_not_listed_can_have_a_role(read: Loader) -> None:
    """It has the first manager."""
    config = read(as_node("worker-7", 'role = "worker"\n')).config
    assert peering(config).broker.connect[-1] == "10.0.0.1:27761"
    member = plan_membership(config)
    assert member is not None
    assert (member.name, member.role) == ("worker-7", NodeType.WORKER)


def test_role_topics(read: Loader) -> None:
    """Pools, role and logs, by version and by what the site has redefined."""

    def topics(name: str, more: str = "") -> tuple[str, ...]:
        member = plan_membership(read(as_node(name, more)).config)
        assert member is not None
        return member.role_topics

    assert topics("recorder-1") == ()
    assert topics("logger-1") == ("zeek/cluster/pool/logger", "zeek/cluster/logger", "zeek/logs/")
    assert topics("manager") == ("zeek/cluster/manager",)
    more = 'manager_is_logger = true\nzeek_version = "2.6"\n[cluster.topics]\nmanager = "site/boss"\n'
    assert topics("manager", more) == ("bro/cluster/pool/logger", "site/boss", "bro/logs/")


def test_a_layout_is_read(read: Loader) -> None:
    """Its nodes, beside those of the tables, which win; and what it says of the cluster."""
    more = '[cluster.nodes.manager]\ntype = "manager"\nip = "10.1.1.1"\nport = 5\n'
    text = f'[cluster]\nbackend = "broker"\nnode = "logger-1"\nlayout = "l.zeek"\n{more}'
    loaded = read(text, files={"l.zeek": LAYOUT})
    cluster = loaded.config.cluster
    assert list(cluster.nodes) == ["manager", "logger-1"]
    assert (cluster.nodes["manager"].ip, cluster.nodes["logger-1"].ip) == ("10.1.1.1", "2001:db8::1")
    assert (cluster.manager_is_logger, cluster.retry_interval) == (False, Duration(3 * 10**9))
    found = peering(loaded.config)
    assert (found.broker.listen, found.broker.retry_interval) == (("[2001:db8::1]:2",), Duration(3 * 10**9))
    assert loaded.remarks == ()


def test_what_is_odd_about_a_layout_is_told(read: Loader) -> None:
    """It is no mistake: Zeek would start with it."""
    text = '[cluster]\nbackend = "broker"\nnode = "a"\nlayout = "l.zeek"\n'
    layout = 'redef Cluster::nodes = { ["a"] = [$node_type=Cluster::WORKER, $ip=10.0.0.1, $p=1/tcp, $rack=3] };'
    assert len(read(text, files={"l.zeek": layout}).remarks) == 2


def test_the_environment_names_the_node(read: Loader) -> None:
    """CLUSTER_NODE comes before both names."""
    more = 'node = "recorder-1"\n'
    config = read(as_node("x", more), environ={"CLUSTER_NODE": "proxy-1", "ZEEK_DEFAULT_CONNECT_RETRY": "7"}).config
    member = plan_membership(config)
    assert member is not None
    assert (member.name, member.role) == ("proxy-1", NodeType.PROXY)
    assert peering(config).broker.retry_interval == Duration(7 * 10**9)


def test_the_environment_decides_about_the_interval(read: Loader) -> None:
    """Over that of the cluster as well."""
    environ = {"BRO_DEFAULT_CONNECT_RETRY": "7"}
    config = read(as_node("proxy-1", 'retry_interval = "1m"\n'), environ=environ).config
    assert peering(config).broker.retry_interval == Duration(7 * 10**9)


TYPES = '"none", "control", "logger", "manager", "proxy", "worker" or "time_machine"'
NODE = '[cluster.nodes.a]\ntype = "worker"\n'
PEERS = "set [broker] listen or connect, or give our node an ip and a port"
MISTAKES = {
    as_node("recorder-2"): 'appliance.name: there is no node "recorder-2" in the cluster, did you mean "recorder-1"?',
    as_node("recorder-1", 'role = "logger"\n'): (
        'cluster.role: the node "recorder-1" is of type "none", write role = "none", or "auto"'
    ),
    '[cluster]\nrole = "logger"\n': (
        'cluster.role: has no effect with backend = "none", write backend = "broker" or "zeromq"'
    ),
    '[cluster]\nbackend = "broker"\n': (
        f"cluster.backend: there is nobody to dial, and no address to listen on, {PEERS}"
    ),
    '[cluster]\nbackend = "zeromq"\n': (
        "cluster.backend: there is no address of the cluster, "
        "set read and write of [cluster.zeromq], or its log_bind, or all of them"
    ),
    '[cluster]\nbackend = "zeromq"\nzeek_version = "7.0"\n': (
        'cluster.zeek_version: Zeek 7.0 has no ZeroMQ backend, which came with 7.1, write backend = "broker"'
    ),
    '[cluster.nodes.a]\nip = "x"\n': "cluster.nodes.a.type: missing",
    '[cluster.nodes.a]\ntype = "wroker"\n': (
        f'cluster.nodes.a.type: expected {TYPES}, got "wroker", did you mean "worker"?'
    ),
    f"{NODE}prot = 1\n": 'cluster.nodes.a.prot: unknown key, did you mean "port"?',
    f"{NODE}port = 0\n": "cluster.nodes.a.port: expected 1 to 65535, got 0",
    f'{NODE}ip = "[::1]"\n': ("cluster.nodes.a.ip: '[::1]' is not an IPv6 address, leave out the brackets"),
    f'{NODE}extra = {{"a b" = "1"}}\n': (
        'cluster.nodes.a.extra."a b": expected a field and one of Zeek\'s expressions, in one line'
    ),
    '[cluster.nodes.""]\ntype = "worker"\n': 'cluster.nodes."": "" is not the name of a node',
    '[cluster.topics]\nlogger = "<$>/x"\n': 'cluster.topics.logger: "<$>/x" is one of Broker\'s own',
    '[cluster.topics]\nloger = "x"\n': 'cluster.topics.loger: unknown key, did you mean "logger"?',
    '[cluster]\nbackend = "broker"\nlayout = "none.zeek"\nrole = "logger"\n': (
        "cluster.layout: {folder}/none.zeek: cannot be read: No such file or directory"
    ),
}


@pytest.mark.parametrize(("text", "told"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_mistakes(mistakes: Mistakes, folder: object, text: str, told: str) -> None:
    """Each is told with its key, and what to write instead."""
    (line,) = mistakes(text)
    assert line.split(": ", 1)[1] == told.format(folder=folder)


def test_a_broken_layout_is_one_mistake(mistakes: Mistakes) -> None:
    """With the place in it."""
    text = '[cluster]\nbackend = "broker"\nlayout = "l.zeek"\nnode = "a"\n'
    (line,) = mistakes(text, files={"l.zeek": "redef Cluster::nodes = {"})
    assert line.startswith("site.toml:3: cluster.layout: ")
    assert "l.zeek:1:" in line


def test_doors_of_a_node(mistakes: Mistakes) -> None:
    """Its events come from the peers, its news of nodes from the cluster."""
    sink = '[[sink]]\nname = "s"\non = ["log:*"]\nfrom = ["broker", "cluster"]\n'
    assert mistakes(as_node("logger-1") + sink) == []


@pytest.mark.parametrize(
    ("entry", "more", "told"),
    [
        ("node:gone", "", 'a node is never "gone", use "node:up", "node:down" or "node:*"'),
        ("node:up", 'kind = "tsv"\n', 'has no columns for "node:up", only for logs, write kind = "jsonl"'),
        ("node:up", 'kind = "broker"\ntopic = "t"\n',
         '"node:up" is not published, every node of the cluster sees it by itself'),
    ],
    ids=["status", "tsv", "broker"],
)  # fmt: skip
def test_sinks_that_cannot_take_nodes(mistakes: Mistakes, entry: str, more: str, told: str) -> None:
    """Of any status, or of any kind."""
    (line,) = mistakes(f'{as_node("logger-1")}[[sink]]\nname = "s"\n{more}on = ["{entry}"]\n')
    assert line.partition(": ")[2] == f"sink[0].on[0]: {told}"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('pool = "proxy"\ntopic = "x"\n', "topic: has no effect with pool, leave it out"),
        ('topic = "x"\nkey = "uid"\n', 'key: needs a pool, write pool = "proxy", or leave it out'),
    ],
    ids=["topic", "key"],
)
def test_sinks_for_pools(mistakes: Mistakes, keys: str, told: str) -> None:
    """A pool stands in place of a topic, and a key needs one."""
    sink = f'[[sink]]\nname = "s"\nkind = "broker"\non = ["event:*"]\n{keys}'
    (line,) = mistakes(as_node("logger-1") + sink)
    assert line.partition(": ")[2] == f"sink[0].{told}"


def test_a_pool_needs_a_cluster(mistakes: Mistakes) -> None:
    """A peer without being a node knows nobody."""
    sink = '[[sink]]\nname = "s"\nkind = "broker"\non = ["log:*"]\npool = "logger"\n'
    (line,) = mistakes('[broker]\nlisten = ["127.0.0.1:0"]\n' + sink)
    assert line.partition(": ")[2] == "sink[0].pool: we are no node of a cluster, write [cluster] with a backend"
