"""Connections that come and go: reconnection, topics that are asked for meanwhile, reload, the drain, TLS."""

from __future__ import annotations

import base64
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.errors import ConfigError
from appliance.zeek.values import Count
from tests.broker.conftest import make_certificates

from .harness import House, Stub, data, event, run_house, serve, table, wait_until


async def test_after_a_break_the_same_topics_are_subscribed_to_again() -> None:
    """As another endpoint, whose name the events have from then on."""
    async with serve() as server:
        house = House(server.url, topics=("b/", "a/", "a/within"))
        async with run_house(house, server):
            for number in range(3):
                conn = await server.meet()
                assert conn.topics == ["a/", "b/"]
                await conn.send(data("e", topic="a/x"))
                await house.wait_events(number + 1)
                await conn.close()
            await server.meet()
            await house.wait_ready()
        assert [batch.peer for batch in house.batches] == [f"zeek-websocket-{number}" for number in range(3)]


async def test_delays_grow_and_begin_anew_after_a_good_connection(autojump_clock: trio.testing.MockClock) -> None:
    """Up to `retry_max`, each shortened by chance; what lasted ten seconds was good."""
    async with serve() as server:
        house = House(server.url, retry_interval="1s", retry_max="4s")
        async with run_house(house, server):
            gaps = []
            for _ in range(5):
                conn = await server.accept()
                await conn.close()
                ended = trio.current_time()
                await wait_until(lambda: house.figures.dialers[0].state == "waiting")
                await wait_until(lambda: house.figures.dialers[0].state == "connecting")
                gaps.append(trio.current_time() - ended)
            for gap, longest in zip(gaps, (1, 2, 4, 4, 4), strict=True):
                assert 0.79 * longest <= gap <= longest + 0.1
            conn = await server.meet()
            await house.wait_ready()
            await trio.sleep(10)
            await conn.close()
            ended = trio.current_time()
            await server.accept()
            assert trio.current_time() - ended <= 1.1


async def test_who_asks_for_more_gets_a_connection_of_his_own() -> None:
    """Only if the first one does not bring it, and as long as he asks."""
    async with serve() as server:
        house = House(server.url, topics=("t/",))
        async with run_house(house, server):
            first = await server.meet()
            await house.wait_ready()
            with house.outlet.subscribed(["t/x", "<$>/local/", "\udcff"]):
                assert len(house.figures.dialers) == 1
            with house.outlet.subscribed(["u/"]):
                second = await server.meet()
                assert second.topics == ["u/"]
                await house.wait_ready(2)
                await second.send(data("more", topic="u/x"))
                await first.send(data("own", topic="t/x"))
                assert {name for _, name, _ in await house.wait_events(2)} == {"more", "own"}
            assert await second.wait_closed() == 1000
            await second.close()
            await house.wait_ready(1)
            await first.send(data("late", topic="u/x"))
            await wait_until(lambda: house.books("messages").dropped == {"unsubscribed": 1})
            assert len(server.conns) == 2


async def test_an_event_that_comes_twice_is_taken_once() -> None:
    """From the connection that is older; the younger one serves while that one is down."""
    async with serve() as server:
        house = House(server.url, topics=("t/",), retry_interval="50ms", retry_max="50ms")
        async with run_house(house, server):
            first = await server.meet()
            await house.wait_ready()
            with house.outlet.subscribed([""]):
                second = await server.meet()
                await house.wait_ready(2)
                for conn in (second, first):
                    await conn.send(data("twice", topic="t/x"))
                await second.send(data("once", topic="u/x"))
                await wait_until(lambda: house.books("").received == 2)
                assert house.books("messages").dropped == {"duplicate": 1}
                await first.close()
                await house.wait_ready(1)
                await second.send(data("meanwhile", topic="t/x"))
                assert len(await house.wait_events(3)) == 3
                again = await server.meet()
                assert again.topics == [""]  # with all that is asked for: the other one is not needed any more
                assert await second.wait_closed() == 1000
                await second.close()
                await house.wait_ready(1)
                await again.send(data("after", topic="u/x"))
                assert len(await house.wait_events(4)) == 4


