"""Presence on Broker: hello on every new peering, in both directions.

Source: Zeek, ``scripts/base/frameworks/cluster/setup-connections.zeek`` and ``main.zeek``, events
``Broker::peer_added`` and ``Broker::peer_lost``.
"""

from __future__ import annotations

from appliance.wire.presence import HELLO, Action, NodeTable, Note, hello_of, shown
from appliance.zeek.messages import Event

__all__ = ["BrokerPresence"]


class BrokerPresence:
    """What to do on peerings and hellos.

    Args:
        table: of nodes, with our endpoint's ID as text for its ID: by that the others notice that we have gone.
    """

    def __init__(self, table: NodeTable) -> None:
        self.table = table

    @property
    def own_topics(self) -> tuple[str, ...]:
        """What we must be subscribed to before the first peering, or hellos pass us by."""
        return self.table.topics.own_topics(self.table.name, self.table.node_id)

    def peer_added(self, peer_id: str) -> list[Action]:
        """A peering has begun, whoever dialled."""
        return [self.table.greet(peer_id)]

    def peer_gone(self, peer_id: str) -> list[Action]:
        """A peering has ended, by whomever: unlike Zeek, which leaves a node up that it has unpeered from itself."""
        return self.table.lost(peer_id)

    def receive(self, event: Event, peer_id: str = "") -> list[Action]:
        """Take an event that came on one of `own_topics`; those that are not about presence are left alone.

        Args:
            event: what came.
            peer_id: of the peer that sent it. Unlike Zeek we believe nobody who says hello for somebody else: the end
                of the peering would not be the end of that node. Empty: believe it.
        """
        if event.name != HELLO:
            return []
        who = hello_of(event)
        if who is None:
            return [Note(f"a {HELLO} without name and ID", "bad_hello")]
        if peer_id and who[1] != peer_id:
            return [Note(f"{shown(peer_id)} says hello for {shown(who[0])!r} ({shown(who[1])})", "foreign_hello")]
        return self.table.hello(*who)
