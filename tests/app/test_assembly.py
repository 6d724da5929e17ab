"""The running units: start, drain, and a change as a transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from structlog.typing import EventDict
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.parts import Unit
from tests.fakes import batch

Opened = Callable[[], AbstractAsyncContextManager[Any]]


def zmq(name: str, port: int, more: str = "") -> str:
    return f'[[zmq]]\nname = "{name}"\nbind = ["tcp://127.0.0.1:{port}"]\n{more}\n'


def sink(name: str, more: str = "") -> str:
    return f'[[sink]]\nname = "{name}"\non = ["log:*"]\npath = "{name}/{{path}}.log"\n{more}\n'


def services(house: Any) -> dict[str, Any]:
    return {key: unit.service for key, unit in house.units.items()}


BASE = sink("a") + sink("b") + zmq("a", 5001) + zmq("b", 5002)
OCCUPIED = {"tcp://127.0.0.1:5001", "tcp://127.0.0.1:5002"}


# ── start and drain ──


async def test_consumers_start_before_doors(files: Any, open_house: Opened) -> None:
    """Nobody sends before somebody takes."""
    async with open_house() as house:
        await house.assembly.start(files.read(zmq("a", 5001) + sink("a")))
        assert list(house.units) == ["sink.a", "api", "zmq.a"]
        house.door("zmq.a").fed.send_nowait(batch(0, 5))
        await wait_all_tasks_blocked()
        assert house.consumer("sink.a").numbers == [0, 1, 2, 3, 4]


async def test_a_start_that_fails_leaves_the_rest_to_drain(files: Any, open_house: Opened) -> None:
    """What the door that did start has received is not lost."""
    async with open_house() as house:
        house.break_start("zmq.b")
        with pytest.raises(OSError, match="broken"):
            await house.assembly.start(files.read(BASE))
        assert list(house.units) == ["sink.a", "sink.b", "api", "zmq.a"]
        house.door("zmq.a").fed.send_nowait(batch(0, 5))
        consumer = house.consumer("sink.a")
        await house.assembly.drain(10.0)
        assert consumer.numbers == [0, 1, 2, 3, 4]
        assert house.units == {}


async def test_a_consumer_that_does_not_start_holds_nothing(files: Any, open_house: Opened) -> None:
    """Its queue leaves the account."""
    async with open_house() as house:
        house.break_start("sink.a")
        with pytest.raises(OSError, match="broken"):
            await house.assembly.start(files.read(BASE))
        assert house.ledger.account("sink.a")._holders == []


async def test_drain_delivers_everything_in_time(files: Any, open_house: Opened, autojump_clock: MockClock) -> None:
    """Doors first, then consumers."""
    async with open_house() as house:
        await house.assembly.start(files.read(BASE + sink("c", "queue_size = 10")))
        for key in ("sink.a", "sink.c"):
            house.consumer(key).each_s = 0.1
        consumers = [house.consumer(key) for key in ("sink.a", "sink.b", "sink.c")]
        for first in range(0, 60, 20):
            house.door("zmq.a").fed.send_nowait(batch(first, 20))
        await wait_all_tasks_blocked()
        await house.assembly.drain(10.0)
        assert trio.current_time() == pytest.approx(6.0, abs=0.1)
        assert [consumer.numbers for consumer in consumers] == [list(range(60))] * 3
        assert house.ledger.lost == 0


async def test_drain_ends_at_its_deadline(files: Any, open_house: Opened, autojump_clock: MockClock) -> None:
    """What is left is dropped for shutdown, whoever is to blame."""
    async with open_house() as house:
        await house.assembly.start(files.read(BASE))
        house.door("zmq.b").stop_s = 7.0
        house.consumer("sink.a").each_s = 1.0
        house.door("zmq.a").fed.send_nowait(batch(0, 100))
        await wait_all_tasks_blocked()
        await house.assembly.drain(10.0)
        assert trio.current_time() == pytest.approx(10.0)
        account = house.ledger.account("sink.a")
        assert account.delivered + account.dropped["shutdown"] == 100
        assert account.delivered in (9, 10)
        assert house.ledger.account("sink.b").delivered == 100


async def test_drain_frees_a_door_that_waits(files: Any, open_house: Opened, autojump_clock: MockClock) -> None:
    """A consumer that takes nothing costs the drain its time and no more."""
    async with open_house() as house:
        await house.assembly.start(files.read(sink("a", "queue_size = 5") + zmq("a", 5001)))
        house.consumer("sink.a").each_s = 1000.0
        house.door("zmq.a").fed.send_nowait(batch(0, 5))
        house.door("zmq.a").fed.send_nowait(batch(5, 5))
        await wait_all_tasks_blocked()
        await house.assembly.drain(2.0)
        assert trio.current_time() == pytest.approx(2.0)
        assert house.ledger.account("sink.a").dropped == {"shutdown": 10}
        assert house.is_balanced()


# ── change ──


async def test_what_did_not_change_is_not_touched(files: Any, open_house: Opened) -> None:
    """The same objects run, in their first run."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        before = services(house)
        await house.assembly.change(
            old, files.read(zmq("b", 5002) + sink("c") + sink("a") + sink("b") + zmq("a", 5001))
        )
        after = services(house)
        assert set(after) - set(before) == {"sink.c"}
        assert all(after[key] is before[key] for key in before)
        assert house.door("zmq.a").runs == 1


