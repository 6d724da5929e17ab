"""AIT's calls over real sockets: same names, same shapes, and what went wrong there goes right."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.ait import transform
from appliance.ait.bsc import SocketStreamCapturer, StreamCaptureManager, identity_transform
from appliance.errors import ApplianceError
from tests.capture.harness import wait_until
from tests.pcap.build import read
from tests.ports import free_port

pytestmark = pytest.mark.usefixtures("told")


def send(port: int, *payloads: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for payload in payloads:
            sender.sendto(payload, ("127.0.0.1", port))


def contents(folder: Path) -> dict[str, list[bytes]]:
    """The packets of each file."""
    return {path.name: [packet.data for packet in read(path)] for path in sorted(folder.rglob("*.pcap"))}


def shout(data: bytes) -> bytes:
    return data.upper()


@asynccontextmanager
async def running(folder: Path, *loggers: Any, **more: Any) -> AsyncIterator[StreamCaptureManager]:
    manager = StreamCaptureManager({"root_log_directory": str(folder)}, list(loggers), **more)
    async with trio.open_nursery() as nursery:
        await nursery.start(manager.run_socket_event_loop)
        yield manager
        nursery.cancel_scope.cancel()


def reads(manager: StreamCaptureManager) -> dict[str, int]:
    return {each["name"]: each["reads"] for stats in manager.get_handler_stats().values() for each in stats}


# ── the manager ──


async def test_loggers_capture_from_the_start_and_from_later_on(tmp_path: Path) -> None:
    """Handlers of one address share its socket; cancelling finishes the files."""
    port = free_port()
    first = ("a", ["127.0.0.1", port], "udp", None, {"file_name_pattern": "{name}.pcap"})
    async with running(tmp_path, first) as manager:
        send(port, b"1")
        await wait_until(lambda: reads(manager) == {"a": 1})
        await manager.add_logger("b", ["127.0.0.1", port], "udp", str(tmp_path / "b"), file_name_pattern="{name}.pcap")
        send(port, b"2")
        await wait_until(lambda: reads(manager) == {"a": 2, "b": 1})
        assert list(manager.get_logger_data()) == [f"['127.0.0.1', {port}]"]
    assert contents(tmp_path) == {"a.pcap": [b"1", b"2"], "b.pcap": [b"2"]}


async def test_handlers_are_stopped_by_name_everywhere(tmp_path: Path) -> None:
    """All of that name; a socket that has no handler left is closed and can be bound again."""
    ports = [free_port(), free_port()]
    loggers: list[Any] = [(name, ["127.0.0.1", port], "udp", None, {}) for port in ports for name in ("x", f"y{port}")]
    async with running(tmp_path, *loggers) as manager:
        assert await manager.stop_capture_handler("x") == 2
        assert await manager.stop_capture_handler("x") == 0
        assert await manager.stop_capture_handler(f"y{ports[0]}") == 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", ports[0]))
        assert list(reads(manager)) == [f"y{ports[1]}"]


async def test_a_capturer_is_stopped_by_its_address(tmp_path: Path) -> None:
    """An unknown one is an error."""
    port = free_port()
    async with running(tmp_path, ("x", ["", port], "udp", None, {})) as manager:
        with pytest.raises(ValueError, match="no capturer for"):
            await manager.stop_stream_capturer(["127.0.0.1", port])
        assert await manager.stop_stream_capturer(["", port]) == 1
        assert manager.get_logger_data() == {}


async def test_rotation_returns_what_became_of_the_file(tmp_path: Path) -> None:
    """Twice within a second is two files; a handler that nobody knows is an error."""
    port = free_port()
    async with running(tmp_path, ("x", ["127.0.0.1", port], "udp", None, {"file_name_pattern": "x.pcap"})) as manager:
        for number in (1, 2):
            send(port, b"%d" % number)
            await wait_until(lambda count=number: reads(manager)["x"] == count)  # type: ignore[misc]
            (segment,) = await manager.rotate_capture_handler_log("x")
            assert (segment.packets, [packet.data for packet in read(Path(segment.path))]) == (1, [b"%d" % number])
        assert await manager.rotate_capture_handler_log("x") == []
        with pytest.raises(KeyError):
            await manager.rotate_capture_handler_log("y")
    assert contents(tmp_path) == {"x-1.pcap": [b"2"], "x.pcap": [b"1"]}


async def test_figures_are_right_from_the_first_second_and_across_rotations(tmp_path: Path) -> None:
    """Numbers, or AIT's texts on request; asking at once divides by nothing."""
    port = free_port()
    async with running(tmp_path, ("x", ["127.0.0.1", port], "udp", None, {})) as manager:
        key = f"['127.0.0.1', {port}]"
        (stats,) = manager.get_handler_stats()[key]
        assert (stats["reads"], stats["data_read_length"], stats["approx_data_rate"]) == (0, 0, 0.0)
        send(port, b"x" * 1000)
        await wait_until(lambda: reads(manager)["x"] == 1)
        await manager.rotate_capture_handler_log("x")
        (stats,) = manager.get_handler_stats()[key]
        assert (stats["reads"], stats["data_read_length"], stats["segments"]) == (1, 1000, 1)
        assert {"kernel_drops", "handler_drops", "last_packet_ns", "packets_per_s"} <= stats.keys()
        (old,) = manager.get_handler_stats(legacy=True)[key]
        assert old.keys() == {"name", "reads", "data_read_length", "approx_data_rate"}
        assert old["data_read_length"] == "1000 bytes"
        assert old["approx_data_rate"].endswith(" bytes/second")
        assert json.dumps(manager.get_handler_stats())


