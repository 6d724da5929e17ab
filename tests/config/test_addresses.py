"""Addresses of sockets, and which of them cannot be bound side by side."""

from __future__ import annotations

import re

import pytest

from appliance.config.addresses import Endpoint, parse_bind, parse_listen, parse_peer, parse_udp


@pytest.mark.parametrize(
    ("text", "made", "endpoint"),
    [
        ("tcp://127.0.0.1:12345", None, Endpoint("tcp", "127.0.0.1", 12345)),
        ("tcp://Zeek.Example:1", None, Endpoint("tcp", "zeek.example", 1)),
        ("tcp://*:0", None, Endpoint("tcp", "*", 0)),
        ("tcp://[::1]:65535", None, Endpoint("tcp", "::1", 65535)),
        ("tcp://[0:0::1]:5", None, Endpoint("tcp", "::1", 5)),
        ("tcp://[fe80::1%eth0]:5", None, Endpoint("tcp", "fe80::1%eth0", 5)),
        ("ipc:///run/x.sock", None, Endpoint("unix", "/run/x.sock")),
        ("ipc://x.sock", "ipc:///base/x.sock", Endpoint("unix", "/base/x.sock")),
    ],
)
def test_zeromq_endpoints_are_read(text: str, made: str | None, endpoint: Endpoint) -> None:
    """Relative paths are taken from the base; IPv6 addresses are compared by value."""
    assert parse_bind(text, "/base") == (made or text, endpoint)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("127.0.0.1:1", """expected "tcp://host:port" or "ipc:///path", got '127.0.0.1:1'"""),
        ("tcp://x", """expected "tcp://host:port" or "ipc:///path", got 'tcp://x'"""),
        ("tcp://:1", """expected "tcp://host:port" or "ipc:///path", got 'tcp://:1'"""),
        ("tcp://a b:1", """expected "tcp://host:port" or "ipc:///path", got 'tcp://a b:1'"""),
        ("tcp://::1:1", """expected "tcp://host:port" or "ipc:///path", got 'tcp://::1:1'"""),
        ("udp://x:1", """expected "tcp://host:port" or "ipc:///path", got 'udp://x:1'"""),
        ("tcp://*:*", """expected "tcp://host:port" or "ipc:///path", got 'tcp://*:*'"""),
        ("tcp://x:65536", "port 65536 is beyond 65535"),
        ("tcp://[::x]:1", "'::x' is not an IPv6 address"),
        ("ipc://", "'' is not the path of a socket"),
        ("ipc://@abstract", "'@abstract' is not the path of a socket"),
        ("ipc://*", "'*' is not the path of a socket"),
        ("ipc:///run/", "'/run/' is not the path of a socket"),
    ],
)
def test_other_texts_are_no_zeromq_endpoints(text: str, told: str) -> None:
    """The message says what is expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        parse_bind(text, "/base")


def test_a_socket_path_has_at_most_107_bytes() -> None:
    """Bytes, not characters: the kernel counts those."""
    assert parse_bind("ipc:///" + "x" * 106, "/")[1].host == "/" + "x" * 106
    with pytest.raises(ValueError, match=r"^the socket's path has 109 bytes, at most 107 are possible: /é+$"):
        parse_bind("ipc:///" + "é" * 54, "/")


def test_api_addresses_are_read() -> None:
    """Unix sockets only, relative ones from the base."""
    assert parse_listen("unix:/run/api.sock", "/base") == ("unix:/run/api.sock", Endpoint("unix", "/run/api.sock"))
    assert parse_listen("unix:api.sock", "/base") == ("unix:/base/api.sock", Endpoint("unix", "/base/api.sock"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/run/api.sock", """expected "unix:/path" or "host:port", got '/run/api.sock'"""),
        ("unix:", "'' is not the path of a socket"),
    ],
)
def test_other_texts_are_no_api_addresses(text: str, told: str) -> None:
    """TCP is refused by name."""
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        parse_listen(text, "/base")


def test_capture_addresses_are_read() -> None:
    """Both ways to say "any address" are the same."""
    assert parse_udp("", 1) == parse_udp("0.0.0.0", 1) == Endpoint("udp", "", 1)
    assert parse_udp("::", 1) == Endpoint("udp", "::", 1)
    assert parse_udp("Host", 1) == Endpoint("udp", "host", 1)
    with pytest.raises(ValueError, match=r"^'\[::1\]' is not an IPv6 address$"):
        parse_udp("[::1]", 1)
    with pytest.raises(ValueError, match=r"^'a b' is neither a host's name nor an address$"):
        parse_udp("a b", 1)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        (Endpoint("tcp", "a", 1), Endpoint("tcp", "a", 1), True),
        (Endpoint("tcp", "*", 1), Endpoint("tcp", "a", 1), True),
        (Endpoint("tcp", "a", 1), Endpoint("tcp", "::", 1), True),
        (Endpoint("tcp", "a", 1), Endpoint("tcp", "b", 1), False),
        (Endpoint("tcp", "a", 1), Endpoint("tcp", "a", 2), False),
        (Endpoint("tcp", "a", 0), Endpoint("tcp", "a", 0), False),
        (Endpoint("tcp", "a", 1), Endpoint("udp", "a", 1), False),
        (Endpoint("udp", "a", 1), Endpoint("udp", "a", 1), True),
        (Endpoint("udp", "", 1), Endpoint("udp", "a", 1), False),
        (Endpoint("unix", "/a"), Endpoint("unix", "/a"), True),
        (Endpoint("unix", "/a"), Endpoint("unix", "/b"), False),
    ],
)
def test_collisions_are_those_of_the_kernel(one: Endpoint, other: Endpoint, collide: bool) -> None:
    """A TCP listener on every address excludes one on a single address; port 0 excludes nothing."""
    assert one.collides(other) is collide
    assert other.collides(one) is collide


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9999", ("127.0.0.1", 9999)),
        ("Zeek.Example:1", ("zeek.example", 1)),
        ("[0:0::1]:5", ("::1", 5)),
        ("[fe80::1%eth0]:5", ("fe80::1%eth0", 5)),
        (":0", ("", 0)),
    ],
)
def test_addresses_of_peers_are_read(text: str, found: tuple[str, int]) -> None:
    """Hosts without brackets, in small letters."""
    assert parse_peer(text) == found


@pytest.mark.parametrize("text", ["", "9999", "x", "::1:9", "[::1]", "a b:1", "tcp://x:1", "x:y", "x:123456", "*:1"])
def test_what_is_no_address_of_a_peer_is_refused(text: str) -> None:
    """Each with a sentence."""
    with pytest.raises(ValueError, match=r"expected|is not|beyond"):
        parse_peer(text)