async def test_a_changed_consumer_is_swapped_without_loss(
    files: Any, open_house: Opened, autojump_clock: MockClock
) -> None:
    """Also while it works, while records wait, and while a door waits for it."""
    async with open_house() as house:
        old = files.read(sink("a", "queue_size = 10") + zmq("a", 5001))
        await house.assembly.start(old)
        first = house.consumer("sink.a")
        first.each_s = 0.5
        for number in range(0, 60, 20):
            house.door("zmq.a").fed.send_nowait(batch(number, 20))
        await trio.sleep(0.75)
        assert house.is_balanced()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.assembly.change, old, files.read(sink("a", "queue_size = 12") + zmq("a", 5001)))
            for _ in range(40):
                await trio.sleep(0.1)
                assert house.is_balanced()
        await wait_all_tasks_blocked()
        second = house.consumer("sink.a")
        assert second is not first
        assert not first.is_running
        assert first.numbers == [0, 1, 2, 3]
        assert second.numbers == list(range(4, 60))
        assert house.ledger.lost == 0
        assert len(house.ledger.account("sink.a")._holders) == 1


async def test_what_a_swapped_consumer_cannot_finish_goes_to_its_successor(
    files: Any, open_house: Opened, autojump_clock: MockClock
) -> None:
    """It is cancelled after its time, and the lease is given back."""
    async with open_house() as house:
        old = files.read(sink("a") + zmq("a", 5001))
        await house.assembly.start(old)
        first = house.consumer("sink.a")
        first.each_s = 3.0
        house.door("zmq.a").fed.send_nowait(batch(0, 6))
        await wait_all_tasks_blocked()
        await house.assembly.change(old, files.read(sink("a", 'flush_every = "2s"') + zmq("a", 5001)))
        await wait_all_tasks_blocked()
        assert first.numbers == [0]
        assert sorted(house.consumer("sink.a").numbers) == [1, 2, 3, 4, 5]
        assert house.ledger.lost == 0


async def test_a_changed_consumer_that_does_not_start_changes_nothing(
    files: Any, open_house: Opened, autojump_clock: MockClock
) -> None:
    """The old one never stopped, and what came meanwhile is its own."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        before = services(house)

        def change(unit: Unit) -> None:
            unit.service.start_s, unit.service.start_error = 1.0, OSError("broken")

        house.spoil("sink.b", change)
        new = files.read(sink("a", "queue_size = 5") + sink("b", "queue_size = 5") + zmq("a", 5001) + zmq("b", 5002))
        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                with pytest.raises(OSError, match="broken"):
                    await house.assembly.change(old, new)

            nursery.start_soon(fail)
            await trio.sleep(0.5)
            house.door("zmq.a").fed.send_nowait(batch(0, 9))
        after = services(house)
        assert {key for key in before if before[key] is not after[key]} == {"sink.a"}
        assert house.units["sink.a"].table.queue_size == 100_000
        assert house.consumer("sink.b").numbers == list(range(9))
        assert house.ledger.account("sink.a").delivered == 9
        assert house.ledger.lost == 0


async def test_a_door_that_can_take_the_change_over_keeps_running(files: Any, open_house: Opened) -> None:
    """And takes it back if something else fails."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        door = house.door("zmq.a")
        live = sink("a") + sink("b") + zmq("a", 5001, 'logs = ["conn"]') + zmq("b", 5002)
        house.break_start("zmq.c")
        with pytest.raises(OSError, match="broken"):
            await house.assembly.change(old, files.read(live + zmq("c", 5003)))
        assert (door.table.logs, house.units["zmq.a"].table.logs) == (("*",), ("*",))
        await house.assembly.change(old, files.read(live))
        assert (door.table.logs, house.units["zmq.a"].table.logs) == (("conn",), ("conn",))
        assert house.door("zmq.a") is door
        assert door.runs == 1


