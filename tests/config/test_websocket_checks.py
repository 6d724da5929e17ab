"""[[websocket]]: its URL, certificates, topics and time zone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Loaded
from appliance.config.urls import WebsocketUrl, parse_websocket_url

Loader = Callable[..., Loaded]
Mistakes = Callable[..., list[str]]

HEAD = "[[websocket]]\nname = 'w'\n"
WS = "url = 'ws://h:1'\n"
WSS = "url = 'wss://h:1'\n"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://127.0.0.1:27759", (False, "127.0.0.1", 27759, "/v1/messages/json", "127.0.0.1:27759")),
        ("ws://127.0.0.1:27759/v1/messages/json", (False, "127.0.0.1", 27759, "/v1/messages/json", "127.0.0.1:27759")),
        ("WSS://Zeek.Example/", (True, "zeek.example", 443, "/v1/messages/json", "zeek.example")),
        ("ws://[::1]:80/proxied?to=zeek", (False, "::1", 80, "/proxied?to=zeek", "[::1]")),
        ("ws://[0:0::1]:81", (False, "::1", 81, "/v1/messages/json", "[::1]:81")),
    ],
)
def test_urls(text: str, url: tuple[bool, str, int, str, str]) -> None:
    """With the ports of HTTP and Zeek's path if there is none."""
    found = parse_websocket_url(text)
    assert (*found, found.authority) == url
    assert isinstance(found, WebsocketUrl)


EXPECTED = """url: expected "ws://host:port" or "wss://host:port", got """


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("url = '127.0.0.1:1'", f"{EXPECTED}'127.0.0.1:1'"),
        ("url = 'http://h:1'", f"{EXPECTED}'http://h:1'"),
        ("url = 'ws://h:1/#x'", f"{EXPECTED}'ws://h:1/#x'"),
        ("url = 'ws://u:p@h:1'", f"{EXPECTED}'ws://u:p@h:1', a user and password go into authorization_file"),
        ("url = 'ws://h:0'", "url: there is no port 0"),
        ("url = 'ws://h:65536'", "url: there is no port 65536"),
        ("url = 'ws://[x]:1'", "url: '[x]' is no IPv6 address"),
        (WS + "ca = 'x'", 'ca: has no effect without TLS, write "wss://h:1"'),
        (WS + "certificate = 'x'", 'certificate: has no effect without TLS, write "wss://h:1"'),
        (WSS + "key = 'x'", "key: needs certificate"),
        (WSS + "certificate = 'x'", "certificate: needs key"),
        (WSS + "passphrase_file = 'x'", "passphrase_file: needs key"),
        (WSS + "verify = false\nca = 'x'", "ca: has no effect with verify = false"),
        (WSS + "verify = false\nserver_name = 'x'", "server_name: has no effect with verify = false"),
        (WS + "topics = ['a', 'a']", 'topics[1]: "a" is there twice'),
        (WS + "publish = ['']", "publish[0]: a topic must not be empty, leave publish out to allow everything"),
        (WS + "time_zone = 'Nowhere'", 'time_zone: there is no time zone "Nowhere", write "Europe/Berlin"'),
        (WS + "time_zone = '../x'", 'time_zone: there is no time zone "../x", write "Europe/Berlin"'),
        (WS + "ack_timeout = '0s'", "ack_timeout: must be more than 0"),
        (WS + "queue_bytes = 0", "queue_bytes: must be more than 0"),
        (WS + "retry_interval = '1m'\nretry_max = '1s'", "retry_max: is shorter than retry_interval, 1m"),
        (WS + "max_message = '1KiB'", "max_message: expected 64KiB to 1GiB, got 1KiB"),
        (WS + "topic = ['a']", 'topic: unknown key, did you mean "topics"?'),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_key(mistakes: Mistakes, text: str, told: str) -> None:
    """One line each."""
    line = 3 + text.count("\n")
    assert mistakes(HEAD + text + "\n") == [f"site.toml:{line}: websocket[0].{told}"]


def test_an_application_that_zeek_would_refuse(mistakes: Mistakes) -> None:
    """A blank, for example."""
    (told,) = mistakes(HEAD + WS + "application = 'a b'\n")
    assert told.startswith("site.toml:4: websocket[0].application: ")


def test_files_are_found_beside_the_file(read: Loader) -> None:
    """As all inputs are."""
    names = ("ca", "certificate", "key", "passphrase_file", "authorization_file")
    loaded = read(HEAD + WSS + "".join(f"{name} = '{name}.x'\n" for name in names))
    (table,) = loaded.config.websocket
    folder = str(loaded.files[0].absolute().parent)
    assert [getattr(table, name) for name in names] == [f"{folder}/{name}.x" for name in names]


def test_only_events_can_go_out(mistakes: Mistakes) -> None:
    """A sink that has no other way for logs or prints is told so."""
    sink = "[[sink]]\nname = 's'\nkind = 'broker'\ntopic = 't/'\non = ['event:*', 'log:conn', 'print:']\n"
    hint = 'cannot go out through a WebSocket, only events can, write [broker], or on = ["event:*"]'
    told = [f'site.toml:8: sink[0].on[1]: "log:conn" {hint}', f'site.toml:8: sink[0].on[2]: "print:" {hint}']
    broker = "[broker]\nlisten = ['127.0.0.1:0']\n"
    assert mistakes(HEAD + WS + sink) == told
    assert mistakes(HEAD + WS + sink + "via = ['websocket.w']\n" + broker) == told
    assert mistakes(HEAD + WS + sink + broker) == []


def test_it_is_a_door_and_an_outlet(mistakes: Mistakes) -> None:
    """For `from` and `via`, and for sinks that publish."""
    text = HEAD + WS + "[[sink]]\nname = 's'\nkind = 'broker'\ntopic = 't/'\non = ['event:*']\n"
    assert mistakes(text + "from = ['websocket.w']\nvia = ['websocket.*']\n") == []
    assert mistakes(text + "via = ['websocket.x']\n") == [
        'site.toml:9: sink[0].via[0]: nothing can be published through "websocket.x", did you mean "websocket.w"?'
    ]
