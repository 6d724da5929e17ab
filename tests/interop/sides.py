"""Z: the other side of P, which is a real Zeek or an endpoint of ours; the same tests hold for both.

Where ours does otherwise on purpose, `Side` says so, and the tests ask it.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from appliance.model import EventBatch
from appliance.wire.names import EndpointId, endpoint_text
from appliance.zeek.messages import Event, decode_message
from tests.broker.harness import House, start, wait_until

from .journal import Journal
from .peer import note
from .zeek_process import ZeekProcess, open_zeek

__all__ = ["ApplianceSide", "Habits", "Side", "ZeekSide", "open_appliance", "open_zeek_side"]


class Habits(msgspec.Struct, frozen=True):
    """What is not the same in Broker and in ours."""

    removed: str
    """How it tells that it has ended a peering."""
    lost: str
    """How it tells that a peering has ended."""
    relayed_ttl: int
    """Of a message that came with a TTL of 16."""
    can_shrink: bool
    """Whether it takes a subscription back."""
    stalls: bool
    """Whether a message in the TLS record of the handshake's end waits for the next one."""
    takes_any_version: bool
    """Whether a peer whose ID is a UUID of a later version is one."""
    believes_remote_status: bool
    """Whether anybody may tell it of peers."""
    echoes_strangers: bool
    """Whether a forwarded message goes back to a peer that sent it in another name."""
    has_variables: bool
    """Whether an IdentifierUpdate changes something."""


BROKER = Habits(
    removed="peer_removed",
    lost="peer_lost",
    relayed_ttl=16,
    can_shrink=False,
    stalls=True,
    takes_any_version=False,
    believes_remote_status=True,
    echoes_strangers=True,
    has_variables=True,
)
OURS = Habits(
    removed="peer_gone",
    lost="peer_gone",
    relayed_ttl=15,
    can_shrink=True,
    stalls=False,
    takes_any_version=True,
    believes_remote_status=False,
    echoes_strangers=False,
    has_variables=False,
)


class Side(ABC):
    """Z. Its journal has ``peer_added`` and the end of peerings with the peer's ID, and ``note`` with the text."""

    habits: Habits
    journal: Journal
    tls: bool
    port: int
    id: EndpointId

    async def wait_added(self, peer: EndpointId, *, count: int = 1) -> None:
        await self.journal.wait("peer_added", endpoint_text(peer), count=count)

    async def wait_lost(self, peer: EndpointId, *, count: int = 1) -> None:
        await self.journal.wait(self.habits.lost, endpoint_text(peer), count=count)

    async def wait_removed(self, peer: EndpointId) -> None:
        await self.journal.wait(self.habits.removed, endpoint_text(peer))

    async def wait_gone(self, peer: EndpointId) -> None:
        """Whoever ended it."""
        await self.journal.wait(f"{self.habits.removed}|{self.habits.lost}", endpoint_text(peer))

    def added(self, peer: EndpointId) -> int:
        return len(self.journal.texts("peer_added", endpoint_text(peer)))

    async def notes(self, count: int) -> list[str]:
        """The texts of all notes that have come, at least that many."""
        return await self.journal.wait("note", count=count)

    @abstractmethod
    async def publish(self, topic: str, *texts: str) -> None:
        """Publish notes."""

    @abstractmethod
    async def subscribe(self, prefix: str) -> None: ...

    @abstractmethod
    async def unsubscribe(self, prefix: str) -> None: ...

    @abstractmethod
    async def dial(self, port: int) -> None:
        """Begin to dial an address, again and again."""

    @abstractmethod
    async def hang_up(self, port: int) -> None:
        """Begin to leave who is at that address, for good."""

    @abstractmethod
    def begin_stop(self) -> None:
        """Begin to leave everybody."""

    @abstractmethod
    async def wait_unreachable(self, count: int) -> None:
        """Wait until that many attempts to dial have failed."""


class ZeekSide(Side):
    """A process."""

    habits = BROKER

    def __init__(self, zeek: ZeekProcess, *, tls: bool) -> None:
        self.journal = self.zeek = zeek
        self.tls = tls
        self.id = uuid.UUID(zeek.texts("node")[0]).bytes
        self.port = int(zeek.texts("listening")[0].partition("/")[0])

    async def publish(self, topic: str, *texts: str) -> None:
        await self.zeek.command("publish", topic, *texts)

    async def subscribe(self, prefix: str) -> None:
        await self.zeek.command("subscribe", prefix)

    async def unsubscribe(self, prefix: str) -> None:
        await self.zeek.command("unsubscribe", prefix)

    async def dial(self, port: int) -> None:
        await self.zeek.command("peer", str(port), "1")

    async def hang_up(self, port: int) -> None:
        await self.zeek.command("unpeer", str(port))

    def begin_stop(self) -> None:
        self.zeek.begin_command("stop")

    async def wait_unreachable(self, count: int) -> None:
        await self.zeek.wait("error", "Broker::PEER_UNAVAILABLE", count=count)


