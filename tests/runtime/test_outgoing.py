"""The queue of one peer: its order, its bounds, and its books."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from appliance.runtime.ledger import Account
from appliance.runtime.outgoing import PeerQueue
from tests.broker.harness import table


class Desk:
    """A queue with its account and what it wanted to be cut for."""

    def __init__(self, **keys: Any) -> None:
        self.account = Account("broker.out", unit="messages")
        self.cuts: list[str] = []
        self.queue = PeerQueue(self.account, table(**keys), cut=self.cut)

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)
        self.queue.close("disconnected")

    def put(self, *frames: bytes) -> None:
        self.queue.put(frames)

    @property
    def dropped(self) -> dict[str, int]:
        assert self.account.statistics().imbalance == 0
        return self.account.dropped

    async def drain(self) -> list[bytes]:
        found = []
        while self.queue.messages:
            found += await self.queue.lease(1 << 20)
            self.queue.settle()
        return found


async def test_messages_leave_in_their_order_in_few_pieces() -> None:
    """As many as fit into one write, but one at least."""
    desk = Desk()
    desk.put(b"aa", b"bb", b"c" * 50)
    assert await desk.queue.lease(5) == [b"aa", b"bb"]
    assert (desk.queue.messages, desk.account.delivered) == (3, 0)
    desk.queue.settle()
    assert await desk.queue.lease(5) == [b"c" * 50]
    desk.queue.settle()
    assert (desk.account.received, desk.account.delivered, desk.dropped) == (3, 3, {})


async def test_drop_oldest_keeps_the_newest() -> None:
    """What makes room is counted."""
    desk = Desk(queue=2)
    desk.put(b"1", b"2", b"3", b"4")
    assert (await desk.drain(), desk.dropped, desk.queue.dropped) == ([b"3", b"4"], {"overflow": 2}, 2)


async def test_drop_newest_keeps_the_oldest() -> None:
    """What does not fit is counted."""
    desk = Desk(queue=2, overflow="drop_newest")
    desk.put(b"1", b"2", b"3", b"4")
    assert (await desk.drain(), desk.dropped) == ([b"1", b"2"], {"overflow": 2})


async def test_disconnect_gives_up_the_peer() -> None:
    """One message too many, and everything that waits is lost."""
    desk = Desk(queue=2, overflow="disconnect")
    desk.put(b"1", b"2", b"3", b"4")
    assert desk.cuts == ["its queue is full"]
    assert (desk.dropped, desk.queue.messages) == ({"overflow": 1, "disconnected": 3}, 0)


async def test_bytes_are_bounded_but_one_message_always_fits() -> None:
    """Large messages push out as many small ones as they need."""
    desk = Desk(queue_bytes=10)
    desk.put(b"aaaa", b"bbbb", b"cccc")
    assert desk.dropped == {"overflow": 1}
    desk.put(b"d" * 100)
    assert (await desk.drain(), desk.dropped) == ([b"d" * 100], {"overflow": 3})


async def test_what_the_protocol_says_is_never_dropped() -> None:
    """It keeps its place between the messages, and is not in the books."""
    desk = Desk(queue=1)
    desk.queue.put_control(b"PING")
    desk.put(b"1")
    desk.queue.put_control(b"PONG")
    desk.put(b"2", b"3")
    assert await desk.drain() == [b"PING", b"PONG", b"3"]
    assert (desk.account.received, desk.account.delivered, desk.dropped) == (3, 1, {"overflow": 2})


async def test_a_flood_of_questions_is_the_end() -> None:
    """A peer that pings on without reading the answers is cut; one large ping is answered."""
    for size, most in ((1, 256), (1 << 19, 2), (1 << 23, 1)):
        desk = Desk()
        for _ in range(most):
            desk.queue.put_control(b"x" * size)
        assert desk.cuts == []
        desk.queue.put_control(b"x" * size)
        assert desk.cuts == ["it asks and asks, and does not take the answers"]


async def test_a_closed_queue_counts_on() -> None:
    """What waits, what is being written and what comes later has a reason."""
    desk = Desk()
    desk.put(b"1", b"2")
    await desk.queue.lease(1)
    desk.queue.close("shutdown")
    desk.put(b"3")
    desk.queue.settle()
    desk.queue.close("disconnected")
    assert (desk.dropped, desk.account.delivered, desk.account.queued) == ({"shutdown": 3}, 0, 0)


async def test_lease_waits_for_messages_and_idle_for_their_end() -> None:
    """Both without polling."""
    desk = Desk()
    done: list[str] = []

    async def write() -> None:
        await desk.queue.lease(10)
        done.append("leased")

    async def wait() -> None:
        await desk.queue.wait_idle()
        done.append("idle")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        desk.put(b"1")
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert done == ["leased"]
        desk.queue.settle()
    assert done == ["leased", "idle"]


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 30)),
        st.tuples(st.just("control"), st.integers(1, 30)),
        st.tuples(st.just("lease"), st.integers(1, 60)),
        st.just(("settle", 0)),
        st.tuples(st.just("bound"), st.integers(1, 5)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=_STEPS, policy=st.sampled_from(["drop_oldest", "drop_newest", "disconnect"]))
def test_the_books_balance_after_every_step(steps: list[tuple[str, int]], policy: str) -> None:
    """Whatever is put, written, bounded: in the order of arrival, each message delivered once or dropped once."""

    async def live() -> None:
        desk = Desk(queue=3, queue_bytes=40, overflow=policy)
        written: list[bytes] = []
        leased: list[bytes] | None = None
        number = 0
        for what, size in steps:
            if what in ("put", "control"):
                number += 1
                frame = b"%06d" % number + b"." * size
                desk.put(frame) if what == "put" else desk.queue.put_control(frame)
            elif what == "lease" and leased is None and desk.queue.messages:
                leased = list(await desk.queue.lease(size))
            elif what == "settle" and leased is not None:
                desk.queue.settle()
                written += leased if not desk.cuts else []
                leased = None
            elif what == "bound":
                desk.queue.configure(table(queue=size, queue_bytes=size * 10, overflow=policy))
            assert desk.account.statistics().imbalance == 0
        desk.queue.close("shutdown")
        assert desk.account.statistics().imbalance == desk.account.queued == 0
        assert written == sorted(written)

    trio.run(live)
