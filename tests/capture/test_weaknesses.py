"""What AIT-Core's capturer gets wrong (A1 to A14 of its register), each as the behaviour that is right."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from appliance.capture.plan import pattern_of
from appliance.config import Size, mistakes_in_captures
from appliance.errors import ApplianceError

from .harness import Bench, handler_table, later, packets_in, wait_until

Clock = trio.testing.MockClock


async def test_a1_loss_in_the_kernel_is_seen_and_the_buffer_is_ours(tmp_path: Path) -> None:
    """A burst that the default buffer does not hold is recorded whole; with a small one every missing packet counts."""
    sent = [b"%04d" % n + bytes(996) for n in range(1000)]
    large = Bench(tmp_path / "large", "f.pcap", buffer=8 << 20)
    async with large.running():
        if large.capture.statistics().receive_buffer < 4 << 20:
            pytest.skip("net.core.rmem_max is small, and there is no CAP_NET_ADMIN")
        large.throw(sent)
        await wait_until(lambda: large.account.delivered == 1000)
    assert large.packets() == {"f.pcap": sent}
    small = Bench(tmp_path / "small", "f.pcap", buffer=4096)
    async with small.running():
        small.throw(sent)
        await wait_until(lambda: small.capture.statistics() and small.account.received == 1000)
    figures = small.capture.statistics()
    assert figures.kernel_drops == 1000 - figures.packets > 0


async def test_a2_slow_transform_stalls_no_other_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits in a thread of its handler's, for ever if it likes."""
    import threading

    gate = threading.Event()
    module = ModuleType("site_slow")
    module.wait = lambda data: gate.wait() and data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "site_slow", module)
    slow = Bench(tmp_path / "slow", "f.pcap", pre_write_transforms=("site_slow:wait",))
    quick = Bench(tmp_path / "quick", "f.pcap")
    async with slow.running(), quick.running():
        await slow.send(b"a")
        await quick.send(b"b")
        (segment,) = await quick.capture.rotate("raw")
        assert segment.packets == 1
        assert slow.books().queued == 1
        gate.set()
    assert slow.packets() == {"f.pcap": [b"a"]}