class ApplianceSide(Side):
    """An endpoint of ours in this process, configured and reloaded as by its file."""

    habits = OURS

    def __init__(self, house: House, *, tls: bool) -> None:
        self.house, self.tls = house, tls
        self.journal = Journal()
        self.port = house.port
        self.id = uuid.UUID(house.figures.endpoint).bytes

    async def follow(self) -> None:
        """Put what arrives into the journal."""
        seen = 0
        while True:
            async with self.house.queue.lease(1_000_000) as parcel:
                self.house.items += parcel.items
                parcel.deliver(parcel.count)
            for item in self.house.items[seen:]:
                seen += 1
                if isinstance(item, EventBatch):
                    self._tell(item)

    def _tell(self, batch: EventBatch) -> None:
        for payload in batch.payloads():
            event = decode_message(payload)
            assert isinstance(event, Event)
            if not batch.peer:
                *_, peer = event.args
                kind = "peer_added" if event.name.endswith("established") else "peer_gone"
                self.journal.tell(kind, peer.decode() if isinstance(peer, bytes) else "")
            elif event.name == "Interop::note" and isinstance(event.args[0], bytes):
                self.journal.tell("note", event.args[0].decode())

    def _apply(self, **keys: Any) -> None:
        peering = self.house.changed(**keys)
        assert self.house.endpoint.apply(peering)
        self.house.peering = peering

    async def publish(self, topic: str, *texts: str) -> None:
        self.house.publish(topic, *(note(text) for text in texts))

    async def subscribe(self, prefix: str) -> None:
        self._apply(subscribe=(*self.house.peering.broker.subscribe, prefix))

    async def unsubscribe(self, prefix: str) -> None:
        self._apply(subscribe=tuple(each for each in self.house.peering.broker.subscribe if each != prefix))

    async def dial(self, port: int) -> None:
        self._apply(connect=(*self.house.peering.broker.connect, f"127.0.0.1:{port}"))

    async def hang_up(self, port: int) -> None:
        self._apply(connect=tuple(each for each in self.house.peering.broker.connect if each != f"127.0.0.1:{port}"))

    def begin_stop(self) -> None:
        self.house.endpoint.stop()

    async def wait_unreachable(self, count: int) -> None:
        await wait_until(lambda: self.house.figures.dialers[0].attempts > count)
        assert "cannot connect" in self.house.figures.dialers[0].last_error


@asynccontextmanager
async def open_appliance(
    folder: Path,
    *,
    tls: bool,
    subscribe: Sequence[str] = (),
    forward: bool = False,
    certificates: Path | None = None,
) -> AsyncIterator[ApplianceSide]:
    """An endpoint of ours. Its books are looked at when it has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    keys: dict[str, Any] = {"tls": "anonymous" if tls else "off"}
    if certificates is not None:
        files = {"certificate": "node.pem", "key": "node.key", "ca": "ca.pem"}
        keys = {"tls": "mutual", **{key: str(certificates / name) for key, name in files.items()}}
    house = House(folder, subscribe=tuple(subscribe), forward=forward, **keys)
    async with trio.open_nursery() as nursery:
        await start(nursery, house)
        side = ApplianceSide(house, tls=tls)
        async with trio.open_nursery() as followers:
            followers.start_soon(side.follow)
            yield side
            house.endpoint.stop()
            await wait_until(lambda: not house.peers)
            followers.cancel_scope.cancel()
    assert (house.books().queued, house.incoming.queued, house.outgoing.queued) == (0, 0, 0)


@asynccontextmanager
async def open_zeek_side(
    folder: Path,
    *,
    tls: bool,
    subscribe: Sequence[str] = (),
    forward: bool = False,
    certificates: Path | None = None,
    script: str = "node.zeek",
    redefs: dict[str, str] | None = None,
) -> AsyncIterator[ZeekSide]:
    """A Zeek that listens."""
    files = {"ssl_certificate": "node.pem", "ssl_keyfile": "node.key", "ssl_cafile": "ca.pem"}
    given = {
        "Broker::disable_ssl": "F" if tls else "T",
        "Broker::forward_messages": "T" if forward else "F",
        **({f"Broker::{key}": f'"{certificates / name}"' for key, name in files.items()} if certificates else {}),
        **(redefs or {}),
    }
    env = {"INTEROP_LISTEN": "yes", "INTEROP_SUBSCRIBE": ",".join(subscribe)}
    async with open_zeek(folder, script, redefs=given, env=env) as zeek:
        yield ZeekSide(zeek, tls=tls)
