"""Mistakes in captures: keys of another kind of socket, addresses, shared sockets, handlers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Capture, CaptureGroup, Handler, group_captures, mistakes_in_captures, parse_group

Mistakes = Callable[..., list[str]]


def table(name: str = "c", conn_type: str = "udp", address: str = '["", 53]', more: str = "", handler: str = "") -> str:
    """Seven lines at least: a capture with one handler, called as the capture."""
    head = f"[[capture]]\nname = '{name}'\nconn_type = '{conn_type}'\naddress = {address}\n{more}"
    return f"{head}[[capture.handler]]\nname = '{name}'\nfile_name_pattern = '{name}'\n{handler}"


ETHERNET = {"conn_type": "ethernet", "address": '["eth1", 3]'}
TCP = {"conn_type": "tcp", "address": '["h", 80]'}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (table(more="filter = 'udp'\n"), '5: capture[0].filter: is for conn_type "ethernet"'),
        (table(more="mode = 'listen'\n"), '5: capture[0].mode: is for conn_type "tcp"'),
        (table(**TCP, more="multicast = ['239.0.0.1']\n"), '5: capture[0].multicast: is for conn_type "udp"'),
        (table(**ETHERNET, more="interface = 'eth1'\n"), '5: capture[0].interface: is for conn_type "udp" or "tcp"'),
        (table(conn_type="tcp", address='["", 80]'),
         "4: capture[0].address: a host and a port are needed to connect to"),
        (table(conn_type="ethernet", address='["a/b", 3]'),
         "4: capture[0].address: 'a/b' is not the name of an interface"),
        (table(conn_type="ethernet", address='["..", 3]'),
         "4: capture[0].address: '..' is not the name of an interface"),
        (table(address='["a/b", 3]'), "4: capture[0].address: 'a/b' is neither a host's name nor an address"),
        (table(more="multicast = ['x']\n"),
         """5: capture[0].multicast[0]: expected "group" or "source@group", got 'x'"""),
        (table(more="multicast = ['10.0.0.1']\n"), "5: capture[0].multicast[0]: 10.0.0.1 is not a multicast address"),
        (table(more="multicast = ['::1@232.0.0.1']\n"),
         "5: capture[0].multicast[0]: ::1 cannot be the source of 232.0.0.1"),
        (table(more="multicast = ['ff3e::1']\n"),
         '5: capture[0].multicast[0]: needs a socket on an IPv6 address, write address = ["::", port]'),
        (table(**TCP, more="ca = 'x'\n"), "5: capture[0].ca: is for TLS, write tls = true"),
        (table(**TCP, more="mode = 'listen'\ntls = true\n"),
         "6: capture[0].tls: a server needs a certificate and its key, set certificate and key"),
        (table(**TCP, more="tls = true\ncertificate = 'x'\n"),
         "6: capture[0].certificate: certificate and key go together"),
        (table(**TCP, more="max_clients = 5\n"),
         '5: capture[0].max_clients: is for those who listen, write mode = "listen"'),
        (table(**TCP, more="max_frame = '1MiB'\n"), "5: capture[0].max_frame: must be 1 to 262144 bytes, got 1MiB"),
        (table(**TCP, more="keepalive = '10ms'\n"), "5: capture[0].keepalive: must be at least 1s, got 10ms"),
        (table(**ETHERNET, handler="linktype = 'user0'\n"),
         ("8: capture[0].handler[0].linktype: frames are always of link type 1, "
          'leave it out, or write linktype = "auto"')),
        (table(**TCP, handler="linktype = 'ip'\npre_write_transforms = ['a:b']\n"),
         '8: capture[0].handler[0].linktype: a stream that transforms change has no headers, write linktype = "user0"'),
        (table(handler="pre_write_transforms = ['a.b']\n"),
         ('8: capture[0].handler[0].pre_write_transforms[0]: expected "package.module:attribute", got "a.b", '
          'did you mean "a:b"?')),
        (table(handler="[[capture.handler]]\nname = 'c'\n"),
         ('9: capture[0].handler[1].name: the name "c" is used twice, '
          "first by capture[0].handler[0].name at site.toml:6")),
        (table() + table("d", "tcp", more="mode = 'listen'\n"),
         '10: capture[1].conn_type: the address is that of capture[0] at site.toml:1, which is "udp"'),
        (table() + table("d", more="receive_buffer = '1MiB'\n"),
         ("12: capture[1].receive_buffer: the socket is opened by capture[0] at site.toml:1, which says otherwise, "
          "write the same, or leave it out here")),
        (table("a", "tcp", more="mode = 'listen'\n") + "[[zmq]]\nname = 'z'\nbind = ['tcp://*:53']\n",
         "4: capture[0].address: is bound already by zmq[0].bind[0] at site.toml:11"),
    ],
)  # fmt: skip
def test_mistake_is_told_with_its_place(mistakes: Mistakes, text: str, told: str) -> None:
    """File, line, key path, what is wrong, and what would be right."""
    assert mistakes(text) == [f"site.toml:{told}"]


@pytest.mark.parametrize(
    "text",
    [
        table() + table("d"),
        table(more="receive_buffer = '1MiB'\n") + table("d"),
        table(more="receive_buffer = '1MiB'\n") + table("d", more="receive_buffer = '1MiB'\n"),
        table(address='["127.0.0.1", 53]') + table("d", "tcp", '["127.0.0.2", 53]', "mode = 'listen'\n"),
        table(address='["", 0]') + table("d", "tcp", '["", 0]', "mode = 'listen'\n"),
        table(more="multicast = ['239.1.2.3', '10.0.0.1@232.1.2.3']\ninterface = 'eth0'\n"),
        table(address='["::", 53]', more="multicast = ['ff3e::1', 'fe80::1@ff3e::2']\n"),
        table(**ETHERNET, more="filter = 'udp'\npromiscuous = false\nsnaplen = 1500\n"),
        table(**ETHERNET) + table("d", "ethernet", '["eth1", 0]'),
        table(**TCP, more="framing = 'u32be'\nmax_frame = '256KiB'\ntls = true\nca = 'x'\n"),
        table(handler="linktype = 'ip'\npre_write_transforms = ['a:b']\non_transform_error = 'quarantine'\n"),
        table(handler="compress = 'zstd'\nkeep = { size = '1GiB', age = '1d' }\nformat = 'pcapng'\n"),
    ],
)
def test_what_goes_together_passes(mistakes: Mistakes, text: str) -> None:
    """Shared sockets, several kinds of sockets, everything that a handler can say."""
    assert mistakes(text) == []


def capture(name: str, address: tuple[str, int], conn_type: str = "udp") -> Capture:
    return Capture(name=name, conn_type=conn_type, address=address, handler=(Handler(name=f"h{name}"),))  # type: ignore[arg-type]


def test_captures_of_one_address_share_a_socket() -> None:
    """However the address is written; port 0 is another one each time."""
    found = group_captures(
        [
            capture("a", ("", 53)), capture("b", ("127.0.0.1", 53)), capture("c", ("0.0.0.0", 53)),
            capture("d", ("", 0)), capture("e", ("", 0)), capture("f", ("::1", 53)), capture("g", ("0:0::1", 53)),
            capture("h", ("eth1", 0), "ethernet"), capture("i", ("eth1", 3), "ethernet"),
        ]
    )  # fmt: skip
    assert ["".join(each.name for each in group.captures) for group in found] == ["ac", "b", "d", "e", "fg", "hi"]
    assert found[0].first.name == "a"
    assert [(name, handler.name) for name, handler in found[0].handlers] == [("a", "ha"), ("c", "hc")]
    assert CaptureGroup((capture("a", ("", 53)),)) == CaptureGroup((capture("a", ("", 53)),))


def test_group_is_read_with_its_source() -> None:
    """In its shortest form."""
    assert parse_group("239.1.2.3") == ("239.1.2.3", "")
    assert parse_group("fe80::1@ff3e:0::1") == ("ff3e::1", "fe80::1")


def test_tables_of_no_file_are_judged_as_a_files() -> None:
    """For captures that are started while running."""
    good = capture("a", ("", 53))
    assert mistakes_in_captures((good,), "/s") == []
    (mistake,) = mistakes_in_captures((good, capture("b", ("", 53), "tcp")), "/s")
    assert mistake.key == "capture[1].address"
    assert "a host and a port" in str(mistake)