async def test_configurations_are_plain_values(tmp_path: Path) -> None:
    """Transforms included, so that everything can be written as JSON."""
    port = free_port()
    more = {"pre_write_transforms": [identity_transform, shout, "identity_transform"], "rotate_size": "1MiB"}
    async with running(tmp_path, ("x", ["127.0.0.1", port], "udp", None, more)) as manager:
        (data,) = manager.get_capture_handler_config_by_name("x")
        assert json.loads(json.dumps(manager.get_logger_data())) == {f"['127.0.0.1', {port}]": [data]}
        assert data.keys() == {"handler", "log_file_path", "conn_type", "address"}
        assert (data["conn_type"], data["address"], data["log_file_path"]) == ("udp", ["127.0.0.1", port], "")
        assert data["handler"]["rotate_size"] == "1MiB"
        assert data["handler"]["pre_write_transforms"][1] == f"{__name__}:shout"
        assert manager.get_capture_handler_config_by_name("none") == []
        send(port, b"abc")
        await wait_until(lambda: reads(manager)["x"] == 1)
        await wait_until(lambda: manager.get_capture_handler_config_by_name("x")[0]["log_file_path"].endswith(".part"))
    assert list(contents(tmp_path).values()) == [[b"ABC"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("x", ["", 1], "serial"), "conn_type: expected"),
        (("x", [""], "udp"), "address"),
        (("x", [], "udp"), "address"),
        (("x", ["", "1"], "udp"), "address[1]"),
        (("", ["", 1], "udp"), "handler[0].name"),
        (("x", ["", 1], "udp", None, {"rotate_log_delta": "1"}), "handler[0].rotate_log_delta"),
        (("x", ["", 1], "udp", None, {"rotate_log_delta": 0}), "handler[0].rotate_log_delta"),
        (("x", ["", 1], "udp", None, {"rotate_log_index": "week"}), "handler[0].rotate_log_index"),
        (("x", ["", 1], "udp", None, {"rotate_lag": True}), "unknown key 'rotate_lag'"),
        (("x", ["", 1], "udp", None, {"file_name_pattern": "{name.__class__}"}), "only plain fields are possible"),
        (("x", ["", 1], "udp", None, {"pre_write_transforms": [lambda data: data]}), "cannot be imported"),
        (("x", ["", 1], "udp", None, {"pre_write_transforms": ["sys"]}), "handler[0].pre_write_transforms[0]"),
    ],
)
def test_wrong_loggers_are_refused_before_anything_is_open(tmp_path: Path, arguments: Any, told: str) -> None:
    """Nothing is accepted and ignored, or found out at the first packet."""
    with pytest.raises(ValueError, match=re.escape(told)):
        StreamCaptureManager({"root_log_directory": str(tmp_path)}, [(*arguments, None, {})[:5]])


