"""How peerings come about, stand, and end: dialling, redialling, simultaneous dialling, farewells."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from structlog.typing import EventDict

from appliance.errors import ApplianceError
from appliance.runtime import peer_connection
from appliance.wire.handshake import Refused
from appliance.wire.handshake_messages import DropCode, DropConn, Hello, encode_handshake
from appliance.wire.node_messages import MessageKind, data_frame
from appliance.zeek.values import Count

from .harness import House, event, run_houses, start, wait_until
from .raw import connect, make_id, meet, receive_exactly, shake


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_the_bound_ports_are_told(tmp_path: Path, told: list[EventDict]) -> None:
    """In the figures, in the log and in a file, as long as they are bound; IPv6 in brackets."""
    house = House(tmp_path, listen=("127.0.0.1:0", "[::1]:0", "localhost:0"))
    async with run_houses(house):
        bound = house.figures.listening
        assert len(bound) >= 3
        assert bound[0].startswith("127.0.0.1:")
        assert bound[1].startswith("[::1]:")
        assert not any(address.endswith(":0") for address in bound)
        assert (tmp_path / "broker.ports").read_text().splitlines() == list(bound)
        assert [entry["address"] for entry in told if entry["event"] == "listening for peers"] == list(bound)
        async with meet(house):
            pass
        async with await trio.open_tcp_stream("::1", int(bound[1].rpartition(":")[2])):
            pass
    assert house.figures.listening == ()


async def test_an_address_without_a_host_is_every_address(tmp_path: Path, told: list[EventDict]) -> None:
    """Of both families, each in its own form; it is said that anybody may come."""
    house = House(tmp_path, listen=(":0",))
    async with run_houses(house):
        for host, shown in (("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")):
            me = make_id()
            async with await trio.open_tcp_stream(host, house.port) as stream:
                await shake(stream, me)
                await house.wait_peers(1)
                assert next(iter(house.peers.values())).address.startswith(shown)
            await house.wait_peers(0)
    assert [entry["log_level"] for entry in told if "anybody" in entry["event"]] == ["warning"]


async def test_an_address_in_use_is_an_error_at_the_start(tmp_path: Path) -> None:
    """What was bound before is free again, and the next start works."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = f"127.0.0.1:{sock.getsockname()[1]}"
        house = House(tmp_path, listen=("127.0.0.1:0", taken))
        with pytest.RaisesGroup(
            pytest.RaisesExc(ApplianceError, match=f"cannot listen on {taken}: Address already in use"),
            flatten_subgroups=True,
        ):
            async with trio.open_nursery() as nursery:
                await start(nursery, house)
    async with run_houses(house):
        assert len(house.figures.listening) == 2


async def test_each_start_has_another_id(tmp_path: Path) -> None:
    """Of a version that Zeek reads."""
    house = House(tmp_path)
    seen = set()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await start(nursery, house)
            seen.add(house.figures.endpoint)
            nursery.cancel_scope.cancel()
    assert len(seen) == 2
    assert {text[14] for text in seen} == {"4"}


async def test_a_peer_that_is_not_there_is_dialled_until_it_is(tmp_path: Path, told: list[EventDict]) -> None:
    """The error is told once, not for each attempt; when the peer appears, it is found."""
    port = free_port()
    b = House(tmp_path / "b", listen=(), connect=(f"127.0.0.1:{port}",))
    async with run_houses(b):
        await wait_until(lambda: b.figures.dialers[0].attempts >= 4)
        assert b.figures.dialers[0].last_error == "cannot connect: Connection refused"
        a = House(tmp_path / "a", listen=(f"127.0.0.1:{port}",))
        async with run_houses(a):
            await b.wait_peers(1)
            [dialer] = b.figures.dialers
            assert (dialer.state, dialer.last_error, dialer.address) == ("peered", "", f"127.0.0.1:{port}")
            [peer] = b.figures.peers
            assert (peer.direction, peer.address) == ("out", f"127.0.0.1:{port}")
            assert [p.direction for p in a.figures.peers] == ["in"]
        await b.wait_peers(0)
    entries = [entry for entry in told if entry["event"] == "cannot peer, trying on"]
    assert [entry["error"] for entry in entries][:1] == ["cannot connect: Connection refused"]
    assert sum(entry["error"] == "cannot connect: Connection refused" for entry in entries) == 1


