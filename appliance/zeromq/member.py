"""Our node as one of a cluster: what it subscribes to, how it greets, and what it hears.

Presence itself is in `appliance.wire`; here its actions become subscriptions, messages and items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from appliance.cluster.roster import Roster
from appliance.config import Membership
from appliance.model import Item
from appliance.wire.presence import HELLO, Action, Note, Publish, hello_of
from appliance.wire.presence_zeromq import Ready, Subscribe, ZeromqAction, ZeromqPresence
from appliance.wire.zeromq_events import Subscription
from appliance.zeek.convert import to_text
from appliance.zeek.messages import Event

__all__ = ["ClusterMember"]

log = structlog.get_logger("cluster")


class ClusterMember:
    """See the module.

    Args:
        membership: who we are, and who there is.
        announces: whether we take part in presence.
        node_id: our ID.
        subscribe: takes a topic and whether it is wanted.
        publish: sends an event, whether somebody listens or not.
        tell: hands an item on, without waiting.
        clock_ns: wall time.
    """

    def __init__(
        self,
        membership: Membership,
        *,
        announces: bool,
        node_id: str,
        subscribe: Callable[[str, bool], None],
        publish: Callable[[str, Event], None],
        tell: Callable[[Item], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._subscribe, self._publish, self._tell, self._clock_ns = subscribe, publish, tell, clock_ns
        self.roster = Roster(membership, announced=announces, clock_ns=clock_ns)
        self.roster.open(node_id)
        self._presence = ZeromqPresence(self.roster.table, announces=announces)

    @property
    def is_ready(self) -> bool:
        """Whether what is published reaches whoever has subscribed to it."""
        return self._presence.is_ready

    @property
    def own_topics(self) -> tuple[str, ...]:
        """Without which we are down for the others."""
        return self._presence.own_topics

    def start(self) -> None:
        """Subscribe to our own topics, and find out when everybody knows."""
        self._obey(self._presence.start())

    def hear_subscription(self, subscription: Subscription) -> None:
        """Somebody has begun or ended to listen."""
        if subscription.is_on:
            self._obey(self._presence.subscription(subscription.topic, self._clock_ns()))
            return
        self.roster.forget(self.roster.table.topics.id_of(subscription.topic) or "")
        self._obey(self._presence.unsubscription(subscription.topic))

    def hear_hello(self, event: Event, sender: str) -> None:
        """Take an event that is about presence."""
        if event.name == HELLO and (who := hello_of(event)) is not None:
            name, node_id = who
            self.roster.remember(node_id, name)
        self._obey(self._presence.receive(event, sender, self._clock_ns()))

    @property
    def deadline_ns(self) -> int | None:
        """When `expire` has something to do; None: never."""
        return self._presence.deadline_ns

    def expire(self) -> None:
        """Give up halves of greetings that have waited long enough."""
        self._obey(self._presence.expire(self._clock_ns()))

    def note(self, note: Note) -> None:
        """A line of ``cluster.log``, or something odd."""
        if (item := self.roster.take(note)) is not None:
            self._tell(item)

    def change(self, membership: Membership) -> None:
        """Take over another layout; see `Roster.change`."""
        news = self.roster.change(membership)
        self._presence.table = self.roster.table
        for item in news:
            self._tell(item)

    def _obey(self, actions: Iterable[ZeromqAction | Action]) -> None:
        for action in actions:
            match action:
                case Subscribe(topic, is_on):
                    self._subscribe(topic, is_on)
                case Publish(topic, event):
                    self._publish(topic, event)
                case Ready():
                    log.info("the cluster hears us", node=to_text(self.roster.membership.name))
                case _:
                    if (item := self.roster.take(action)) is not None:
                        self._tell(item)