async def test_what_is_asked_for_before_the_start_needs_no_connection_of_its_own() -> None:
    """Consumers start before doors."""
    async with serve() as server:
        house = House(server.url, topics=("t/",))
        with house.outlet.subscribed(["u/"]):
            async with run_house(house, server):
                conn = await server.meet()
                assert conn.topics == ["t/", "u/"]
                await house.wait_ready()
                assert len(house.figures.dialers) == 1


async def test_everybody_who_asks_at_once() -> None:
    """And all of them gone while they connect."""
    async with serve() as server:
        house = House(server.url, topics=())
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()
            with ExitStack() as stack:
                for number in range(8):
                    stack.enter_context(house.outlet.subscribed([f"{number}/"]))
                await wait_until(lambda: len(server.conns) == 9)
                assert len(house.figures.dialers) == 9
            await wait_until(lambda: len(house.figures.dialers) == 1)
            assert len(house.figures.peers) == 1


@pytest.mark.parametrize(
    ("keys", "stays"),
    [
        ({"publish": ("u/",)}, True),
        ({"queue": 5, "overflow": "drop_newest"}, True),
        ({"ping_interval": "1h"}, True),
        ({"retry_interval": "20ms"}, True),
        ({"topics": ("u/",)}, False),
        ({"url": "ws://127.0.0.1:2"}, False),
        ({"application": "x"}, False),
        ({"max_message": 65536}, False),
    ],
)
async def test_what_a_reload_changes_while_the_connection_stays(keys: dict[str, Any], stays: bool) -> None:
    """Everything else needs a new client."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()
            changed = table(**({"url": server.url} | keys))
            assert house.client.apply(changed) is stays
            assert (house.client.table == changed) is stays
            allowed = "publish" not in keys
            assert house.publish("t/x", event()) == ((1, "") if allowed else (0, "not_allowed"))
            assert len(server.conns) == 1


async def test_the_drain_takes_in_nothing_more_and_goes_on_sending() -> None:
    """What was read is handed on first; nothing is dialled again."""
    async with serve() as server:
        house = House(server.url)
        async with run_house(house, server):
            conn = await server.meet()
            await conn.send(data("before"))
            await house.wait_events(1)
            await house.client.stop_intake()
            await conn.send(data("after"))
            assert house.publish("t/x", event("last")) == (1, "")
            assert (await conn.event())[1] == "last"
            with house.outlet.subscribed(["u/"]):
                assert len(house.figures.dialers) == 1
        assert house.books("").received == 1
        assert len(server.conns) == 1


async def test_the_drain_without_a_connection() -> None:
    """Ends the attempts."""
    house = House("ws://127.0.0.1:1")
    async with run_house(house):
        await wait_until(lambda: bool(house.error))
        await house.client.stop_intake()


# ── TLS ──


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As in the room of Broker; ``node`` and ``expired`` are for 127.0.0.1."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), san="IP:127.0.0.1,DNS:zeek.example")


def server_context(folder: Path, node: str = "node", *, ca: str = "") -> ssl.SSLContext:
    """A server with a certificate that wants one of an authority, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{node}.pem", folder / f"{node}.key")
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / f"{ca}.pem")
    return context


def files(folder: Path, **names: str) -> dict[str, Any]:
    return {key: str(folder / name) for key, name in names.items()}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"ca": "ca.pem"}, {}),
        ({"ca": "ca.pem"}, {"server_name": "zeek.example"}),
        ({}, {"verify": False}),
    ],
    ids=["address", "name", "unverified"],
)
async def test_tls(certificates: Path, keys: dict[str, str], named: dict[str, Any]) -> None:
    """Events both ways; the server's name is checked unless the table says otherwise."""
    async with serve(server_context(certificates)) as server:
        house = House(server.url, **files(certificates, **keys), **named)
        async with run_house(house, server):
            conn = await server.meet()
            await house.wait_ready()
            await conn.send(data("in", b"x" * 100_000))
            assert await house.wait_events(1) == [("t/x", "in", (b"x" * 100_000,))]
            assert house.publish("t/x", event("out", Count(1))) == (1, "")
            assert (await conn.event())[1] == "out"