async def test_a_lost_peer_is_dialled_again_at_once(tmp_path: Path) -> None:
    """Long before the interval is over; only the second such loss in a row waits."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    b = House(tmp_path, listen=(), connect=(f"127.0.0.1:{port}",), retry_interval="1h")
    async with listeners[0], run_houses(b):
        for number in range(2):
            async with await listeners[0].accept() as stream:
                await shake(stream, make_id(), is_dialer=False)
                await b.wait_peers(1)
                assert b.figures.dialers[0].attempts == number + 1
            await b.wait_peers(0)
        await wait_until(lambda: b.figures.dialers[0].state == "waiting")
        assert b.figures.dialers[0].attempts == 2
    assert await b.statuses() == ["outgoing_connection_established", "outgoing_connection_broken"] * 2


@pytest.mark.parametrize("first", [0x00, 0xFF])
@pytest.mark.parametrize("is_dialer", [True, False])
async def test_either_side_leads(tmp_path: Path, first: int, is_dialer: bool) -> None:
    """Whoever dials, the smaller ID leads; events flow either way."""
    me = make_id(first)
    if is_dialer:
        a = House(tmp_path)
        async with run_houses(a), meet(a, me=me) as raw:
            await raw.publish("t", event("E::e"))
            await wait_until(lambda: a.incoming.delivered == 1)
            assert list(a.peers) == [raw.name]
        return
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    b = House(tmp_path, listen=(), connect=(f"127.0.0.1:{listener.socket.getsockname()[1]}",))
    async with listener, run_houses(b), await listener.accept() as stream:
        await shake(stream, me, is_dialer=False)
        await b.wait_peers(1)


@pytest.mark.parametrize(("first", "code"), [(0x00, DropCode.LOGIC_ERROR), (0xFF, DropCode.REDUNDANT_CONNECTION)])
async def test_a_second_connection_of_a_peer_is_refused(
    tmp_path: Path, told: list[EventDict], first: int, code: DropCode
) -> None:
    """With Broker's code for each role; the first one is not disturbed, and nobody is alarmed."""
    house = House(tmp_path)
    async with run_houses(house), meet(house, me=make_id(first)) as raw:
        async with await connect(house) as stream:
            end, _ = await shake(stream, raw.me)
            assert isinstance(end, Refused)
            assert end.code == code
        await raw.publish("t", event("E::e"))
        await wait_until(lambda: house.incoming.delivered == 1)
        assert list(house.peers) == [raw.name]
    assert [entry["log_level"] for entry in told if entry["event"] == "a connection did not become a peer"] == ["info"]


async def test_a_parked_connection_goes_on_when_the_other_one_fails(tmp_path: Path) -> None:
    """Broker would leave it waiting for ever."""
    house = House(tmp_path)
    me = make_id(0xFF)
    async with run_houses(house):
        first, second = await connect(house), await connect(house)
        async with first, second, trio.open_nursery() as nursery:
            await first.send_all(encode_handshake(Hello(me)))
            await receive_exactly(first, 9 + 26)  # the probe, and the choice of the version: it is reserved
            ends = []

            async def shake_second() -> None:
                ends.append(await shake(second, me))

            nursery.start_soon(shake_second)
            await wait_until(lambda: house.figures.half_open == 2)
            await first.aclose()
            await house.wait_peers(1)
            await wait_until(lambda: len(ends) == 1)


async def test_a_parked_connection_is_refused_when_the_other_one_succeeds(tmp_path: Path) -> None:
    """Only one stays."""
    house = House(tmp_path)
    me = make_id(0xFF)
    async with run_houses(house):
        first, second = await connect(house), await connect(house)
        async with first, second, trio.open_nursery() as nursery:
            await first.send_all(encode_handshake(Hello(me)))
            await receive_exactly(first, 9 + 26 + 6)
            ends = []

            async def shake_second() -> None:
                ends.append((await shake(second, me))[0])

            nursery.start_soon(shake_second)
            await wait_until(lambda: house.figures.half_open == 2)
            await trio.testing.wait_all_tasks_blocked()
            await first.send_all(b"\0\0\0\2\x0b\0")
            await wait_until(lambda: len(ends) == 1)
            assert isinstance(ends[0], Refused)
            assert ends[0].code == DropCode.REDUNDANT_CONNECTION
            assert len(house.peers) == 1


