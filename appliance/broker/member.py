"""Our endpoint as a node of a cluster: its greetings, and what it hears.

Presence itself is in `appliance.wire`; here its actions become messages and items.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from appliance.cluster.roster import Roster
from appliance.config import Membership
from appliance.errors import RemoteProtocolError
from appliance.model import EventBatch, Item
from appliance.wire.presence import Action, Note, Publish, hello_of
from appliance.wire.presence_broker import BrokerPresence
from appliance.zeek.messages import Event, decode_message

__all__ = ["ClusterMember"]

_USELESS = ("bad_hello", "foreign_hello")


class ClusterMember:
    """See the module.

    Args:
        membership: who we are, and who there is.
        tell: hands an item on.
        publish: queues an event for all peers that want its topic.
        clock_ns: wall time.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        tell: Callable[[Item], Awaitable[None]],
        publish: Callable[[str, Event], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._tell, self._publish = tell, publish
        self.roster = Roster(membership, announced=membership.announce, clock_ns=clock_ns)
        self.open("")

    def open(self, me: str) -> None:
        """Begin anew, with this ID of our endpoint."""
        self.roster.open(me)
        self._build()

    def _build(self) -> None:
        member = self.roster.membership
        self._presence = BrokerPresence(self.roster.table)
        own = self._presence.own_topics if member.announce else ()
        self._hello_topics = frozenset(own)
        self.topics: tuple[str, ...] = (*member.role_topics, *own)
        """What we subscribe to, as one of our role and name."""

    def name_of(self, peer: str) -> str:
        """The node that a peer is; empty if it has not said hello."""
        return self.roster.table.name_of(peer) or ""

    def greeting_for(self, peer: str) -> Publish | None:
        """What to send to a new peer as soon as it wants the topic; None if we keep silent."""
        if not self.roster.membership.announce:
            return None
        (hello,) = self._presence.peer_added(peer)
        assert isinstance(hello, Publish)
        return hello

    async def hear(self, batch: EventBatch) -> None:
        """Take events that may be hellos."""
        if batch.topic not in self._hello_topics:
            return
        for payload in batch.payloads():
            try:
                event = decode_message(payload)
            except RemoteProtocolError:
                continue
            if isinstance(event, Event):
                actions = self._presence.receive(event, batch.peer)
                is_useless = any(isinstance(each, Note) and each.reason in _USELESS for each in actions)
                if not is_useless and (who := hello_of(event)) is not None:
                    self.roster.remember(batch.peer, who[0])
                await self._act(actions)

    async def peer_gone(self, peer: str) -> None:
        """A peering has ended."""
        self.roster.forget(peer)
        actions: list[Action] = []
        while lost := self._presence.peer_gone(peer):  # one peer may have been up under two names
            actions += lost
        await self._act(actions)

    def change(self, membership: Membership) -> list[Item]:
        """Take over another layout; see `Roster.change`."""
        news = self.roster.change(membership)
        self._build()
        return news

    async def note(self, message: str) -> None:
        """Write a line of our own ``cluster.log``."""
        await self._tell(self.roster.line(message))

    async def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Publish):
                self._publish(action.topic, action.event)
            elif (item := self.roster.take(action)) is not None:
                await self._tell(item)
