"""Endpoints of ours among themselves over real sockets."""

from __future__ import annotations

from pathlib import Path

from appliance.zeek.values import Count

from .harness import House, event, run_houses, wait_until


async def test_events_go_both_ways(tmp_path: Path) -> None:
    """One dials, the other listens; what is published on either side arrives on the other."""
    a = House(tmp_path / "a")
    async with run_houses(a):
        b = House(tmp_path / "b", listen=(), connect=(a.address,))
        async with run_houses(b):
            await a.wait_peers(1)
            await b.wait_peers(1)
            assert a.publish("t/a", event("A::ping", Count(1)), event("A::ping", Count(2))).peers == 1
            assert b.publish("t/b", event("B::ping", Count(3))).peers == 1
            await wait_until(lambda: a.incoming.delivered == 1 and b.incoming.delivered == 2)
            assert await a.events("B::ping") == [(Count(3),)]
            assert await b.events("A::ping") == [(Count(1),), (Count(2),)]
        await a.wait_peers(0)
        assert await a.statuses() == ["incoming_connection_established", "incoming_connection_broken"]
    assert await b.statuses() == ["outgoing_connection_established", "outgoing_connection_broken"]
