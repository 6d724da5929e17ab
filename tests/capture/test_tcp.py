"""Streams on real sockets: connecting again and again, many clients, ends that close files and never spin, TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dpkt
import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.capture import streams
from appliance.capture.segments import SegmentWriter
from appliance.capture.tcp import TcpTransport
from appliance.config import Size
from appliance.errors import ApplianceError

from .harness import Bench, handler_table, packets_in, wait_until

Clock = trio.testing.MockClock
SNAPLEN = 262144
TCP = {"conn_type": "tcp", "name": "c"}


def listening(folder: Path, *, handler: dict[str, Any] | None = None, **more: Any) -> Bench:
    return Bench(folder, "{seq}.pcap", socket={**TCP, "mode": "listen", **more}, **(handler or {}))


def connecting(folder: Path, port: int, *, handler: dict[str, Any] | None = None, **more: Any) -> Bench:
    return Bench(folder, "{seq}.pcap", port=port, socket={**TCP, **more}, **(handler or {}))


def packets(bench: Bench) -> dict[str, list[bytes]]:
    return bench.packets(snaplen=SNAPLEN)


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[socket.socket]:
    """A listening socket; `accept` it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.setblocking(False)
        yield listener


async def accept(listener: socket.socket) -> socket.socket:
    await trio.lowlevel.wait_readable(listener)
    peer, _ = listener.accept()
    return peer


def dial(bench: Bench) -> socket.socket:
    return socket.create_connection(("127.0.0.1", bench.port))


# ── connecting ──


async def test_what_the_peer_sends_is_recorded(tmp_path: Path) -> None:
    """Whatever arrives together is a packet; the end of the stream ends the file."""
    async with server() as listener:
        bench = connecting(tmp_path, listener.getsockname()[1])
        async with bench.running():
            with await accept(listener) as peer:
                peer.sendall(b"hello")
                await wait_until(lambda: bench.account.delivered == 1)
                peer.sendall(b"world")
                await wait_until(lambda: bench.account.delivered == 2)
                assert bench.capture.statistics().connections == 1
                assert bench.capture.statistics().address == f"127.0.0.1:{listener.getsockname()[1]}"
            await wait_until(bench.items)
            assert bench.capture.statistics().connections == 0
    assert packets(bench) == {"1.pcap": [b"hello", b"world"]}
    assert bench.capture.statistics().bytes == 10


