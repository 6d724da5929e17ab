"""Stand-ins for doors, consumers and services that keep to the same protocols as the real ones, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import trio

from appliance.config import (
    Api,
    CaptureGroup,
    Cluster,
    Evidence,
    Hook,
    Metrics,
    NodePlan,
    Peering,
    ProxyPlan,
    Recorder,
    Sink,
    StorePlan,
    Tail,
    Uids,
    Watch,
    Websocket,
    Zmq,
)
from appliance.errors import ApplianceError
from appliance.hook_parts import SitesTable
from appliance.model import EventBatch, LogBatch
from appliance.parts import Parts, Prepared, Table, Unit
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Account
from appliance.runtime.outlet import PoolKey, Published
from appliance.runtime.queue import ItemQueue

__all__ = [
    "FakeConsumer",
    "FakeDoor",
    "FakeParts",
    "FakePublisher",
    "FakeService",
    "Life",
    "batch",
    "event_batch",
    "is_balanced",
    "numbers_in",
]


def batch(first: int, count: int, *, path: str = "conn", source: str = "zmq.a") -> LogBatch:
    """Records numbered from `first`, seven bytes each."""
    data = b"".join(b"%06d\n" % number for number in range(first, first + count))
    return LogBatch(path=path, source=source, data=data, count=count)


def event_batch(first: int, count: int) -> EventBatch:
    """Events numbered from `first`, seven bytes each; to be counted, not to be decoded."""
    data = b"".join((3).to_bytes(4) + number.to_bytes(3) for number in range(first, first + count))
    return EventBatch(name="My::event", topic="t", source="broker", data=data, count=count, received_ns=1)


def numbers_in(item: object) -> list[int]:
    """The numbers of a batch's records."""
    if isinstance(item, EventBatch):
        numbers = [int.from_bytes(payload) for payload in item.payloads()]
        assert len(numbers) == item.count
        return numbers
    assert isinstance(item, LogBatch)
    assert item.data.count(b"\n") == item.count
    return [int(row) for row in item.rows()]


def is_balanced(*accounts: Account) -> bool:
    """Whether every record is delivered, dropped or queued."""
    return all(account.statistics().imbalance == 0 and account.queued >= 0 for account in accounts)


class Life(msgspec.Struct, kw_only=True):
    """How one run of a `FakeService` goes."""

    start_s: float = 0.0
    """Until it is ready."""
    start_error: BaseException | None = None
    is_never_ready: bool = False
    """It returns without having been ready."""
    live_s: float = math.inf
    """From there until it ends by itself."""
    error: BaseException | None = None
    """How it ends then; None: it returns."""
    exit_error: BaseException | None = None
    """What its cleaning up raises, whatever ended it."""
    exit_s: float = 0.0
    """How long its cleaning up takes; it does not let itself be cancelled in it."""
    ignores_stop: bool = False


class FakeService:
    """Lives the given lives, one for each run, and the last one again and again."""

    def __init__(self, *lives: Life) -> None:
        self.lives = list(lives) or [Life()]
        self.runs = self.stops = 0
        self.began: list[float] = []
        self.is_open = False
        self._stopped = trio.Event()

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        life = self.lives[min(self.runs, len(self.lives) - 1)]
        self.runs += 1
        self.began.append(trio.current_time())
        assert not self.is_open
        self.is_open = True
        try:
            await trio.sleep(life.start_s)
            if life.start_error is not None:
                raise life.start_error
            if life.is_never_ready:
                return
            task_status.started()
            with trio.move_on_after(life.live_s) as scope:
                await (trio.Event() if life.ignores_stop else self._stopped).wait()
            if scope.cancelled_caught and life.error is not None:
                raise life.error
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(life.exit_s)
            self.is_open = False
            if life.exit_error is not None:
                raise life.exit_error


class FakeConsumer:
    """Delivers what it leases, one record after the other; `each_s` for each."""

    def __init__(self, queue: ItemQueue, *, lease: int = 4, each_s: float = 0.0) -> None:
        self.queue = queue
        self.lease = lease
        self.each_s = each_s
        self.numbers: list[int] = []
        self.start_error: Exception | None = None
        self.start_s = 0.0
        self.is_running = False

    def stop(self) -> None:
        self.queue.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep(self.start_s)
        if self.start_error is not None:
            raise self.start_error
        task_status.started()
        self.is_running = True
        try:
            while True:
                async with self.queue.lease(self.lease) as parcel:
                    for number in [n for item in parcel.items for n in numbers_in(item)]:
                        await trio.sleep(self.each_s)
                        parcel.deliver(1)
                        self.numbers.append(number)
        except trio.EndOfChannel:
            return
        finally:
            self.is_running = False


