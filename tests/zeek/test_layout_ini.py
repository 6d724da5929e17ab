"""zeekctl's node.cfg and the generator's zeek.conf."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.layout import LayoutError, ParsedLayout
from appliance.zeek.layout_ini import parse_ini
from appliance.zeek.layout_node_cfg import parse_node_cfg
from appliance.zeek.layout_zeek_conf import ConfFile, host_of, parse_zeek_conf
from appliance.zeek.version import Version, parse_version
from tests.zeek.layouts import GOLDEN, load, shown

CLUSTER = "[m]\ntype=manager\nhost=::1\n[p]\ntype=proxy\nhost=::1\n"


def cfg(text: str, version: str = "8.0") -> ParsedLayout:
    return parse_node_cfg(text.encode(), "node.cfg", version=parse_version(version))


def conf(text: str, host: str = "") -> ParsedLayout:
    return parse_zeek_conf([ConfFile("zeek.conf", text.encode(), host)])


@pytest.mark.parametrize(
    ("version", "first_three", "metrics"),
    [
        ("2.6", ["control 47760", "logger-1 47761", "manager 47762"], None),
        ("6.0", ["control 27760", "logger-1 27761", "manager 27762"], None),
        ("8.0", ["control 27760", "manager 27761", "logger-1 27762"], 9992),
        ("8.1", ["control 27762", "manager 27763", "logger-1 27764"], 9992),
    ],
)
def test_ports_are_those_of_zeekctl(version: str, first_three: list[str], metrics: int | None) -> None:
    """The base, the order, and the metrics ports changed over time."""
    layout = parse_node_cfg(load("node.cfg"), "node.cfg", version=parse_version(version)).layout
    assert [f"{node.name} {node.port}" for node in layout.nodes[:3]] == first_three
    logger = layout.node("logger-1")
    assert logger is not None
    assert (logger.metrics_port, logger.manager, logger.ip) == (metrics, "", "manager.example.org")
    assert layout.manager_is_logger is False


def test_workers_of_one_section() -> None:
    """A section stands for as many workers as it has processes, or interfaces."""
    parsed = parse_node_cfg(load("node.cfg"), "node.cfg", version=Version(8, 0))
    assert [line for line in shown(parsed) if "worker" in line] == [
        "worker-1-1 worker 192.0.2.2 27764 9994 manager af_packet::eth0",
        "worker-1-2 worker 192.0.2.2 27765 9995 manager af_packet::eth0",
        "worker-2-1 worker 2001:db8::3 27766 9996 manager eth1",
        "worker-2-2 worker 2001:db8::3 27767 9997 manager eth2",
    ]


def test_standalone_is_no_cluster() -> None:
    """There is nothing to join."""
    parsed = parse_node_cfg(load("standalone.cfg"), "standalone.cfg", version=Version(8, 0))
    assert (parsed.layout.nodes, len(parsed.remarks)) == ((), 1)


def test_a_manager_without_loggers_logs() -> None:
    """As zeekctl writes it; unknown keys are told of."""
    parsed = cfg(CLUSTER + "colour=red\n")
    assert parsed.layout.manager_is_logger is True
    assert str(parsed.remarks[0]) == "node.cfg:7: 'colour' is not a key that we know"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[m]\ntype=manager\nhost=::1\n", "node.cfg:1:1: a cluster needs a proxy"),
        ("[p]\ntype=proxy\nhost=::1\n", "node.cfg:1:1: a cluster has one manager, this one 0"),
        (CLUSTER + "[n]\ntype=manager\nhost=::1\n", "a cluster has one manager, this one 2"),
        (CLUSTER + "[w]\ntype=standalone\nhost=::1\n", "a standalone node tolerates no other"),
        (CLUSTER + "[w]\ntype=worker\nhost=10.0.0.1\n", "the manager is on the loopback address"),
        (CLUSTER + "[P]\ntype=proxy\nhost=::1\n", "node.cfg:7:1: a second node 'P'"),
        (CLUSTER + "[w]\ntype=sensor\nhost=::1\n", "node.cfg:8:1: a node needs a type"),
        (CLUSTER + "[w]\nhost=::1\n", "node.cfg:7:1: a node needs a type"),
        (CLUSTER + "[w]\ntype=worker\n", "node.cfg:7:1: 'w' has no host"),
        (CLUSTER + "[w]\ntype=worker\nhost=::1\nlb_procs=99999999\n", "node.cfg:10:1: lb_procs is not a number"),
        ("a=1\n" + CLUSTER, "node.cfg:1:1: a key outside a section"),
        ("[m\n", "node.cfg:1:1: expected [section], found '[m'"),
        ("[m]\nmanager\n", "node.cfg:2:1: expected key = value, found 'manager'"),
        ("[m]\na=1\nA=2\n", "node.cfg:3:1: 'a' is set twice"),
        ("[m]\n[m]\n", "node.cfg:2:1: the section 'm' occurs twice"),
        ("#" * (3 << 20), "larger than 2 MiB"),
    ],
)
def test_node_cfg_that_zeekctl_refuses(text: str, told: str) -> None:
    """So do we, at the line."""
    with pytest.raises(LayoutError) as caught:
        cfg(text)
    assert told in str(caught.value)


def test_zeek_conf_of_one_host() -> None:
    """Names and ports as the generator gives them; workers do not listen."""
    parsed = parse_zeek_conf([ConfFile("zeek.conf", load("zeek.conf"))])
    assert shown(parsed) == [
        "manager manager 127.0.0.1 27760 9991",
        "logger-1 logger 127.0.0.1 27761 9992 manager",
        "proxy-1 proxy 127.0.0.1 27762 9993 manager",
        "worker-1 worker 127.0.0.1 None 9994 manager",
        "worker-2 worker 127.0.0.1 None 9995 manager",
    ]
    assert parsed.remarks == ()


def test_zeek_conf_of_several_hosts() -> None:
    """Every host has its file, its prefix and its ports."""
    files = [ConfFile(path.name, path.read_bytes(), host_of(path.name)) for path in (GOLDEN / "cluster").iterdir()]
    parsed = parse_zeek_conf(files)
    assert shown(parsed) == [
        "manager manager 192.0.2.1 27760 9991",
        "c-mgr-logger-1 logger 192.0.2.1 27761 9992 manager",
        "c-mgr-logger-2 logger 192.0.2.1 27762 9993 manager",
        "c-mgr-proxy-1 proxy 192.0.2.1 27763 9994 manager",
        "c-w-01-worker-eth1-1 worker c-w-01 None 0 manager",
        "c-w-01-worker-eth1-2 worker c-w-01 None 0 manager",
        "c-w-01-worker-eth2-1 worker c-w-01 None 0 manager",
    ]


def test_files_of_hosts_by_their_names() -> None:
    """Only small letters, digits, - and _ make a host."""
    assert [host_of(name) for name in ("c-1_a.zeek.conf", "C.zeek.conf", "zeek.conf", "a.b.zeek.conf")] == [
        "c-1_a",
        "",
        "",
        "",
    ]


def test_zeek_conf_with_nothing_to_watch() -> None:
    """No interface: switched off. A cluster without manager: nobody names one."""
    assert conf("loggers = 1\n").layout.nodes == ()
    assert shown(conf("interface = a\nmanager = 0\nproxies = 0\nloggers=0\ncluster_node_prefix=x\n")) == [
        "x-worker-1 worker 127.0.0.1 None 9991"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cluster_layout = /x/layout.zeek\n", "1:1: the layout is written by hand, read '/x/layout.zeek'"),
        ("a = 1\n[zeek]\nb=2\n", "1:1: options outside a section beside sections"),
        ("[zeek]\nloggers = many\n", "2:1: loggers is not a number up to 1024"),
        ("[zeek]\n[interface ETH0]\nworkers=1\n", "2:1: the section 'interface ETH0' is neither"),
        ("[zeek]\n[interface eth0]\ninterface=eth0\n", "2:1: an interface without workers"),
        ("[zeek]\nport=65535\n", "1:1: no port is left for node 2"),
    ],
)
def test_zeek_conf_that_the_generator_refuses(text: str, told: str) -> None:
    """So do we, at the line."""
    with pytest.raises(LayoutError) as caught:
        conf(text)
    assert told in str(caught.value)


def test_two_hosts_with_the_same_names() -> None:
    """A second manager is one too many."""
    files = [ConfFile(f"{host}.zeek.conf", b"[zeek]\n", host) for host in "ab"]
    with pytest.raises(LayoutError, match="a second node 'manager'"):
        parse_zeek_conf(files)


def test_long_continuations_are_joined_once() -> None:
    """A value of many lines costs no more than its length."""
    (section,) = parse_ini(b"a = 1\n" + b" 2\n" * 300_000, "x")
    assert len(section.options["a"].value) == 600_001


@given(st.text(st.sampled_from("[]=#; \n\tab1"), max_size=60))
@settings(deadline=None)
def test_any_text_is_sections_or_a_mistake(text: str) -> None:
    """Nothing else comes out of the reader."""
    for parse in (cfg, conf):
        with suppress(LayoutError):
            parse(text)
