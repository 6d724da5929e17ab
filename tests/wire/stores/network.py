"""A master and clones with a network in between that loses, delays and cuts; time goes by ticks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from appliance.wire.names import NIL
from appliance.wire.stores.clone import Clone, CloneOptions
from appliance.wire.stores.codec import decode_store_message, encode_store_message
from appliance.wire.stores.commands import Entity
from appliance.wire.stores.content import Content
from appliance.wire.stores.master import Master
from appliance.wire.stores.outputs import Outgoing
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Value

TICK_NS = 100_000_000
MASTER = b"M" * 16


def namer(endpoint: bytes) -> Callable[[], Entity]:
    """Names that were never used."""
    numbers = iter(range(1, 1 << 30))
    return lambda: Entity(endpoint, next(numbers))


def key_of(value: Value) -> bytes:
    return encode(value, is_canonical=True)


def plain(content: Content) -> dict[Value, Value]:
    """A content as Python values."""
    return {decode(key): decode(value) for key, value in content.pairs()}


class _Packet(NamedTuple):
    due: int
    is_to_master: bool
    payload: bytes


class _Link:
    """Between the master's endpoint and one other: in order, but with delay, losses and cuts."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.is_cut = False
        self.loss = 0.0
        self.delay = 0
        self.packets: deque[_Packet] = deque()


class Network:
    """See the module. Messages are bytes on the way."""

    def __init__(self, clones: int, *, seed: int = 0, options: CloneOptions | None = None) -> None:
        self.now = 0
        self.random = random.Random(seed)
        self.new_master()
        self.links = [_Link(Clone(namer(bytes((i + 1,)) * 16), options)) for i in range(clones)]

    def new_master(self, content: Content | None = None) -> None:
        """The master starts again, with what it kept."""
        self.master = Master(Entity(MASTER, self.random.getrandbits(60) + 1), content or Content())

    @property
    def now_ns(self) -> int:
        return self.now * TICK_NS

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += 1
            self.master.tick(self.now_ns)
            for link in self.links:
                link.clone.tick()
            self.settle()

    def settle(self) -> None:
        """Carry what is due until nobody has anything to say."""
        while self._carry():
            pass

    def _carry(self) -> bool:
        step = self.master.take()
        for outgoing in step.messages if step else ():
            for link in self.links:
                if outgoing.endpoint in (NIL, link.clone.me.endpoint):
                    self._send(link, outgoing)
        for link in self.links:
            for outgoing in link.clone.take():
                if outgoing.endpoint in (NIL, MASTER):
                    self._send(link, outgoing)
        is_moved = False
        for link in self.links:
            while link.packets and link.packets[0].due <= self.now:
                packet = link.packets.popleft()
                is_moved = True
                message = decode_store_message(packet.payload)
                if packet.is_to_master:
                    self.master.receive(message, self.now_ns)
                else:
                    link.clone.receive(message)
        return is_moved

    def _send(self, link: _Link, outgoing: Outgoing) -> None:
        if link.is_cut or self.random.random() < link.loss:
            return
        payload = encode_store_message(outgoing.message)
        link.packets.append(_Packet(self.now + link.delay, outgoing.is_to_master, payload))