async def test_a3_failing_handler_ends_nothing(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transform that raises for every packet: the healthy handler, the socket and the failing one itself go on."""
    module = ModuleType("site_bad")
    module.fail = lambda data: 1 // 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "site_bad", module)
    handlers = [
        handler_table(tmp_path, "bad.pcap", name="bad", pre_write_transforms=("site_bad:fail",)),
        handler_table(tmp_path, "good.pcap", name="good"),
    ]
    bench = Bench(tmp_path, handlers=handlers)
    async with bench.running():
        for _ in range(3):
            await bench.send(b"x")
        assert len(bench.capture.statistics().handlers) == 2
    assert bench.packets() == {"good.pcap": [b"x"] * 3}
    assert bench.books("bad").dropped == {"transform_error": 3}
    assert [entry["handler"] for entry in told] == ["bad"]


async def test_a4_end_of_a_tcp_stream_writes_nothing(tmp_path: Path, mock_clock: Clock) -> None:
    """Five bytes and an end are one record and a finished file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        bench = Bench(tmp_path, "f.pcap", port=port, socket={"conn_type": "tcp"})
        async with bench.running():
            await trio.lowlevel.wait_readable(listener)
            peer, _ = listener.accept()
            peer.sendall(b"hello")
            peer.close()
            await wait_until(bench.items)
            await trio.testing.wait_all_tasks_blocked(0.05)
    assert bench.packets(snaplen=262144) == {"f.pcap": [b"hello"]}


async def test_a5_rotation_needs_no_traffic(tmp_path: Path, mock_clock: Clock) -> None:
    """Yesterday's file is finished and announced although nothing comes."""
    bench = Bench(tmp_path, "%j-{seq}.pcap", rotate_log_index="day")
    async with bench.running():
        await bench.send(b"a")
        await later(mock_clock, 86400)
        await wait_until(bench.items)
        assert bench.names() == ["318-1.pcap"]


@pytest.mark.parametrize("linktype", ["auto", "ip"])
async def test_a6_link_type_times_and_lengths_are_true(tmp_path: Path, linktype: str) -> None:
    """The kernel's time of arrival, not that of writing; 147 for payloads, 101 with headers, never for the other."""
    bench = Bench(tmp_path, "f.pcap", linktype=linktype)
    async with bench.running():
        import time

        before_ns = time.time_ns()
        bench.throw([b"x" * 500])
        after_ns = time.time_ns()
        await wait_until(lambda: bench.account.delivered == 1)
    number, snaplen = (101, 262144) if linktype == "ip" else (147, 65535)
    (packet,) = packets_in(tmp_path / "f.pcap", linktype=number, snaplen=snaplen)
    assert before_ns - 10**6 <= packet.ts_ns <= after_ns + 10**6
    assert packet.wire_len == len(packet.data) == 500 + (28 if linktype == "ip" else 0)


async def test_a7_files_are_whole_or_called_part(tmp_path: Path, told: list[Any]) -> None:
    """A torn file is repaired and finished, never continued; two handlers of one pattern never share a file."""
    header = bytes.fromhex("4d3cb2a1 0200 0400 00000000 00000000 ffff0000 93000000")
    record = struct.pack("=IIII", 1, 2, 3, 3) + b"old"
    (tmp_path / "f.pcap.part").write_bytes(header + record + record[:-1])
    handlers = [handler_table(tmp_path, "f.pcap", name="a"), handler_table(tmp_path, "f.pcap", name="b")]
    bench = Bench(tmp_path, handlers=handlers)
    async with bench.running():
        assert bench.names() == ["f.pcap"]
        await bench.send(b"new")
    assert bench.packets() == {"f.pcap": [b"old"], "f-1.pcap": [b"new"], "f-2.pcap": [b"new"]}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/data", "/etc/passwd"), ("/data", "../x.pcap"), ("/data/../etc", "x.pcap"), ("data", "x.pcap"),
        ("/data", "{name.__class__}.pcap"), ("/data", "{name.__init__.__globals__}"), ("/data", "{0}.pcap"),
        ("/data", "{name!r}"), ("/data", "{name:>10}"), ("/data", "{log_rot_time}"), ("/data", "{"), ("/data", "x\0y"),
        ("/data", "%Q.pcap"), ("/data", "a/../../b"), ("/data", "x.pcap.part"), ("/data", "{rotate_log}"),
    ],
)  # fmt: skip
def test_a8_paths_stay_where_they_belong(folder: str, name: str) -> None:
    """No absolute names, no way up, no attributes, no formats, no fields but the five."""
    with pytest.raises(ValueError, match=r"."):
        pattern_of(handler_table(Path(folder), name))


@pytest.mark.parametrize("name", ["..", "../../etc/x", "/etc/x", "a/b", ".hidden", "{name}", "%Y", "x" * 500, "\n"])
def test_a8_no_value_leaves_its_place(name: str) -> None:
    """Whatever a handler is called, its file is below its folder, in one component."""
    pattern = pattern_of(handler_table(Path("/data"), "{name}.pcap", name="x"))
    folder, _, file = pattern.render(10**18, {"name": name}).rpartition("/")
    assert folder == "/data"
    assert not file.startswith(".")
    assert len(file) < 255


async def test_a9_figures_never_fail(tmp_path: Path, mock_clock: Clock) -> None:
    """Before the socket is open, in the first moment, after a rotation, after the end; always numbers."""
    bench = Bench(tmp_path, "{seq}.pcap")
    seen = [bench.capture.statistics()]
    async with bench.running():
        seen.append(bench.capture.statistics())
        await bench.send(bytes(92))
        seen.append(bench.capture.statistics())
        await later(mock_clock, 3)
        before = bench.figures().bytes_per_s.last_10s
        await bench.capture.rotate("raw")
        assert bench.figures().bytes_per_s.last_10s == before
        seen.append(bench.capture.statistics())
    seen.append(bench.capture.statistics())
    assert [figures.bytes for figures in seen] == [0, 0, 92, 92, 92]
    assert all(isinstance(rate, float) for f in seen for rate in (f.bytes_per_s.last_1s, f.packets_per_s.last_60s))