async def test_end_of_stream_never_spins(tmp_path: Path, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that closes at once is called again after growing delays, and there is not one empty record."""
    calls: list[float] = []
    dial_out = streams.dial

    async def count(*args: Any, **more: Any) -> Any:
        calls.append(trio.current_time())
        return await dial_out(*args, **more)

    monkeypatch.setattr("appliance.capture.tcp.dial", count)
    async with server() as listener:
        bench = connecting(tmp_path, listener.getsockname()[1])
        async with bench.running():
            for number in range(6):
                (await accept(listener)).close()
                await wait_until(lambda n=number: bench.capture.statistics().connected == n + 1)  # type: ignore[misc]
                await wait_until(lambda: not bench.capture.statistics().connections)
                await trio.testing.wait_all_tasks_blocked()
                if number < 5:
                    mock_clock.jump(31)
    assert len(calls) == 6
    assert bench.account.received == 0
    assert bench.names() == []


async def test_refused_connection_is_tried_again_with_growing_delays(
    tmp_path: Path, mock_clock: Clock, told: list[EventDict]
) -> None:
    """The service is ready meanwhile, and says once what is wrong."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        bench = connecting(tmp_path, taken.getsockname()[1])
        async with bench.running():
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked(0.01)
                mock_clock.jump(1)
            taken.listen()
            taken.setblocking(False)
            for _ in range(4):
                await trio.testing.wait_all_tasks_blocked(0.01)
                mock_clock.jump(30)
            peer = await accept(taken)
            peer.sendall(b"at last")
            await wait_until(lambda: bench.account.delivered == 1)
            peer.close()
            await wait_until(bench.items)
    assert packets(bench) == {"1.pcap": [b"at last"]}
    (entry,) = [entry for entry in told if "cannot connect" in entry["event"]]
    assert entry["error"] == "Connection refused"


async def test_each_connection_has_a_file_of_its_own(tmp_path: Path, mock_clock: Clock) -> None:
    """One after the other; nothing is lost between them."""
    async with server() as listener:
        bench = connecting(tmp_path, listener.getsockname()[1])
        async with bench.running():
            for number in range(3):
                peer = await accept(listener)
                peer.sendall(b"%d" % number)
                peer.close()
                await wait_until(lambda n=number: len(bench.items()) == n + 1)  # type: ignore[misc]
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(10)
    assert packets(bench) == {f"{n + 1}.pcap": [b"%d" % n] for n in range(3)}


async def test_stop_takes_what_has_come(tmp_path: Path) -> None:
    """What waits in the socket is in the file, and the stop does not wait for the peer."""
    async with server() as listener:
        bench = connecting(tmp_path, listener.getsockname()[1])
        async with bench.running():
            peer = await accept(listener)
            await wait_until(lambda: bench.capture.statistics().connections)
            await trio.testing.wait_all_tasks_blocked()
            peer.sendall(b"x" * 1000)
            bench.capture.stop()
        peer.close()
    assert b"".join(data for file in packets(bench).values() for data in file) == b"x" * 1000


async def test_keepalive_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is gone without a word is noticed."""
    seen: list[int] = []
    read = TcpTransport._read

    async def look(self: Any, stream: Any, *rest: Any) -> None:
        options = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
        seen.extend(stream.socket.getsockopt(*option) for option in options)
        await read(self, stream, *rest)

    monkeypatch.setattr(TcpTransport, "_read", look)
    async with server() as listener:
        bench = connecting(tmp_path, listener.getsockname()[1])
        async with bench.running():
            (await accept(listener)).close()
            await wait_until(lambda: seen)
    assert seen == [1, 60]


# ── listening ──


async def test_many_clients_at_once(tmp_path: Path) -> None:
    """Into one file; it ends when the last one has gone."""
    bench = listening(tmp_path)
    async with bench.running():
        clients = [dial(bench) for _ in range(50)]
        await wait_until(lambda: bench.capture.statistics().connections == 50)
        for number, client in enumerate(clients):
            client.sendall(b"%02d" % number)
        await wait_until(lambda: bench.account.delivered == 50)
        for client in clients[1:]:
            client.close()
        await wait_until(lambda: bench.capture.statistics().connections == 1)
        assert bench.items() == []
        clients[0].close()
        await wait_until(bench.items)
        with dial(bench) as late:
            late.sendall(b"late")
        await wait_until(lambda: len(bench.items()) == 2)
    found = packets(bench)
    assert sorted(found["1.pcap"]) == [b"%02d" % n for n in range(50)]
    assert found["2.pcap"] == [b"late"]
    assert bench.capture.statistics().connected == 51


async def test_too_many_clients_are_turned_away(tmp_path: Path, told: list[EventDict]) -> None:
    """The others go on; it is counted, and told once."""
    bench = listening(tmp_path, max_clients=2)
    async with bench.running():
        clients = [dial(bench) for _ in range(5)]
        await wait_until(lambda: bench.capture.statistics().refused == 3)
        for client in clients:
            client.close()
        await wait_until(lambda: bench.capture.statistics().connections == 0)
    assert [entry["event"] for entry in told] == ["too many connections"]


async def test_clients_wait_for_a_slow_disk_without_losing_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them at once, each held back by TCP itself."""
    gate = threading.Event()
    flush = SegmentWriter._flush

    def wait_and_flush(writer: Any, load: Any) -> None:
        gate.wait()
        flush(writer, load)

    monkeypatch.setattr(SegmentWriter, "_flush", wait_and_flush)
    monkeypatch.setattr("appliance.capture.capturer.BLOCK_MAX", 128 << 10)
    bench = listening(tmp_path, receive_buffer=Size(65536))
    each = 600_000

    def talk(letter: bytes) -> None:
        with dial(bench) as client:
            client.sendall(letter * each)

    async with bench.running():
        port = bench.port
        monkeypatch.setattr(Bench, "port", port)
        try:
            async with trio.open_nursery() as nursery:
                for letter in (b"a", b"b", b"c"):
                    nursery.start_soon(trio.to_thread.run_sync, talk, letter)
                await wait_until(lambda: bench.capture.statistics().connections == 3)
                await wait_until(lambda: bench.books().received)
                for _ in range(200):
                    await trio.lowlevel.checkpoint()
                gate.set()
        finally:
            gate.set()
        await wait_until(bench.items)
    (whole,) = packets(bench).values()
    assert {letter: b"".join(whole).count(letter) for letter in (b"a", b"b", b"c")} == dict.fromkeys(
        (b"a", b"b", b"c"), each
    )
    assert bench.account.lost == bench.books().lost == 0


async def test_client_that_resets_costs_no_other(tmp_path: Path) -> None:
    """What it sent before is kept."""
    bench = listening(tmp_path)
    async with bench.running():
        good, bad = dial(bench), dial(bench)
        bad.sendall(b"bad")
        await wait_until(lambda: bench.account.delivered == 1)
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        bad.close()
        await wait_until(lambda: bench.capture.statistics().connections == 1)
        good.sendall(b"good")
        await wait_until(lambda: bench.account.delivered == 2)
        good.close()
        await wait_until(bench.items)
    assert packets(bench) == {"1.pcap": [b"bad", b"good"]}


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]:"), ("127.0.0.1", "127.0.0.1:"), ("", "0.0.0.0:")])
async def test_address_as_bound_is_shown(tmp_path: Path, host: str, shown: str) -> None:
    """Also that of IPv6."""
    bench = listening(tmp_path, address=(host, 0))
    try:
        async with bench.running():
            assert bench.capture.statistics().address.startswith(shown)
    except* ApplianceError:
        if host == "::1":
            pytest.skip("no IPv6 here")
        raise


