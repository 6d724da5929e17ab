"""The endpoint's place in a cluster, if it has one: the member, its subscriptions, and its hellos to peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio
from msgspec.structs import replace

from appliance.cluster.figures import ClusterFigures
from appliance.config import Broker, Membership
from appliance.model import Item
from appliance.runtime.outlet import PoolKey
from appliance.wire.names import EndpointId, endpoint_text
from appliance.wire.node_messages import data_frame
from appliance.zeek.messages import Event, encode_message

from .delivery import Delivery
from .figures import PeerFigures
from .member import ClusterMember
from .peer import Peer
from .topics import Topics

__all__ = ["ClusterPlace"]


class ClusterPlace:
    """See the module. Without a membership it does nothing.

    Args:
        membership: who we are.
        delivery: lets us hear of hellos, and hands on what we tell.
        topics: get ours.
        publish: queues an event for all peers that want its topic.
        clock_ns: wall time.
    """

    def __init__(
        self,
        membership: Membership | None,
        *,
        delivery: Delivery,
        topics: Topics,
        publish: Callable[[str, bytes], object],
        clock_ns: Callable[[], int],
    ) -> None:
        self._delivery, self._topics = delivery, topics
        self._member: ClusterMember | None = None
        self._me = b""
        if membership is not None:

            def publish_event(topic: str, event: Event) -> None:
                publish(topic, encode_message(event))

            self._member = ClusterMember(membership, tell=delivery.tell, publish=publish_event, clock_ns=clock_ns)
            delivery.hear = self._member.hear

    def statistics(self) -> ClusterFigures | None:
        return None if self._member is None else self._member.roster.statistics()

    def figures_of(self, peer: Peer) -> PeerFigures:
        """A peer's figures, with the name of the node that it is."""
        figures = peer.statistics()
        return figures if self._member is None else replace(figures, node=self._member.name_of(peer.name))

    def open(self, me: EndpointId) -> None:
        """Begin, before anybody is a peer: else hellos would pass us by."""
        self._me = me
        if self._member is not None:
            self._member.open(endpoint_text(me))
            self._topics.ask(self._member.topics)

    def close(self) -> None:
        """The end of `open`."""
        if self._member is not None:
            self._topics.forgo(self._member.topics)

    async def note_start(self, table: Broker, bound: Sequence[str]) -> None:
        """Tell what Zeek's nodes write into ``cluster.log`` at their start."""
        if self._member is not None:
            for address in bound:
                await self._member.note(f"listening on {address}")
            for address in table.connect:
                await self._member.note(f"initiate peering with {address}, retry={table.retry_interval}, status=T")

    def can_become(self, membership: Membership | None) -> bool:
        """Whether `change` can be done while peers stay."""
        if self._member is None or membership is None:
            return self._member is None and membership is None
        return self._member.roster.can_become(membership)

    def change(self, membership: Membership | None, nursery: trio.Nursery | None) -> bool:
        """Take over another layout; returns whether peers are to be told of topics."""
        if self._member is None or membership is None or self._member.roster.membership == membership:
            return False
        before = self._member.topics
        news = self._member.change(membership)
        if nursery is not None:
            nursery.start_soon(self._tell, news)
        is_told = self._topics.ask(self._member.topics)
        return self._topics.forgo(before) or is_told

    async def _tell(self, news: Sequence[Item]) -> None:
        for item in news:
            await self._delivery.tell(item)

    def greet(self, peer: Peer) -> None:
        """Say hello to a peer, once, as soon as it listens."""
        hello = None if self._member is None or peer.is_greeted else self._member.greeting_for(peer.name)
        if hello is not None and peer.wants(hello.topic):
            peer.is_greeted = True
            peer.queue.put([data_frame(self._me, hello.topic, encode_message(hello.event))])

    async def peer_gone(self, peer: Peer) -> None:
        """A peering has ended."""
        if self._member is not None:
            await self._member.peer_gone(peer.name)

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """See `Publisher.pool_topic`."""
        return "" if self._member is None else self._member.roster.pool_topic(pool, key, by_hash=by_hash)
