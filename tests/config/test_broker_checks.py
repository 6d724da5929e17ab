"""[broker]: its addresses, certificates and topics, and what the environment says about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Broker, Loaded, diff
from appliance.units import Duration

Loader = Callable[..., Loaded]
Mistakes = Callable[..., list[str]]

MUTUAL = "[broker]\ntls = 'mutual'\ncertificate = 'a.pem'\nkey = 'a.key'\nca = 'ca.pem'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen = ['::1:9999']", """listen[0]: expected "host:port" or "[address]:port", got '::1:9999'"""),
        ("listen = ['x']", """listen[0]: expected "host:port" or "[address]:port", got 'x'"""),
        ("listen = ['[x]:1']", "listen[0]: 'x' is not an IPv6 address"),
        ("listen = ['a:99999']", "listen[0]: port 99999 is beyond 65535"),
        ("listen = ['127.0.0.1:9', ':9']", "listen[1]: is bound already by broker.listen[0] at site.toml:2"),
        ("listen = ['[::1]:9', '[0::1]:9']", "listen[1]: is bound already by broker.listen[0] at site.toml:2"),
        ("connect = ['x']", """connect[0]: expected "host:port" or "[address]:port", got 'x'"""),
        ("connect = ['x:0']", 'connect[0]: expected "host:port" of a peer, got "x:0"'),
        ("connect = [':5']", 'connect[0]: expected "host:port" of a peer, got ":5"'),
        ("connect = ['x:5', 'X:5']", "connect[1]: is dialled already by broker.connect[0] at site.toml:2"),
        ("listen = ['127.0.0.1:5']\nconnect = ['127.0.0.1:5']", 'connect[0]: "127.0.0.1:5" is our own address'),
        ("retry_interval = '0s'", "retry_interval: must be more than 0"),
        ("handshake_timeout = '0s'", "handshake_timeout: must be more than 0"),
        ("max_wait = '0s'", "max_wait: must be more than 0"),
        ("queue_bytes = 0", "queue_bytes: must be more than 0"),
        ("queue = 0", "queue: expected 1 to 10000000, got 0"),
        ("max_message = '1KiB'", "max_message: expected 64KiB to 2147483642, got 1KiB"),
        ("max_message = '2GiB'", "max_message: expected 64KiB to 2147483642, got 2GiB"),
        ("overflow = 'block'", 'overflow: expected "drop_oldest", "drop_newest" or "disconnect", got "block"'),
        ("certificate = 'x'", 'certificate: has no effect with tls = "anonymous", write tls = "mutual"'),
        ("tls = 'off'\npassphrase_file = 'x'",
         'passphrase_file: has no effect with tls = "off", write tls = "mutual"'),
        ("subscribe = ['<$>/local/x']", 'subscribe[0]: "<$>/local/x" is one of Broker\'s own'),
        ("subscribe = ['a', 'b', 'a']", 'subscribe[2]: "a" is there twice'),
        ("publish = ['']", "publish[0]: a topic must not be empty, leave publish out to allow everything"),
        (f"publish = ['{'x' * 65536}']", "publish[0]: is longer than 65535 bytes"),
        ("subscribe = ['a/']\nadvertise = ['b/']",
         'advertise[0]: "b/" has no effect: nothing of it is subscribed to, add it to subscribe'),
        ("forwards = true", 'forwards: unknown key, did you mean "forward"?'),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_key(mistakes: Mistakes, text: str, told: str) -> None:
    """One line each."""
    line = 2 + text.count("\n")
    assert mistakes(f"[broker]\n{text}\n") == [f"site.toml:{line}: broker.{told}"]


def test_mutual_needs_its_files(mistakes: Mistakes) -> None:
    """All three of them; the passphrase is for keys that have one."""
    assert mistakes(MUTUAL) == []
    assert mistakes("[broker]\ntls = 'mutual'\ncertificate = 'x'\n") == [
        'site.toml:1: broker.key: missing, tls = "mutual" needs it',
        'site.toml:1: broker.ca: missing, tls = "mutual" needs it',
    ]


def test_addresses_collide_with_those_of_other_tables(mistakes: Mistakes) -> None:
    """A port is a port."""
    text = "[broker]\nlisten = ['127.0.0.1:9999']\n[[zmq]]\nname = 'z'\nbind = ['tcp://*:9999']\n"
    assert mistakes(text) == ["site.toml:2: broker.listen[0]: is bound already by zmq[0].bind[0] at site.toml:5"]


@pytest.mark.parametrize(
    "advertise", ["['zeek/event/']", "['zeek/event/my/x']", "['']", "[]", "['zeek/event/my/', 'bro/']"]
)
def test_a_part_of_the_subscriptions_may_be_advertised(mistakes: Mistakes, advertise: str) -> None:
    """Wider or narrower prefixes, or nothing at all."""
    text = f"[broker]\nsubscribe = ['zeek/event/my/', 'bro/print/']\nadvertise = {advertise}\n"
    assert mistakes(text) == []


def test_paths_are_those_of_the_file(read: Loader) -> None:
    """As of all inputs."""
    broker = read(MUTUAL + "passphrase_file = '/x/y'\n").config.broker
    for name in ("certificate", "key", "ca"):
        assert getattr(broker, name).startswith("/")
    assert broker.passphrase_file == "/x/y"


@pytest.mark.parametrize(
    ("text", "is_endpoint"),
    [("", False), ("[broker]\nsubscribe = ['a']", False), ("[broker]\nlisten = [':0']", True),
     ("[broker]\nconnect = ['x:1']", True)],
)  # fmt: skip
def test_an_endpoint_needs_an_address(read: Loader, text: str, is_endpoint: bool) -> None:
    """Without one there is no service."""
    config = read(text).config
    assert config.broker.is_endpoint is is_endpoint
    assert ("broker" in diff(read("").config, config).added) is is_endpoint


def test_consumers_may_name_it(mistakes: Mistakes) -> None:
    """If it is there."""
    sink = "[[sink]]\nname = 's'\non = ['log:*']\nfrom = ['broker']\n"
    assert mistakes(sink + "[broker]\nlisten = ['127.0.0.1:0']\n") == []
    assert mistakes(sink) == ['site.toml:4: sink[0].from[0]: no door matches "broker", there are no doors']


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, Duration(3 * 10**9)),
        ({"ZEEK_DEFAULT_CONNECT_RETRY": "7"}, Duration(7 * 10**9)),
        ({"BRO_DEFAULT_CONNECT_RETRY": " 0.5 "}, Duration(5 * 10**8)),
        ({"ZEEK_DEFAULT_CONNECT_RETRY": "7", "BRO_DEFAULT_CONNECT_RETRY": "8"}, Duration(7 * 10**9)),
        ({"ZEEK_DEFAULT_CONNECT_RETRY": "", "BRO_DEFAULT_CONNECT_RETRY": "8"}, Duration(8 * 10**9)),
    ],
)
def test_the_environment_overrides_the_interval(read: Loader, environ: dict[str, str], interval: Duration) -> None:
    """In seconds, Zeek's name before Bro's; an empty one is none."""
    assert read("[broker]\nretry_interval = '3s'\n", environ=environ).config.broker.retry_interval == interval


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1s", "1e9", "99999999999999999999"])
def test_a_bad_interval_in_the_environment_is_told(mistakes: Mistakes, text: str) -> None:
    """With the variable's name."""
    name = "BRO_DEFAULT_CONNECT_RETRY"
    assert mistakes("", environ={name: text}) == [
        f'site.toml: broker.retry_interval: {name}="{text}" in the environment is not a number of seconds above 0'
    ]


@pytest.mark.parametrize(
    ("host", "listen"),
    [("", (":9", "127.0.0.1:9998")), ("192.0.2.1", ("192.0.2.1:9", "127.0.0.1:9998")),
     ("::1", ("[::1]:9", "127.0.0.1:9998"))],
)  # fmt: skip
def test_the_environment_names_the_default_address(read: Loader, host: str, listen: tuple[str, ...]) -> None:
    """For those that have no host."""
    text = "[broker]\nlisten = [':9', '127.0.0.1:9998']\n"
    assert read(text, environ={"ZEEK_DEFAULT_LISTEN_ADDRESS": host}).config.broker.listen == listen


def test_defaults_are_those_of_zeek(read: Loader) -> None:
    """Encrypted without certificates, a second between attempts, 8192 messages, the oldest go first."""
    broker = read("").config.broker
    assert broker == Broker()
    assert (broker.tls, broker.retry_interval, broker.queue) == ("anonymous", Duration(10**9), 8192)
    assert (broker.overflow, broker.forward) == ("drop_oldest", False)
