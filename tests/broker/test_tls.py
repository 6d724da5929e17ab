"""TLS between endpoints of ours: what connects, what does not, and what people are told then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from appliance.broker.tls import is_tls, make_contexts
from appliance.errors import ConfigError
from appliance.runtime.tls_stream import TlsStream
from appliance.wire.node_messages import MessageKind, kind_number
from appliance.zeek.values import Count

from .harness import House, event, run_houses, table, wait_until
from .raw import connect

ANONYMOUS: dict[str, Any] = {"tls": "anonymous"}
OFF: dict[str, Any] = {"tls": "off"}


def mutual(folder: Path, node: str = "node", ca: str = "ca", **more: str) -> dict[str, Any]:
    return {
        "tls": "mutual",
        "certificate": str(folder / f"{node}.pem"),
        "key": str(folder / f"{node}.key"),
        "ca": str(folder / f"{ca}.pem"),
        **more,
    }


@pytest.mark.parametrize("mode", ["anonymous", "mutual", "locked"])
async def test_equal_modes_connect(tmp_path: Path, certificates: Path, mode: str) -> None:
    """Events go both ways, a lot of them at once, and farewells are heard."""
    locked = {"passphrase_file": str(certificates / "locked.pass")}
    keys = {
        "anonymous": ANONYMOUS,
        "mutual": mutual(certificates),
        "locked": mutual(certificates, "locked", **locked),
    }[mode]
    a = House(tmp_path / "a", **keys)
    async with run_houses(a):
        b = House(tmp_path / "b", listen=(), connect=(a.address,), **keys)
        async with run_houses(b):
            await a.wait_peers(1)
            await b.wait_peers(1)
            messages = [event("A::many", Count(number), b"x" * 500) for number in range(3000)]
            a.publish("t", *messages)
            b.publish("t", *messages)
            await wait_until(lambda: a.incoming.delivered == b.incoming.delivered == 3000)
            assert [args[0] for args in await b.events()] == [Count(number) for number in range(3000)]
    assert a.outgoing.dropped == b.outgoing.dropped == {}


_NO_COMMON = "no common cipher"
_NO_WORD = "without a word; do both sides have the same TLS mode"


@pytest.mark.parametrize(
    ("dialer", "listener", "dialer_told", "listener_told"),
    [
        ("anonymous", "off", "the peer does not speak TLS", 'the peer speaks TLS, and we are set to tls = "off"'),
        ("mutual", "off", "the peer does not speak TLS", 'the peer speaks TLS, and we are set to tls = "off"'),
        ("off", "anonymous", "TLS", "the peer does not speak TLS"),
        ("off", "mutual", "TLS", "the peer does not speak TLS"),
        ("anonymous", "mutual", _NO_COMMON, _NO_COMMON),
        ("mutual", "anonymous", _NO_COMMON, _NO_COMMON),
        ("mutual", "other", "certificate", "certificate"),
        ("other", "mutual", "certificate", "certificate"),
        ("expired", "mutual", "certificate", "certificate has expired"),
        ("mutual", "expired", "certificate has expired", "certificate"),
    ],
)
async def test_different_modes_fail_with_clear_words(
    tmp_path: Path, certificates: Path, told: list[EventDict], dialer: str, listener: str, dialer_told: str,
    listener_told: str,
) -> None:  # fmt: skip
    """Each side says what it knows; nobody hangs, and the dialer tries on."""
    modes = {
        "anonymous": ANONYMOUS,
        "off": OFF,
        "mutual": mutual(certificates),
        "other": mutual(certificates, "other", "other-ca"),
        "expired": mutual(certificates, "expired"),
    }
    a = House(tmp_path / "a", **modes[listener])
    async with run_houses(a):
        b = House(tmp_path / "b", listen=(), connect=(a.address,), **modes[dialer])
        async with run_houses(b):
            await wait_until(lambda: b.figures.dialers[0].attempts > 2 and a.figures.refused > 1)
            assert dialer_told in b.figures.dialers[0].last_error
            assert not a.peers
            assert not b.peers
    errors = [entry["error"] for entry in told if entry["event"] == "a connection did not become a peer"]
    assert listener_told in errors[0]  # the last one may have been cut by the end of the test


async def test_garbage_instead_of_tls_is_refused(tmp_path: Path, told: list[EventDict]) -> None:
    """At once, with words."""
    a = House(tmp_path, **ANONYMOUS)
    async with run_houses(a), await connect(a) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        await wait_until(lambda: a.figures.refused == 1)
    [entry] = [entry for entry in told if "did not become" in entry["event"]]
    assert entry["error"].startswith("the peer does not speak TLS")


async def test_a_silent_client_is_cut_after_the_timeout(tmp_path: Path, told: list[EventDict]) -> None:
    """A TLS handshake takes no longer than the whole one may."""
    a = House(tmp_path, handshake_timeout="100ms", **ANONYMOUS)
    async with run_houses(a), await connect(a) as stream:
        assert await stream.receive_some(1) == b""
    [entry] = [entry for entry in told if "did not become" in entry["event"]]
    assert entry["error"] == "it did not finish its handshake within 100ms"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"certificate": "missing.pem"}, "No such file"),
        ({"certificate": "empty.pem"}, "empty.pem"),
        ({"key": "other.key"}, "key values mismatch"),
        ({"ca": "missing.pem"}, "missing.pem: No such file"),
        ({"ca": "empty.pem"}, "empty.pem"),
        ({"passphrase_file": "missing.pass"}, "missing.pass: No such file"),
        ({"certificate": "locked.pem", "key": "locked.key"}, "is it PEM, and is passphrase_file right?"),
        ({"certificate": "locked.pem", "key": "locked.key", "passphrase_file": "wrong.pass"},
         "is it PEM, and is passphrase_file right?"),
    ],
)  # fmt: skip
def test_files_that_are_no_use_are_named(certificates: Path, spoil: dict[str, str], said: str) -> None:
    """Before anything is opened, as a mistake in the configuration."""
    keys = mutual(certificates) | {name: str(certificates / file) for name, file in spoil.items()}
    with pytest.raises(ConfigError) as caught:
        make_contexts(table(**keys))
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["certificate", "key"])
def test_a_missing_file_raises_no_other_questions(certificates: Path, key: str) -> None:
    """It is missing, whatever its form and its passphrase."""
    with pytest.raises(ConfigError) as caught:
        make_contexts(table(**mutual(certificates) | {key: str(certificates / "missing.pem")}))
    assert caught.value.hint == ""


def test_the_default_is_what_broker_speaks() -> None:
    """One anonymous cipher of TLS 1.2; with off there is nothing."""
    contexts = make_contexts(table(tls="anonymous"))
    assert contexts is not None
    for context in (contexts.client, contexts.server):
        ciphers = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
        assert ciphers == ["AECDH-AES256-SHA"]
    assert make_contexts(table(tls="off")) is None


@pytest.mark.parametrize(("data", "found"), [
    (b"\x16\x03\x01\x00", True), (b"\x15\x03\x03", True), (b"\x00\x00\x00\x05\x07", False), (b"\x16", False),
])  # fmt: skip
def test_tls_is_recognised_by_its_first_bytes(data: bytes, found: bool) -> None:
    """A frame that begins so would be longer than any handshake message."""
    assert is_tls(data) is found


async def test_the_last_word_of_the_handshake_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Broker that has read it must find the next message in the socket, not in OpenSSL's buffer."""
    sent: list[bytes] = []
    original = TlsStream.send_all

    async def send_all(self: TlsStream, data: bytes) -> None:
        sent.append(bytes(data))
        await original(self, data)

    monkeypatch.setattr(TlsStream, "send_all", send_all)
    a = House(tmp_path / "a", **ANONYMOUS)
    a.endpoint.announce("key", "t", event("E::e"))
    async with run_houses(a):
        for number in range(8):  # either side leads, sooner or later
            b = House(tmp_path / f"b{number}", listen=(), connect=(a.address,), **ANONYMOUS)
            async with run_houses(b):
                await wait_until(lambda: b.incoming.delivered == 1)  # noqa: B023
            await a.wait_peers(0)
    data = [each for each in sent if b"E::e" in each]
    assert len(data) == 8
    assert [kind_number(each[4:]) for each in data] == [MessageKind.DATA] * 8