async def test_both_dial_each_other_at_once(tmp_path: Path) -> None:
    """Exactly one connection stays, each time, and both sides know one peer."""
    for turn in range(15):
        ports = free_port(), free_port()
        a = House(tmp_path / f"a{turn}", listen=(f"127.0.0.1:{ports[0]}",), connect=(f"127.0.0.1:{ports[1]}",))
        b = House(tmp_path / f"b{turn}", listen=(f"127.0.0.1:{ports[1]}",), connect=(f"127.0.0.1:{ports[0]}",))
        async with run_houses(a, b):
            await wait_until(lambda: all(d.state == "peered" for h in (a, b) for d in h.figures.dialers))  # noqa: B023
            assert list(a.peers) == [b.figures.endpoint]
            assert list(b.peers) == [a.figures.endpoint]
            a.publish("t", event("E::e"))
            b.publish("t", event("E::e"))
            await wait_until(lambda: a.incoming.delivered == b.incoming.delivered == 1)  # noqa: B023
        for house in (a, b):
            assert sorted(name.split("_")[-1] for name in await house.statuses()) == ["broken", "established"]


async def test_dialling_oneself_is_no_peering(tmp_path: Path) -> None:
    """It says so, and goes on."""
    port = free_port()
    house = House(tmp_path, listen=(f"127.0.0.1:{port}",), connect=(f"localhost:{port}",))
    async with run_houses(house):
        await wait_until(lambda: house.figures.dialers[0].attempts > 1)
        assert "our own endpoint ID" in house.figures.dialers[0].last_error
        assert not house.peers


async def test_five_hundred_reconnects_under_load(tmp_path: Path) -> None:
    """Peers come and go while both sides publish: at each moment the books are right, and at the end it just works."""
    a = House(tmp_path / "a")
    rounds, peers = 100, 5
    async with run_houses(a):
        done = 0

        async def come_and_go() -> None:
            nonlocal done
            for number in range(rounds):
                async with await connect(a) as stream:
                    me = make_id(number % 2 * 0xFF)
                    await shake(stream, me, prefixes=("t/",))
                    frames = [event("R::r", Count(each)) for each in range(20)]
                    data = b"".join(data_frame(me, "t/r", each) for each in frames)
                    await stream.send_all(data[: len(data) - number % 60])
                    if number % 3 == 0:
                        await stream.receive_some(100)
                done += 1

        async def publish() -> None:
            while done < rounds * peers:
                a.publish("t/a", *[event("A::a", Count(each)) for each in range(50)])
                a.books()
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            done = 0
            for _ in range(peers):
                nursery.start_soon(come_and_go)
            await publish()
        await a.wait_peers(0)
        incoming, outgoing = a.incoming, a.outgoing
        assert incoming.received > 19 * rounds
        assert outgoing.received == outgoing.delivered + sum(outgoing.dropped.values())
        async with meet(a) as raw:
            await raw.publish("t", event("E::e"))
            await wait_until(lambda: a.incoming.received > incoming.received)
    names = await a.statuses()
    assert names.count("incoming_connection_established") == names.count("incoming_connection_broken") > 1


@pytest.mark.parametrize("code", [DropCode.REDUNDANT_CONNECTION, DropCode.LOGIC_ERROR, DropCode.SHUTTING_DOWN])
async def test_a_refusal_without_a_peering_is_only_too_early(tmp_path: Path, code: DropCode) -> None:
    """The other side has not noticed the end of an older connection yet: the next attempt may succeed."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    house = House(tmp_path, listen=(), connect=(f"127.0.0.1:{listener.socket.getsockname()[1]}",))
    me = make_id()
    async with listener, run_houses(house):
        async with await listener.accept() as stream:
            await stream.send_all(encode_handshake(DropConn(me, int(code), "not yet")))
            await wait_until(lambda: bool(house.figures.dialers[0].last_error))
            assert house.figures.dialers[0].last_error == f"the peer refuses: not yet (code {int(code)})"
        async with await listener.accept() as stream:
            await shake(stream, me, is_dialer=False)
            await house.wait_peers(1)
    assert await house.statuses() == ["outgoing_connection_established", "outgoing_connection_broken"]


# ── the end of peerings ──


async def test_a_stop_says_goodbye_and_loses_nothing(tmp_path: Path) -> None:
    """What is queued goes out, then the farewell; the connection ends with its answer."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        house.publish("t", *[event("E::e", Count(number)) for number in range(2000)])
        house.endpoint.stop()
        messages = await raw.messages(2001)
        assert [m.kind for m in messages] == [MessageKind.DATA] * 2000 + [MessageKind.PING]
        assert messages[-1].payload.startswith(b"BYE")
        assert len(messages[-1].payload) == 11
        await raw.publish("t", event("E::late"))
        await raw.control(MessageKind.PONG, messages[-1].payload)
        assert await raw.next_message() is None
    assert (house.outgoing.delivered, house.outgoing.dropped) == (2000, {})
    assert house.incoming.dropped == {"shutdown": 1}


