"""Our peers as those who get what is published, announced, relayed, and asked of stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from appliance.runtime.outlet import Published
from appliance.wire.names import NIL, EndpointId
from appliance.wire.node_messages import DEFAULT_TTL, MessageKind, NodeMessage, data_frame, encode_node_message

from .peer import Peer
from .publishing import Announcements, objection_to
from .topics import Topics

__all__ = ["Audience"]


class Audience:
    """See the module. Nothing here waits: each peer has a queue of its own.

    Args:
        topics: ours, and what may be published.
        max_message: bytes of a message.
    """

    def __init__(self, topics: Topics, max_message: int) -> None:
        self._topics = topics
        self.max_message = max_message
        self.me: EndpointId = NIL
        """Whoever publishes."""
        self._peers: dict[EndpointId, Peer] = {}
        self._announcements = Announcements()

    # ── who is there ──

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        """Those that are there now; more may come and go meanwhile."""
        return iter(list(self._peers.values()))

    def __contains__(self, endpoint: object) -> bool:
        return endpoint in self._peers

    def add(self, peer: Peer) -> None:
        """A peer is there; it gets what has been announced and it wants."""
        self._peers[peer.id] = peer
        self.announce_to(peer)

    def remove(self, peer: Peer) -> None:
        del self._peers[peer.id]

    def listeners(self, topic: str) -> tuple[EndpointId, ...]:
        """Which peers want exactly this topic."""
        return tuple([peer.id for peer in self._peers.values() if peer.lists(topic)])

    def _present(self) -> list[Peer]:
        return [peer for peer in self._peers.values() if not peer.is_leaving]

    # ── what they get ──

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        """See `appliance.runtime.outlet.Publisher`."""
        if refused := self._objection_to(topic, messages):
            return Published(0, refused)
        peers = self._present()
        if unsolicited:
            for peer in peers:
                peer.queue.put([data_frame(self.me, topic, each, receiver=peer.id) for each in messages])
            return Published(len(peers), "" if peers else "no_peer")
        wanting = [peer for peer in peers if peer.wants(topic)]
        if not wanting:
            return Published(0, "no_subscriber" if peers else "no_peer")
        self._put(wanting, topic, messages)
        return Published(len(wanting))

    def publish_own(self, topic: str, message: bytes) -> None:
        """Send what is of ourselves, whatever may be published."""
        self._put([peer for peer in self._present() if peer.wants(topic)], topic, [message])

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        """See `appliance.runtime.outlet.Publisher`."""
        if refused := self._objection_to(topic, [message]):
            return Published(0, refused)
        self._announcements.put(key, topic, message, unsolicited=unsolicited)
        peers = self._present()
        told = sum(self.announce_to(peer) for peer in peers)
        return Published(told, "" if told else "no_subscriber" if peers else "no_peer")

    def announce_to(self, peer: Peer) -> bool:
        """Queue what the peer has not heard and wants now, or shall hear in any case; returns whether there was any."""
        told = False
        for key, topic, message, unsolicited in list(self._announcements.news_for(peer.announced)):
            if unsolicited or peer.wants(topic):
                peer.announced[key] = message
                peer.queue.put([data_frame(self.me, topic, message, receiver=peer.id if unsolicited else NIL)])
                told = True
        return told

    def relay(self, source: Peer, topic: str, payloads: Sequence[bytes], ttl: int) -> None:
        """Pass on what `source` has sent."""
        # Broker writes a new TTL at each hop, so this ends circles of our own only.
        if ttl > 1 and topic:
            peers = [peer for peer in self._present() if peer is not source and peer.wants(topic)]
            self._put(peers, topic, payloads, ttl=ttl - 1)

    def send_command(self, topic: str, receiver: EndpointId, payload: bytes) -> int:
        """Queue a command of a store for one peer, or for all that want its topic; returns for how many."""
        if receiver == NIL:
            peers = [peer for peer in self._present() if peer.wants(topic)]
        else:
            peers = [self._peers[receiver]] if receiver in self._peers else []
        if peers:
            message = NodeMessage(
                sender=self.me, receiver=receiver, kind=MessageKind.COMMAND, topic=topic, payload=payload
            )
            frame = encode_node_message(message)
            for peer in peers:
                peer.queue.put((frame,))
        return len(peers)

    def tell_filter(self) -> None:
        """Our topics have changed."""
        for peer in self._peers.values():
            peer.tell_filter(self._topics.advertised)

    def _objection_to(self, topic: str, messages: Sequence[bytes]) -> str:
        return objection_to(topic, messages, topics=self._topics, max_message=self.max_message)

    def _put(self, peers: Sequence[Peer], topic: str, messages: Iterable[bytes], *, ttl: int = DEFAULT_TTL) -> None:
        if peers:
            frames = [data_frame(self.me, topic, message, ttl=ttl) for message in messages]
            for peer in peers:
                peer.queue.put(frames)