async def test_an_address_has_one_connection_type_and_a_name_one_handler(tmp_path: Path) -> None:
    """Neither is joined silently to what is there."""
    port = free_port()
    async with running(tmp_path, ("x", ["127.0.0.1", port], "udp", None, {})) as manager:
        with pytest.raises(ValueError, match="is captured as 'udp' already"):
            await manager.add_logger("y", ["127.0.0.1", port], "tcp")
        with pytest.raises(ValueError, match="has a handler 'x' already"):
            await manager.add_logger("x", ["127.0.0.1", port], "udp")
        with pytest.raises(ApplianceError, match="cannot bind"):
            await manager.add_logger("z", ["192.0.2.1", port], "udp")
        assert list(reads(manager)) == ["x"]


async def test_sockets_that_cannot_be_opened_end_the_loop(tmp_path: Path) -> None:
    """With the reason; none stays open."""
    port = free_port()
    loggers: list[Any] = [("x", ["127.0.0.1", port], "udp", None, {}), ("y", ["192.0.2.1", port], "udp", None, {})]
    manager = StreamCaptureManager({"root_log_directory": str(tmp_path)}, loggers)
    with pytest.RaisesGroup(ApplianceError, flatten_subgroups=True):
        await manager.run_socket_event_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))


async def test_more_sockets_than_ait_could_have(tmp_path: Path) -> None:
    """There is no pool that the 51st waits for."""
    ports = {free_port() for _ in range(80)}
    async with running(tmp_path, *((f"x{port}", ["127.0.0.1", port], "udp", None, {}) for port in ports)) as manager:
        for port in ports:
            send(port, b"x")
        await wait_until(lambda: set(reads(manager).values()) == {1})


# ── one capturer ──


async def test_a_capturer_counts_and_dumps(tmp_path: Path) -> None:
    """Its arguments are left alone; handlers come and go while it runs."""
    port = free_port()
    handler = {"name": "a", "log_dir": str(tmp_path), "file_name_pattern": "{name}.pcap"}
    before = dict(handler)
    capturer = SocketStreamCapturer(handler, ["127.0.0.1", port], "udp")
    assert capturer.handler_count == 1
    assert capturer.dump_all_handler_stats() == []
    async with trio.open_nursery() as nursery:
        await nursery.start(capturer.socket_monitor_loop)
        send(port, b"1")
        await capturer.capture_packet()
        await capturer.add_handler({**handler, "name": "b"})
        with pytest.raises(ValueError, match="there is a handler 'b' already"):
            await capturer.add_handler({**handler, "name": "b"})
        send(port, b"2", b"3")
        await capturer.capture_packet()
        await capturer.capture_packet()
        assert await capturer.remove_handler("a") == 1
        assert await capturer.remove_handler("a") == 0
        assert (tmp_path / "a.pcap").exists()
        assert capturer.handler_count == 1
        (stats,) = capturer.dump_all_handler_stats(legacy=True)
        assert (stats["name"], stats["reads"], stats["data_read_length"]) == ("b", 2, "2 bytes")
        (data,) = capturer.dump_handler_config_data()
        assert data["handler"]["name"] == "b"
        await capturer.clean_up()
    assert contents(tmp_path) == {"a.pcap": [b"1", b"2", b"3"], "b.pcap": [b"2", b"3"]}
    assert handler == before
    await capturer.clean_up()


async def test_a_packet_is_waited_for_only_while_the_socket_is_open() -> None:
    """Anything else would wait for ever."""
    capturer = SocketStreamCapturer({"name": "a"}, ["127.0.0.1", free_port()], "udp")
    with pytest.raises(RuntimeError, match="only while socket_monitor_loop runs"):
        await capturer.capture_packet()


def test_unknown_connection_types_are_refused() -> None:
    """Instead of a capturer without a socket."""
    with pytest.raises(ValueError, match="conn_type"):
        SocketStreamCapturer({"name": "a"}, ["", 1], "serial")


def test_the_shipped_transform_changes_nothing() -> None:
    """Under both of its names."""
    assert identity_transform(b"abc") == b"abc"
    assert identity_transform is transform.identity_transform
