"""From ``[cluster.zeromq]`` to services: our node, the logger, and the proxy if it is ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from appliance.config import Cluster, Config, NodePlan, ProxyPlan, plan_node, plan_proxy
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet

if TYPE_CHECKING:
    from appliance.runtime.supervisor import Service

__all__ = ["cluster_tables", "make_cluster_service", "places_of"]


def cluster_tables(config: Config) -> dict[str, Cluster | NodePlan | ProxyPlan]:
    """What the services are made from, by their keys; the proxy first."""
    logger = config.cluster if config.cluster.is_logger else None
    plans = {"proxy": plan_proxy(config), "cluster": logger, "cluster.node": plan_node(config)}
    return {key: plan for key, plan in plans.items() if plan is not None}


def make_cluster_service(
    plan: Cluster | NodePlan | ProxyPlan, *, state_dir: Path, ledger: Ledger, dispatcher: Dispatcher, outlet: Outlet
) -> Service:
    """A service that is not running yet."""
    if isinstance(plan, ProxyPlan):
        from appliance.zeromq.proxy import ClusterProxy

        return ClusterProxy(plan)
    from appliance.runtime.quarantine import Quarantine

    quarantine = Quarantine(state_dir / "quarantine" / "cluster")
    if isinstance(plan, Cluster):
        from appliance.zeromq.logger import LogReceiver

        return LogReceiver(
            plan,
            account=ledger.account("cluster"),
            batches=ledger.account("cluster.batches", unit="batches"),
            dispatcher=dispatcher,
            quarantine=quarantine,
        )
    from appliance.zeromq.node import ClusterNode

    return ClusterNode(
        plan,
        records=ledger.account("cluster.events"),
        messages=ledger.account("cluster.messages", unit="messages"),
        copies=ledger.account("cluster.out", unit="messages"),
        dispatcher=dispatcher,
        quarantine=quarantine,
        outlet=outlet,
    )


def places_of(plan: ProxyPlan) -> set[str]:
    """What the proxy occupies: ports, whatever the host, and paths."""
    return {
        place.removeprefix("ipc://") if place.startswith("ipc:") else f"tcp:{place.rpartition(':')[2]}"
        for place in (plan.read, plan.write)
    }
