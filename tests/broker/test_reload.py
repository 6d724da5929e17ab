"""A new table for an endpoint that runs: what changes under its peers, and what does not."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from appliance.errors import ApplianceError
from appliance.runtime import peer_connection
from appliance.units import Size
from appliance.wire.filters import decode_filter
from appliance.wire.node_messages import MessageKind
from appliance.zeek.values import Count

from .harness import House, event, run_houses, wait_until
from .raw import connect, meet, shake


async def test_topics_change_under_the_peers(tmp_path: Path) -> None:
    """They are told a new filter, which may be a smaller one; permissions count at once."""
    house = House(tmp_path, subscribe=("a/", "b/"))
    async with run_houses(house), meet(house) as raw:
        assert house.endpoint.apply(house.changed(subscribe=("a/", "c/"), advertise=("a/",), publish=("x",)))
        [update] = await raw.messages(1)
        assert (update.kind, decode_filter(update.payload)) == (MessageKind.ROUTING_UPDATE, ("a/",))
        for topic in ("a/1", "b/1", "c/1"):
            await raw.publish(topic, event("E::e", topic.encode()))
        await wait_until(lambda: house.incoming.received == 3)
        assert house.incoming.dropped == {"unsubscribed": 1}
        assert house.publish("y", event("E::e")).refused == "not_allowed"
        assert house.publish("x", event("E::e")).peers == 1
        assert house.endpoint.apply(house.peering)
        messages = await raw.messages(2)
        assert [m.kind for m in messages] == [MessageKind.DATA, MessageKind.ROUTING_UPDATE]
        assert decode_filter(messages[1].payload) == ("a/", "b/")
    assert await house.events() == [(b"a/1",), (b"c/1",)]


async def test_addresses_change_under_the_peers(tmp_path: Path) -> None:
    """New ones are bound, old ones closed, one that stays keeps its port; nobody is disconnected."""
    house = House(tmp_path, listen=("127.0.0.1:0", "[::1]:0"))
    async with run_houses(house), meet(house) as raw:
        first, second = house.figures.listening
        assert house.endpoint.apply(house.changed(listen=("localhost:0", "127.0.0.1:0")))
        bound = house.figures.listening
        assert bound[-1] == first
        assert second not in bound
        assert (tmp_path / "broker.ports").read_text().splitlines() == list(bound)
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("::1", int(second.rpartition(":")[2]))
        async with meet(house):
            assert len(house.peers) == 2
        await raw.publish("t", event("E::e"))
        await wait_until(lambda: house.incoming.delivered == 1)


async def test_an_address_may_grow_into_a_wider_one(tmp_path: Path) -> None:
    """The same port on every address cannot be bound before the old one is closed; and back."""
    house = House(tmp_path)
    async with run_houses(house), meet(house):
        port = house.port
        for listen in ((f"127.0.0.1:{port}",), (f":{port}",), (f"127.0.0.1:{port}",)):
            assert house.endpoint.apply(house.changed(listen=listen))
            async with await connect(house) as stream:
                assert await stream.receive_some(9)
        assert len(house.peers) == 1


async def test_an_address_that_cannot_be_bound_changes_nothing(tmp_path: Path) -> None:
    """Neither the other addresses nor the topics."""
    house = House(tmp_path, subscribe=("a/",))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = sock.getsockname()[1]
        async with run_houses(house), meet(house):
            before = house.figures.listening
            for listen in ((f"127.0.0.1:{taken}",), ("127.0.0.1:0", "[::1]:0", f"127.0.0.1:{taken}"),
                           (f":{house.port}", f"127.0.0.1:{taken}")):  # fmt: skip
                with pytest.raises(ApplianceError, match="Address already in use"):
                    house.endpoint.apply(house.changed(listen=listen, subscribe=("b/",)))
                assert house.figures.listening == before
                assert house.figures.advertised == ("a/",)
            async with meet(house):
                pass


async def test_an_address_that_was_closed_for_nothing_is_bound_again(tmp_path: Path) -> None:
    """On the port that it had; whoever connects notices nothing."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        before = house.figures.listening
        with socket.socket() as sock:
            sock.bind(("127.0.0.2", house.port))
            sock.listen()
            with pytest.raises(ApplianceError, match="Address already in use"):
                house.endpoint.apply(house.changed(listen=(f":{house.port}",)))
        assert house.figures.listening == before
        async with meet(house):
            assert len(house.peers) == 2
        await raw.publish("t", event("E::e"))
        await wait_until(lambda: house.incoming.delivered == 1)


async def test_dialled_addresses_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one is dialled at once; one that goes is left with a farewell, another one is not touched."""
    monkeypatch.setattr(peer_connection, "BYE_PATIENCE_S", 30.0)
    a, b, c = (House(tmp_path / name) for name in "abc")
    async with run_houses(a, b):
        c = House(tmp_path / "c", listen=(), connect=(a.address,))
        async with run_houses(c):
            await a.wait_peers(1)
            assert c.endpoint.apply(c.changed(connect=(a.address, b.address)))
            await b.wait_peers(1)
            await c.wait_peers(2)
            since = {peer.peer: peer for peer in c.figures.peers}
            assert c.endpoint.apply(c.changed(connect=(b.address,)))
            await a.wait_peers(0)
            await c.wait_peers(1)
            assert list(c.peers) == [b.figures.endpoint]
            assert [dialer.address for dialer in c.figures.dialers] == [b.address]
            assert c.peers[b.figures.endpoint].since_s >= since[b.figures.endpoint].since_s
            assert c.endpoint.apply(c.changed(connect=()))
            await c.wait_peers(0)
            assert c.figures.dialers == ()


async def test_a_dialler_that_waits_is_stopped(tmp_path: Path) -> None:
    """Without waiting for its next attempt."""
    house = House(tmp_path, listen=(), connect=("127.0.0.1:1",), retry_interval="1h")
    async with run_houses(house):
        await wait_until(lambda: house.figures.dialers[0].state == "waiting")
        assert house.endpoint.apply(house.changed(connect=()))
        assert house.figures.dialers == ()


async def test_queues_and_patience_change_under_the_peers(tmp_path: Path) -> None:
    """Bounds and policy of the peers that there are."""
    house = House(tmp_path, queue=1000)
    async with run_houses(house), meet(house) as raw:
        assert house.endpoint.apply(house.changed(queue=1, overflow="drop_newest", queue_bytes=Size(1 << 20)))
        house.publish("t", *[event("E::e", Count(number)) for number in range(10)])
        assert house.outgoing.dropped == {"overflow": 9}
        assert len(await raw.messages(1)) == 1


@pytest.mark.parametrize("key", ["tls", "certificate", "key", "ca", "passphrase_file"])
async def test_other_certificates_need_new_connections(tmp_path: Path, key: str) -> None:
    """So the service is started again."""
    house = House(tmp_path)
    async with run_houses(house):
        assert not house.endpoint.apply(house.changed(**{key: "mutual"}))


async def test_a_table_may_change_before_it_runs(tmp_path: Path) -> None:
    """Then it runs with the new one."""
    house = House(tmp_path, subscribe=("a/",))
    assert house.endpoint.apply(house.changed(subscribe=("b/",)))
    async with run_houses(house):
        async with await connect(house) as stream:
            await shake(stream, b"\x80" + bytes(15))
        assert house.figures.advertised == ("b/",)
