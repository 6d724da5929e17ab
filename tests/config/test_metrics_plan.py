"""Where metrics are listened for."""

from __future__ import annotations

import pytest

from appliance.config import METRICS_LISTEN, Appliance, Cluster, ClusterNode, Config, Metrics, plan_metrics


def site(listen: str | None = "", *, name: str = "logger-1", ip: str = "10.0.0.1", port: int | None = 9992) -> Config:
    nodes = {"logger-1": ClusterNode(type="logger", ip=ip, port=27761, metrics_port=port)}
    table = None if listen is None else Metrics(listen=listen)
    return Config(appliance=Appliance(name=name), cluster=Cluster(nodes=nodes), metrics=table)


@pytest.mark.parametrize(
    ("config", "listen"),
    [
        (site("127.0.0.1:1"), "127.0.0.1:1"),
        (site(), "10.0.0.1:9992"),
        (site(ip="2001:db8::1"), "[2001:db8::1]:9992"),
        (site(ip=""), "127.0.0.1:9992"),
        (site(name="other"), METRICS_LISTEN),
        (site(port=0), METRICS_LISTEN),
        (site(port=None), METRICS_LISTEN),
        (Config(metrics=Metrics()), METRICS_LISTEN),
    ],
    ids=["written", "layout", "ipv6", "no-address", "not-listed", "switched-off", "no-port", "no-cluster"],
)
def test_the_file_says_it_or_the_layout_or_nobody(config: Config, listen: str) -> None:
    """Zeek's manager tells Prometheus the port of the layout."""
    assert plan_metrics(config) == Metrics(listen=listen)


def test_without_the_table_nobody_listens() -> None:
    """Also if the layout has a port."""
    assert plan_metrics(site(None)) is None
