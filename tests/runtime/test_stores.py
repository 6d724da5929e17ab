"""Stores by name: which there are, and who waits for which."""

from __future__ import annotations

import pytest
import trio

from appliance.runtime.stores import StoreError, StoreFailure, StoreReply, StoreRequest, Stores


class Echo:
    """A store that says how much is in it."""

    def __init__(self, size: int) -> None:
        self.size = size

    async def perform(self, request: StoreRequest) -> StoreReply:
        del request
        await trio.lowlevel.checkpoint()
        return StoreReply(size=self.size)


SIZE = StoreRequest(operation="size", timeout_s=5.0)


async def test_one_that_is_announced_is_waited_for(autojump_clock: object) -> None:
    """As long as the request has time; one that nobody announced is not."""
    del autojump_clock
    stores = Stores()
    with pytest.raises(StoreError) as caught:
        await stores.perform("s", SIZE)
    assert (caught.value.reason, trio.current_time()) == (StoreFailure.NO_STORE, 0)
    stores.announce(["s"])
    assert "s" in stores
    with pytest.raises(StoreError, match="was not within 5 s") as caught:
        await stores.perform("s", SIZE)
    assert (caught.value.reason, trio.current_time()) == (StoreFailure.CLOSED, 5)
    found: list[int] = []

    async def ask() -> None:
        found.append((await stores.perform("s", SIZE)).size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        with stores.joined("s", Echo(7)):
            await trio.sleep(1)
    assert found == [7]


async def test_one_that_is_taken_back_is_not_waited_for(autojump_clock: object) -> None:
    """Whoever waits hears of it at once."""
    del autojump_clock
    stores = Stores()
    stores.announce(["s", "t"])

    async def ask() -> None:
        with pytest.raises(StoreError, match="there is no store 's'"):
            await stores.perform("s", SIZE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        stores.announce(["t"])
    assert trio.current_time() == 1
    assert list(stores) == ["t"]


async def test_the_last_of_a_name_counts() -> None:
    """A successor may open before its predecessor closes."""
    stores = Stores()
    with stores.joined("s", Echo(1)):
        second = stores.joined("s", Echo(2))
        with second:
            assert (await stores.perform("s", SIZE)).size == 2
        assert "s" not in stores