class FakeDoor:
    """Occupies its addresses in `occupied` while it runs, and hands over what it is fed with."""

    def __init__(
        self,
        key: str,
        table: (
            Zmq
            | Websocket
            | Cluster
            | NodePlan
            | ProxyPlan
            | Tail
            | Watch
            | CaptureGroup
            | Recorder
            | Peering
            | StorePlan
        ),
        account: Account,
        dispatcher: Dispatcher,
        occupied: set[str],
    ):
        self.key = key
        self.table = table
        self.start_error: Exception | None = None
        self.stop_s = 0.0
        self.is_running = False
        self.runs = 0
        self.fed: trio.MemorySendChannel[LogBatch]
        self._account = account
        self._dispatcher = dispatcher
        self._occupied = occupied
        self.fed, self._food = trio.open_memory_channel[LogBatch](1000)

    def stop(self) -> None:
        self.fed.close()

    def apply(self, table: Zmq | CaptureGroup) -> bool:
        """A Zmq door changes its paths while it runs, as the real one does."""
        if not isinstance(self.table, Zmq) or not isinstance(table, Zmq):
            return False
        if msgspec.structs.replace(self.table, logs=table.logs) != table:
            return False
        self.table = table
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.runs += 1
        addresses = set(self.table.bind) if isinstance(self.table, Zmq) else set()
        if isinstance(self.table, CaptureGroup):
            addresses = {f"udp:{self.table.first.address[1]}"}
        if self.start_error is not None:
            raise self.start_error
        if addresses & self._occupied:
            raise ApplianceError(f"cannot bind {min(addresses & self._occupied)}: Address already in use")
        self._occupied |= addresses
        self.is_running = True
        try:
            task_status.started()
            async for item in self._food:
                self._account.received += item.count
                await self._dispatcher.dispatch(item, self._account, patience_s=5.0)
            await trio.sleep(self.stop_s)
        finally:
            self.is_running = False
            self._occupied -= addresses


class FakePublisher:
    """Keeps what it is given, for as many peers as a test says, all of which asked for everything."""

    def __init__(self, *, peers: int = 1) -> None:
        self.peers = peers
        self.refusal = ""
        """Why it refuses everything."""
        self.max_message = 1 << 20
        self.published: list[tuple[str, bytes]] = []
        """Topics and messages in order, announcements included."""
        self.calls: list[tuple[str, int, bool]] = []
        """Topic, number of messages and `unsolicited` of each call of `publish`."""
        self.announced: dict[str, tuple[str, bytes]] = {}
        self.prefixes: list[str] = []
        """Asked for now."""
        self.asked = trio.Event()
        """Somebody has asked for some."""

    def _refuse(self, messages: Sequence[bytes]) -> str:
        too_large = any(len(message) > self.max_message for message in messages)
        return self.refusal or ("too_large" if too_large else "" if self.peers else "no_peer")

    def publish(self, topic: str, messages: Sequence[bytes], *, unsolicited: bool = False) -> Published:
        self.calls.append((topic, len(messages), unsolicited))
        if refused := self._refuse(messages):
            return Published(0, refused)
        self.published += [(topic, message) for message in messages]
        return Published(self.peers)

    def announce(self, key: str, topic: str, message: bytes, *, unsolicited: bool = False) -> Published:
        refused = self._refuse([message])
        if refused in ("", "no_peer"):
            self.announced[key] = (topic, message)
        if refused:
            return Published(0, refused)
        self.published.append((topic, message))
        return Published(self.peers)

    def pool_topic(self, pool: str, key: PoolKey, *, by_hash: bool) -> str:
        """Says what was asked for, as long as there is anybody."""
        if pool not in ("worker", "proxy", "logger"):
            raise ValueError(f"{pool!r} is no pool")
        return f"{'hrw' if by_hash else 'rr'}/{pool}/{key!r}" if self.peers else ""

    @contextmanager
    def subscribed(self, prefixes: Sequence[str]) -> Iterator[None]:
        self.prefixes += prefixes
        self.asked.set()
        try:
            yield
        finally:
            for prefix in prefixes:
                self.prefixes.remove(prefix)


class FakeParts(Parts):
    """Builds fakes, remembers them, and lets a test spoil each before it starts."""

    def __init__(self, *, spoil: Callable[[Unit], None] = lambda _: None, **more: Any) -> None:
        super().__init__(**more)
        self.spoil = spoil
        self.occupied: set[str] = set()
        self.made: list[Unit] = []

    def make(self, key: str, table: Table, prepared: Prepared) -> Unit:
        queue: ItemQueue | None = None
        service: FakeConsumer | FakeDoor | FakeService
        if isinstance(table, Hook | Sink | Evidence | Uids):
            policy = "drop_oldest" if isinstance(table, Uids) else table.queue
            queue = ItemQueue(
                self._ledger.account(key),
                policy="drop_newest" if policy == "durable" else policy,
                max_records=table.queue_size,
                max_bytes=int(table.queue_bytes),
            )
            service = FakeConsumer(queue)
        elif isinstance(table, Api):
            service = FakeService()
        else:
            assert not isinstance(table, SitesTable | Metrics)
            service = FakeDoor(key, table, self._ledger.account(key), self._dispatcher, self.occupied)
        unit = Unit(key=key, table=table, service=service, queue=queue)
        self.made.append(unit)
        self.spoil(unit)
        return unit