async def test_a_certificate_of_our_own(certificates: Path) -> None:
    """With a passphrase, for a server that wants one."""
    ours = files(certificates, ca="ca.pem", certificate="locked.pem", key="locked.key", passphrase_file="locked.pass")
    async with serve(server_context(certificates, ca="ca")) as server:
        house = House(server.url, **ours)
        async with run_house(house, server):
            await server.meet()
            await house.wait_ready()


@pytest.mark.parametrize(
    ("node", "keys", "told"),
    [
        ("node", {"ca": "other-ca.pem"}, "the server's certificate is not accepted: unable to get local issuer"),
        ("other", {"ca": "ca.pem"}, "the server's certificate is not accepted: "),
        ("expired", {"ca": "ca.pem"}, "the server's certificate is not accepted: certificate has expired"),
    ],
)
async def test_a_server_that_is_not_believed(certificates: Path, node: str, keys: dict[str, str], told: str) -> None:
    """It is told why, and so are we."""
    async with serve(server_context(certificates, node)) as server:
        house = House(server.url, **files(certificates, **keys))
        async with run_house(house), trio.open_nursery() as nursery:
            nursery.start_soon(_fail_for_ever, server)
            await wait_until(lambda: house.error.startswith(told))
            nursery.cancel_scope.cancel()


async def test_another_name_than_the_certificate_has(certificates: Path) -> None:
    """Is not believed."""
    async with serve(server_context(certificates)) as server:
        house = House(server.url, server_name="other.example", **files(certificates, ca="ca.pem"))
        async with run_house(house), trio.open_nursery() as nursery:
            nursery.start_soon(_fail_for_ever, server)
            await wait_until(lambda: "Hostname mismatch" in house.error)
            nursery.cancel_scope.cancel()


async def test_a_server_without_tls() -> None:
    """It is said what to write."""
    async with serve() as server:
        house = House(server.url.replace("ws:", "wss:"), verify=False)
        async with run_house(house):
            conn = await server.accept()
            await conn.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await conn.stream.send_eof()  # type: ignore[attr-defined]
            await wait_until(lambda: house.error == 'the server does not speak TLS; write "ws://"')


async def _fail_for_ever(server: Stub) -> None:
    while True:
        conn = await server.accept()
        with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
            await conn.head()
        await conn.close()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"ca": "missing.pem"}, "missing.pem: No such file"),
        ({"ca": "empty.pem"}, "cannot use .*empty.pem"),
        ({"ca": "ca.pem", "certificate": "node.pem", "key": "other.key"}, "cannot use .*node.pem"),
        ({"authorization_file": "missing"}, "cannot read .*missing: No such file"),
    ],
)
async def test_files_that_cannot_be_used(certificates: Path, keys: dict[str, str], told: str) -> None:
    """The start fails, with the key."""
    house = House("wss://127.0.0.1:1", **files(certificates, **keys))
    with pytest.raises(ConfigError, match=told) as caught:
        await house.client.run()
    assert caught.value.key.startswith("websocket.zeek.")


async def test_a_proxy_that_asks_who_we_are(tmp_path: Path) -> None:
    """It is sent the first line of a file; one that cannot be sent is refused and not shown."""
    secret = "Basic " + base64.b64encode(b"user:secret").decode()
    (tmp_path / "auth").write_text(secret + "\nnot this\n")
    async with serve() as server:
        house = House(server.url, authorization_file=str(tmp_path / "auth"))
        async with run_house(house, server):
            conn = await server.meet()
            assert conn.headers[b"authorization"] == secret.encode()
    (tmp_path / "auth").write_text("Basic s\u00e9cret\n")
    with pytest.raises(ConfigError) as caught:
        await House("ws://127.0.0.1:1", authorization_file=str(tmp_path / "auth")).client.run()
    assert "cret" not in str(caught.value)