async def test_a_changed_door_is_stopped_and_started(files: Any, open_house: Opened) -> None:
    """Its account lives on."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        door = house.door("zmq.a")
        door.fed.send_nowait(batch(0, 3))
        new = files.read(sink("a") + sink("b") + zmq("a", 5001, "hwm = 5") + zmq("b", 5002))
        await house.assembly.change(old, new)
        assert not door.is_running
        house.door("zmq.a").fed.send_nowait(batch(3, 3))
        await wait_all_tasks_blocked()
        assert house.consumer("sink.a").numbers == list(range(6))
        assert house.ledger.account("zmq.a").received == 6


@pytest.mark.parametrize("broken", ["", "zmq.a", "zmq.b"])
async def test_two_doors_exchange_their_addresses(files: Any, open_house: Opened, broken: str) -> None:
    """Or, if one of them cannot, both have their old ones again."""
    async with open_house() as house:
        old = files.read(BASE)
        new = files.read(sink("a") + sink("b") + zmq("a", 5002) + zmq("b", 5001))
        await house.assembly.start(old)
        if broken:

            def change(unit: Unit) -> None:
                if unit.table in new.config.zmq:
                    unit.service.start_error = OSError("broken")

            house.spoil(broken, change)
            with pytest.raises(OSError, match="broken"):
                await house.assembly.change(old, new)
        else:
            await house.assembly.change(old, new)
        ports = {key: house.units[key].table.bind[0][-4:] for key in ("zmq.a", "zmq.b")}
        assert ports == ({"zmq.a": "5001", "zmq.b": "5002"} if broken else {"zmq.a": "5002", "zmq.b": "5001"})
        assert house.parts.occupied == OCCUPIED
        assert all(house.door(key).is_running for key in ports)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:5002", "tcp://*:5002", "ipc://x.sock"])
@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_new_door_on_the_address_of_a_removed_one(
    files: Any, open_house: Opened, address: str, is_broken: bool
) -> None:
    """The old one goes first, also if the new one means the same port by another name; and comes back."""
    second = f'[[zmq]]\nname = "b"\nbind = ["{"ipc://x.sock" if "ipc" in address else "tcp://127.0.0.1:5002"}"]\n'
    async with open_house() as house:
        old = files.read(sink("a") + zmq("a", 5001) + second)
        await house.assembly.start(old)
        removed = house.door("zmq.b")
        occupied = set(house.parts.occupied)

        def change(unit: Unit) -> None:
            assert not removed.is_running
            unit.service.start_error = OSError("broken") if is_broken else None

        house.spoil("zmq.c", change)
        house.parts.made.clear()
        new = files.read(sink("a") + zmq("a", 5001) + f'[[zmq]]\nname = "c"\nbind = ["{address}"]\n')
        if is_broken:
            with pytest.raises(OSError, match="broken"):
                await house.assembly.change(old, new)
            assert house.door("zmq.b").is_running
            assert house.parts.occupied == occupied
            assert "zmq.c" not in house.units
        else:
            await house.assembly.change(old, new)
            assert house.door("zmq.c").is_running
            assert "zmq.b" not in house.units


async def test_a_capture_under_a_new_name(files: Any, open_house: Opened) -> None:
    """The port is free when the new one binds it."""
    text = '[[capture]]\nname = "{}"\nconn_type = "udp"\naddress = ["{}", 9999]\n[[capture.handler]]\nname = "raw"\n'
    async with open_house() as house:
        old = files.read(text.format("old", "127.0.0.1"))
        await house.assembly.start(old)
        await house.assembly.change(old, files.read(text.format("new", "0.0.0.0")))
        assert list(house.units) == ["api", "capture.new"]
        assert house.parts.occupied == {"udp:9999"}


async def test_a_removed_door_elsewhere_stays_until_the_new_one_runs(files: Any, open_house: Opened) -> None:
    """A change that fails then has not even interrupted it."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        before = services(house)
        house.break_start("zmq.c")
        with pytest.raises(OSError, match="broken"):
            await house.assembly.change(old, files.read(zmq("c", 5003) + sink("d")))
        assert services(house) == before
        assert "sink.d" not in house.units
        assert house.ledger.account("sink.d")._holders == []