async def test_a_peer_that_does_not_answer_the_farewell_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while."""
    monkeypatch.setattr(peer_connection, "BYE_PATIENCE_S", 0.05)
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        house.endpoint.stop()
        await raw.messages(1)
        assert await raw.next_message() is None


async def test_our_answer_to_a_farewell_comes_behind_what_was_queued(tmp_path: Path) -> None:
    """We do not close; the peer does."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        house.publish("t", event("E::e"), event("E::e"))
        await raw.control(MessageKind.PING, b"BYE" + bytes(8))
        messages = await raw.messages(3)
        assert [m.kind for m in messages] == [MessageKind.DATA, MessageKind.DATA, MessageKind.PONG]
        assert (messages[2].payload, messages[2].receiver) == (b"BYE" + bytes(8), raw.me)
        assert house.peers


async def test_new_connections_are_refused_while_it_leaves(tmp_path: Path) -> None:
    """Who is in the handshake is told that we go."""
    house = House(tmp_path)
    async with run_houses(house):
        late = await connect(house)
        async with late, meet(house) as raw:
            await wait_until(lambda: house.figures.half_open == 1)
            house.endpoint.stop()
            [bye] = await raw.messages(1)
            end, _ = await shake(late, make_id())
            assert isinstance(end, Refused)
            assert end.code == DropCode.SHUTTING_DOWN
            await raw.control(MessageKind.PONG, bye.payload)


async def test_what_waits_for_a_deaf_peer_is_dropped_at_the_end_of_patience(tmp_path: Path) -> None:
    """A stop that is cancelled books what it leaves behind."""
    house = House(tmp_path, queue=100_000)
    async with trio.open_nursery() as nursery:
        await start(nursery, house)
        async with meet(house):
            for _ in range(200):
                house.publish("t", event("E::e", b"x" * 100_000))
            house.endpoint.stop()
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert house.outgoing.queued == 0
    assert house.outgoing.dropped.keys() == {"shutdown"}


async def test_intake_stops_before_the_rest(tmp_path: Path) -> None:
    """Nothing more is read, but what consumers publish in the meantime still gets out."""
    house = House(tmp_path)
    async with run_houses(house), meet(house) as raw:
        await raw.publish("t", event("E::e"))
        await wait_until(lambda: house.incoming.delivered == 1)
        await house.endpoint.stop_intake()
        assert house.figures.listening == ()
        await raw.publish("t", event("E::late"))
        assert house.publish("t", event("E::out")).peers == 1
        [message] = await raw.messages(1)
        assert message.kind is MessageKind.DATA
        house.endpoint.stop()
        [bye] = await raw.messages(1)
        await raw.control(MessageKind.PONG, bye.payload)
    assert (house.incoming.delivered, house.incoming.dropped) == (1, {"shutdown": 1})


# ── signs of life ──


async def test_a_peer_that_is_dead_is_cut(tmp_path: Path, told: list[EventDict]) -> None:
    """It is asked, and had two chances to answer."""
    house = House(tmp_path, ping_interval="30ms")
    async with run_houses(house), meet(house) as raw:
        pings = await raw.messages(2)
        assert all(ping.kind is MessageKind.PING and ping.receiver == raw.me for ping in pings)
        await house.wait_peers(0)
    [entry] = [entry for entry in told if entry["event"] == "peer is gone"]
    assert entry["reason"] == "it has sent nothing for 0.09 s"


async def test_a_peer_that_answers_stays(tmp_path: Path) -> None:
    """As long as it likes."""
    house = House(tmp_path, ping_interval="20ms")
    async with run_houses(house), meet(house) as raw:
        for _ in range(10):
            [ping] = await raw.messages(1)
            await raw.control(MessageKind.PONG, ping.payload)
        assert house.peers


async def test_no_more_peers_than_allowed(tmp_path: Path) -> None:
    """The next one is told so, and may come when there is room."""
    house = House(tmp_path, max_peers=1)
    async with run_houses(house):
        async with meet(house), await connect(house) as stream:
            end, _ = await shake(stream, make_id())
            assert isinstance(end, Refused)
            assert end.text == "too many peers"
        await house.wait_peers(0)
        async with meet(house):
            pass