@pytest.mark.slow
async def test_a10_there_is_no_limit_of_fifty(tmp_path: Path) -> None:
    """Two hundred capturers at once, each with its own packets."""
    benches = [Bench(tmp_path / str(n), "f.pcap", buffer=65536) for n in range(200)]
    async with trio.open_nursery() as nursery:
        for bench in benches:
            await nursery.start(lambda task_status, b=bench: b.capture.run(task_status=task_status))
        for number, bench in enumerate(benches):
            bench.throw([b"%d" % number] * 5)
        for bench in benches:
            await wait_until(lambda b=bench: b.account.delivered == 5)  # type: ignore[misc]
        for bench in benches:
            bench.capture.stop()
    for number, bench in enumerate(benches):
        bench.check()
        assert bench.packets() == {"f.pcap": [b"%d" % number] * 5}


def test_a11_transport_is_part_of_an_address(tmp_path: Path) -> None:
    """Another `conn_type` at the same address is refused instead of joined, and names are unique."""
    from appliance.config import Capture

    def table(name: str, conn_type: str, *names: str, **more: Any) -> Capture:
        handlers = tuple(handler_table(tmp_path, f"{name}{n}{i}", name=n) for i, n in enumerate(names))
        return Capture(name=name, conn_type=conn_type, address=("", 53), handler=handlers, **more)  # type: ignore[arg-type]

    told = mistakes_in_captures((table("a", "udp", "x"), table("b", "tcp", "y", mode="listen")), "/s")
    assert ["the address is that of" in str(each) for each in told] == [True]
    told = mistakes_in_captures((table("a", "udp", "x", "x"),), "/s")
    assert ['the name "x" is used twice' in str(each) for each in told] == [True]
    assert mistakes_in_captures((table("a", "udp", "x"), table("b", "udp", "x")), "/s") == []


async def test_a11_stop_removes_all_it_promises(tmp_path: Path) -> None:
    """Every handler of the name, in every capture of the socket."""
    from appliance.config import CaptureGroup

    bench = Bench(tmp_path, "a{seq}.pcap")
    other = bench.config.__class__(
        name="d", conn_type="udp", address=bench.config.address, receive_buffer=bench.config.receive_buffer,
        handler=(handler_table(tmp_path, "d{seq}.pcap", name="raw"),),
    )  # fmt: skip
    async with bench.running():
        assert bench.capture.apply(CaptureGroup((bench.config, other)))
        await bench.send(b"x")
        assert len(bench.capture.find("raw")) == 2
        assert len(await bench.capture.rotate("raw")) == 2
        assert await bench.capture.remove_handler("raw") == 2
        assert bench.capture.statistics().handlers == ()


async def test_a12_what_was_received_is_in_a_finished_file_after_a_stop(tmp_path: Path) -> None:
    """The stop drains the socket, and no ``.part`` is left."""
    bench = Bench(tmp_path, "f.pcap", buffer=4 << 20)
    sent = [bytes(100)] * 2000
    async with bench.running():
        bench.throw(sent)
        bench.capture.stop()
    assert len(bench.packets()["f.pcap"]) + bench.capture.statistics().kernel_drops == 2000


@pytest.mark.parametrize("socket_table", [{}, {"conn_type": "tcp", "mode": "listen"}])
async def test_a13_ipv6_and_servers(tmp_path: Path, socket_table: dict[str, Any]) -> None:
    """Datagrams and streams over IPv6."""
    bench = Bench(tmp_path, "f.pcap", host="::1", socket=socket_table)
    try:
        async with bench.running():
            if socket_table:
                with socket.create_connection(("::1", bench.port)) as client:
                    client.sendall(b"six")
            else:
                bench.throw([b"six"])
            await wait_until(lambda: bench.account.delivered == 1)
    except* ApplianceError:
        pytest.skip("no IPv6 here")
    assert bench.packets(snaplen=262144 if socket_table else 65535) == {"f.pcap": [b"six"]}


async def test_a14_what_was_added_while_running_is_told_from_the_file(tmp_path: Path) -> None:
    """`test_changes` has how it survives a restart."""
    bench = Bench(tmp_path, "f.pcap", rotate_size=4096)
    async with bench.running():
        await bench.capture.add_handler(handler_table(tmp_path, "g.pcap", name="more", rotate_size=Size(4096)))
        assert [handler.is_runtime for handler in bench.capture.statistics().handlers] == [False, True]