async def test_removal_drains(files: Any, open_house: Opened, autojump_clock: MockClock) -> None:
    """Doors before consumers, so that what was received is delivered; what is not in time is dropped for the reload."""
    async with open_house() as house:
        old = files.read(sink("a") + sink("b") + zmq("a", 5001) + zmq("b", 5002))
        await house.assembly.start(old)
        slow, slower = house.consumer("sink.a"), house.consumer("sink.b")
        slow.each_s, slower.each_s = 0.1, 0.5
        for first in range(0, 40, 20):
            house.door("zmq.a").fed.send_nowait(batch(first, 20))
        await house.assembly.change(old, files.read(zmq("b", 5002)))
        assert list(house.units) == ["api", "zmq.b"]
        assert slow.numbers == list(range(40))
        assert trio.current_time() == pytest.approx(10.0)
        account = house.ledger.account("sink.b")
        assert account.dropped == {"reload": 40 - account.delivered}
        house.door("zmq.b").fed.send_nowait(batch(40, 1))
        await wait_all_tasks_blocked()
        assert house.ledger.account("zmq.b").dropped == {"unwanted": 1}


async def test_the_endpoint_can_change(files: Any, open_house: Opened) -> None:
    """It is stopped and started like a door."""
    async with open_house() as house:
        old = files.read("")
        await house.assembly.start(old)
        first = house.units["api"].service
        head = '[appliance]\nname = "test"\nstate_dir = "state"\n[api]\nlisten = ["unix:other.sock"]\n'
        await house.assembly.change(old, files.read("", head=head))
        assert not first.is_open
        assert house.units["api"].service.is_open


async def test_a_way_back_that_fails_is_tried_again_by_the_next_change(
    files: Any, open_house: Opened, told: list[EventDict]
) -> None:
    """The other steps back are taken, and the next change starts what is missing."""
    async with open_house() as house:
        old = files.read(BASE)
        await house.assembly.start(old)
        new = files.read(sink("a", "queue_size = 5") + sink("b") + zmq("a", 5001, "hwm = 5") + zmq("b", 5002))
        house.break_start("zmq.a")
        with pytest.raises(OSError, match="broken"):
            await house.assembly.change(old, new)
        assert "zmq.a" not in house.units
        assert house.units["sink.a"].table.queue_size == 100_000
        assert [entry["log_level"] for entry in told] == ["error"]
        house.mend()
        await house.assembly.change(old, old)
        assert house.door("zmq.a").is_running
        assert house.parts.occupied == OCCUPIED


@pytest.mark.parametrize("when_s", [0.5, 1.5, 2.5, 3.5, 4.5])
async def test_a_cancelled_change_leaves_only_known_units(
    files: Any, open_house: Opened, autojump_clock: MockClock, when_s: float
) -> None:
    """Wherever it was, a drain afterwards finds everything that runs, and nothing is lost."""
    async with open_house() as house:
        old = files.read(sink("a") + sink("z") + zmq("a", 5001) + zmq("z", 5009))
        await house.assembly.start(old)
        house.consumer("sink.a").each_s = 0.4
        house.door("zmq.a").stop_s = 1.0

        def change(unit: Unit) -> None:
            if hasattr(unit.service, "start_s"):
                unit.service.start_s = 1.0

        house.parts.spoil = change
        for first in (0, 3):
            house.door("zmq.a").fed.send_nowait(batch(first, 3))
        await wait_all_tasks_blocked()
        new = files.read(sink("a", "queue_size = 9") + sink("c") + zmq("a", 5001, "hwm = 5") + zmq("c", 5009))
        with trio.move_on_after(when_s):
            await house.assembly.change(old, new)
        assert house.is_balanced()
        await house.assembly.drain(20.0)
        assert house.units == {}
        assert house.parts.occupied == set()
        assert not any(getattr(unit.service, "is_running", False) for unit in house.parts.made)
        assert house.ledger.account("sink.a").delivered == 6
        assert house.ledger.lost == 0
        assert all(account._holders == [] for account in house.ledger)
