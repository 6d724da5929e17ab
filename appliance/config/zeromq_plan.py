"""What the tables make of us on a ZeroMQ cluster: a node with its sockets, and perhaps the proxy between all nodes."""

from __future__ import annotations

import msgspec

from appliance.config.membership import Membership, plan_membership
from appliance.config.tables import Config
from appliance.units import Duration, Size
from appliance.zeek.layout import NodeType

__all__ = ["NodePlan", "ProxyPlan", "plan_node", "plan_proxy"]


class NodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What our node is made from. No table of the file."""

    member: Membership
    read: str
    write: str
    subscribe: tuple[str, ...] = ()
    event_serializer: str = "broker-bin-v1"
    queue: int = 100_000
    queue_bytes: Size = Size(64 << 20)
    max_message: Size = Size(64 << 20)
    max_wait: Duration = Duration(5 * 10**9)
    server_public_key_file: str = ""
    secret_key_file: str = ""
    """Of the client."""
    public_key_file: str = ""

    @property
    def is_listed(self) -> bool:
        """Whether we are a node, and not somebody who listens in."""
        return self.member.role is not NodeType.NONE or self.member.layout.node(self.member.name) is not None

    @property
    def announces(self) -> bool:
        """Whether we take part in presence."""
        return self.member.announce and self.is_listed

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to, beside the topic of our ID."""
        if not self.is_listed:
            return self.subscribe
        member = self.member
        return (member.topics.node_topic(member.name), *member.role_topics, *self.subscribe)


class ProxyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What our proxy is made from. No table of the file."""

    read: str
    write: str
    secret_key_file: str = ""
    """Of the server."""
    client_public_key_file: str = ""


def plan_node(config: Config) -> NodePlan | None:
    """Our node of a valid configuration; None if there are no events over ZeroMQ."""
    zeromq = config.cluster.zeromq
    member = plan_membership(config) if config.cluster.is_zeromq_node else None
    if member is None:
        return None
    return NodePlan(
        member=member,
        read=zeromq.read,
        write=zeromq.write,
        subscribe=zeromq.subscribe,
        event_serializer=zeromq.event_serializer,
        queue=zeromq.queue,
        queue_bytes=zeromq.queue_bytes,
        max_message=zeromq.max_message,
        max_wait=zeromq.max_wait,
        server_public_key_file=zeromq.curve_server_public_key_file,
        secret_key_file=zeromq.curve_client_secret_key_file or zeromq.curve_secret_key_file,
        public_key_file=zeromq.curve_public_key_file,
    )


def plan_proxy(config: Config) -> ProxyPlan | None:
    """The proxy of a valid configuration; None if it is somebody else's."""
    zeromq = config.cluster.zeromq
    if not (config.cluster.is_zeromq_node and zeromq.run_proxy):
        return None
    return ProxyPlan(
        read=zeromq.read,
        write=zeromq.write,
        secret_key_file=zeromq.curve_secret_key_file,
        client_public_key_file=zeromq.curve_client_public_key_file,
    )