async def test_address_in_use_is_told(tmp_path: Path) -> None:
    """With the reason, not a traceback."""
    bench = listening(tmp_path)
    async with bench.running():
        other = listening(tmp_path, address=("127.0.0.1", bench.port))
        with pytest.raises(ApplianceError, match=r"Address already in use \(another program uses it\)"):
            await other.capture.run()


async def test_descriptors_that_run_out_are_waited_for(
    tmp_path: Path, told: list[EventDict], mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once; the client is served as soon as there is one again."""
    accept_stream, failures = streams.accept_stream, 3

    async def fail_first(*args: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(24, "Too many open files")
        return await accept_stream(*args)

    monkeypatch.setattr("appliance.capture.tcp.accept_stream", fail_first)
    bench = listening(tmp_path)
    async with bench.running():
        with dial(bench) as client:
            client.sendall(b"patient")
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
                mock_clock.jump(1)
            await wait_until(lambda: bench.account.delivered == 1)
    assert [entry["error"] for entry in told] == ["Too many open files"]


# ── framing ──


@pytest.mark.parametrize(
    ("framing", "stream", "frames", "dropped"),
    [
        ("newline", b"one\n\nthree\nfour", [b"one", b"", b"three", b"four"], {}),
        ("u16be", b"\0\3one\0\0\0\5three\0\4fo", [b"one", b"", b"three"], {"torn_frame": 1}),
        ("u32be", b"\0\0\0\3one\0\0\0\0", [b"one", b""], {}),
        ("u16be", b"\0\3one\xff\xff", [b"one"], {"too_large": 1}),
    ],
)
async def test_frames_are_packets(
    tmp_path: Path, framing: str, stream: bytes, frames: list[bytes], dropped: dict[str, int], told: list[EventDict]
) -> None:
    """Without their delimiters; what is no frame is booked, and a connection that breaks the framing is closed."""
    bench = listening(tmp_path, framing=framing, max_frame=Size(100))
    async with bench.running():
        with dial(bench) as client:
            client.sendall(stream)
            client.shutdown(socket.SHUT_WR)
            await wait_until(bench.items)
    assert packets(bench) == {"1.pcap": frames}
    assert bench.account.dropped == dropped
    assert bench.account.lost == 0
    assert bench.capture.statistics().refused == dropped.get("too_large", 0)
    assert len(told) == dropped.get("too_large", 0)


async def test_segments_of_the_stream_are_made_up(tmp_path: Path) -> None:
    """Link type 101: a handshake, the data, an end; numbers that fit, for each client its own."""
    bench = listening(tmp_path, handler={"linktype": "ip"})
    async with bench.running():
        for text in (b"hello", b"again"):
            with dial(bench) as client:
                port = client.getsockname()[1]
                client.sendall(text[:2])
                await wait_until(lambda t=text: bench.capture.statistics().bytes % 5 == 2)  # type: ignore[misc]
                client.sendall(text[2:])
            await wait_until(
                lambda: bench.capture.statistics().bytes % 5 == 0 and not bench.capture.statistics().connections
            )
    for name, text in (("1.pcap", b"hello"), ("2.pcap", b"again")):
        segments = [dpkt.ip.IP(p.data).data for p in packets_in(tmp_path / name, linktype=101, snaplen=SNAPLEN)]
        assert b"".join(segment.data for segment in segments) == text
        assert [segment.flags for segment in segments] == [2, 18, 16, 24, 24, 17, 17, 16]
        data = [segment for segment in segments if segment.data]
        assert data[1].seq == data[0].seq + 2 == segments[0].seq + 3
    assert data[0].sport == port
    assert bench.account.received == 4


# ── TLS ──


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for ``localhost``, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out",
         folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def tls_keys(folder: Path) -> dict[str, Any]:
    return {"tls": True, "certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


async def test_tls_between_two_captures_ends(tmp_path: Path, certificate: Path) -> None:
    """A server with a certificate, a client that trusts it."""
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    bench = listening(tmp_path, **tls_keys(certificate))
    async with bench.running():
        plain = await trio.open_tcp_stream("127.0.0.1", bench.port)
        async with trio.SSLStream(plain, context, server_hostname="localhost", https_compatible=True) as client:
            await client.send_all(b"secret")
            await wait_until(lambda: bench.account.delivered == 1)
        await wait_until(bench.items)
    assert packets(bench) == {"1.pcap": [b"secret"]}


async def test_plain_client_of_a_tls_server_is_told(tmp_path: Path, certificate: Path, told: list[EventDict]) -> None:
    """It is closed, and nothing is recorded."""
    bench = listening(tmp_path, **tls_keys(certificate))
    async with bench.running():
        with dial(bench) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            await wait_until(lambda: told)
    assert [entry["event"] for entry in told] == ["a connection failed"]
    assert bench.names() == []


async def test_server_that_nobody_vouches_for_is_refused(
    tmp_path: Path, certificate: Path, told: list[EventDict], mock_clock: Clock
) -> None:
    """Without its certificate in `ca` there is no connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def serve(stream: Any) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"lies")

    for trusts in (False, True):
        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        plain = listeners[0].transport_listener
        assert isinstance(plain, trio.SocketListener)
        port = plain.socket.getsockname()[1]
        bench = Bench(
            tmp_path, "{seq}.pcap",
            socket={**TCP, "address": ("localhost", port), "tls": True,
                    "ca": str(certificate / "cert.pem") if trusts else ""},
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            async with bench.running():
                if trusts:
                    await wait_until(lambda b=bench: b.account.delivered)  # type: ignore[misc]
                else:
                    await wait_until(lambda: told)
                    assert "certificate verify failed" in str(told[0]["error"]).lower()
            nursery.cancel_scope.cancel()
    assert bench.account.delivered == 1


async def test_tls_files_that_are_missing_are_told(tmp_path: Path) -> None:
    """Before anything is opened."""
    bench = listening(tmp_path, tls=True, certificate="/nowhere", key="/nowhere")
    with pytest.raises(ApplianceError, match="cannot use the TLS files of capture c"):
        await bench.capture.run()


async def test_several_handlers_share_the_connection(tmp_path: Path) -> None:
    """One with headers, one without."""
    handlers = [
        handler_table(tmp_path, "ip.pcap", name="ip", linktype="ip"),
        handler_table(tmp_path, "raw.pcap", name="raw"),
    ]
    bench = Bench(tmp_path, socket={**TCP, "mode": "listen"}, handlers=handlers)
    async with bench.running():
        with dial(bench) as client:
            client.sendall(b"both")
        await wait_until(lambda: len(bench.items()) == 2)
    assert [p.data for p in packets_in(tmp_path / "raw.pcap", snaplen=SNAPLEN)] == [b"both"]
    assert len(packets_in(tmp_path / "ip.pcap", linktype=101, snaplen=SNAPLEN)) == 7
    assert (tmp_path / "ip.pcap").stat().st_size == next(s.disk_size for s in bench.items() if s.handler == "ip")
