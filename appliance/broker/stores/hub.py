"""Between the stores and the endpoint: commands in, commands out, and who is there."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from appliance.wire.names import EndpointId
from appliance.wire.stores.codec import decode_store_message, encode_store_message
from appliance.wire.stores.commands import AckClone, Entity, StoreMessage, clone_topic, master_topic
from appliance.wire.stores.master import MANY
from appliance.wire.stores.outputs import Outgoing
from appliance.wire.stores.snapshot import Snapshot

__all__ = ["Carrier", "Loaded", "StoreHub", "StoreTaker"]

LARGE = 256 << 10
"""Bytes of a command that is better read somewhere else than in the loop."""

Loaded = tuple[StoreMessage, Snapshot | None]
"""A command, and if it is a snapshot for a clone, what that makes of it."""


class StoreTaker(Protocol):
    """One store, as the hub sees it."""

    name: str

    @property
    def is_master(self) -> bool: ...

    def take(self, message: StoreMessage) -> None:
        """A command has come."""
        ...

    def load(self, payload: bytes) -> Loaded:
        """Read a large command; called in a thread.

        Raises:
            RemoteProtocolError: it is none.
        """
        ...

    def take_loaded(self, loaded: Loaded) -> None:
        """It has come, and is read."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether so much waits, e.g. for the disk, that no more should come."""
        ...

    async def wait_room(self) -> None:
        """Wait until it is busy no more."""
        ...

    def lose(self, endpoint: EndpointId) -> None:
        """A peer is gone."""
        ...

    def found(self) -> None:
        """A peer has come, or wants other topics."""
        ...

    def moved(self) -> None:
        """Our endpoint has another ID now."""
        ...


class Carrier(Protocol):
    """Our endpoint, as the hub sees it."""

    def send_command(self, topic: str, receiver: EndpointId, payload: bytes) -> int:
        """Queue a command for one peer, or for all that want its topic; returns for how many."""
        ...

    def listeners(self, topic: str) -> tuple[EndpointId, ...]:
        """Which peers want exactly this topic."""
        ...

    def topics_changed(self) -> None:
        """The stores listen to other topics now."""
        ...


class StoreHub:
    """See the module. There is one, whether there is an endpoint or not."""

    def __init__(self) -> None:
        self.me: EndpointId = uuid.uuid4().bytes
        self._numbers = 0
        self._carrier: Carrier | None = None
        self._takers: dict[str, StoreTaker] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """What the stores listen to."""
        return tuple(self._takers)

    def new_entity(self) -> Entity:
        """A name that was never used."""
        self._numbers += 1
        return Entity(self.me, self._numbers)

    # ── the stores ──

    @contextmanager
    def joined(self, taker: StoreTaker) -> Iterator[None]:
        """A store takes part as long as this lasts.

        Raises:
            ValueError: another one listens to the same.
        """
        topic = master_topic(taker.name) if taker.is_master else clone_topic(taker.name)
        if topic in self._takers:
            raise ValueError(f"there is a store {taker.name!r} of that role already")
        self._takers[topic] = taker
        self._tell_carrier()
        try:
            yield
        finally:
            del self._takers[topic]
            self._tell_carrier()

    async def send_all(self, name: str, messages: Iterable[Outgoing]) -> None:
        """As `send`, but a large snapshot is written in a thread. A checkpoint only if there is one."""
        for outgoing in messages:
            command = outgoing.message.command
            if isinstance(command, AckClone) and len(command.entries) > MANY and self._carrier is not None:
                payload = await trio.to_thread.run_sync(encode_store_message, outgoing.message)
                if self._carrier is not None:  # it may have gone meanwhile
                    self._carrier.send_command(clone_topic(name), outgoing.endpoint, payload)
            else:
                self.send(name, (outgoing,))

    def send(self, name: str, messages: Iterable[Outgoing]) -> None:
        """Pass on what a store has to say; what nobody can hear is gone, which the protocol mends."""
        carrier = self._carrier
        if carrier is None:
            return
        for outgoing in messages:
            topic = master_topic(name) if outgoing.is_to_master else clone_topic(name)
            carrier.send_command(topic, outgoing.endpoint, encode_store_message(outgoing.message))

    def masters(self, name: str) -> tuple[EndpointId, ...]:
        """Peers that have a master of a store."""
        return () if self._carrier is None else self._carrier.listeners(master_topic(name))

    # ── the endpoint ──

    @contextmanager
    def carried(self, carrier: Carrier, me: EndpointId) -> Iterator[None]:
        """The endpoint runs."""
        self._carrier, self.me = carrier, me
        for taker in list(self._takers.values()):
            taker.moved()
        try:
            yield
        finally:
            self._carrier = None

    async def take(self, topic: str, payload: bytes) -> StoreTaker | None:
        """A command has come; returns the store that it was for, if there is one. A checkpoint only if it is large.

        Raises:
            RemoteProtocolError: it is none.

        Cancellation: it may not have been taken.
        """
        taker = self._takers.get(topic)
        if taker is None:
            return None
        if len(payload) <= LARGE:
            taker.take(decode_store_message(payload))
        else:
            taker.take_loaded(await trio.to_thread.run_sync(taker.load, payload))
        return taker

    def peer_came(self) -> None:
        """Or it wants other topics."""
        for taker in list(self._takers.values()):
            taker.found()

    def peer_left(self, endpoint: EndpointId) -> None:
        for taker in list(self._takers.values()):
            taker.lose(endpoint)

    def _tell_carrier(self) -> None:
        if self._carrier is not None:
            self._carrier.topics_changed()
