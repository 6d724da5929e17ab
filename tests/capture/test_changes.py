"""What is started and stopped while running: all or nothing, remembered, and the file of the site stays as it is."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from appliance.app import Appliance
from appliance.capture.changes import Changes, read_changes, write_changes
from appliance.capture.control import CaptureControl
from appliance.config import Capture, ConfigError, Duration, Handler, Keep, Size, load
from appliance.errors import ApplianceError
from appliance.parts import prepare
from appliance.runtime.partfile import PartFile

from .harness import packets_in, wait_until


def handler(name: str, folder: Path | str = "/x", **more: Any) -> Handler:
    return Handler(name=name, log_dir=str(folder), file_name_pattern=f"{name}-{{seq}}.pcap", **more)


def table(name: str, *handlers: Handler, address: tuple[str, int] = ("", 53), **more: Any) -> Capture:
    return Capture(**{"name": name, "conn_type": "udp", "address": address, "handler": handlers, **more})


# ── pure ──


def test_changes_and_file_make_one() -> None:
    """Added handlers join their capture or bring one; stopped ones are gone, and a capture without any, too."""
    file = (table("a", handler("1"), handler("2")), table("b", handler("1")))
    changes = Changes(
        added=(table("a", handler("3")), table("new", handler("1"))), stopped=(("a", "2"), ("b", "1"), ("b", "gone"))
    )
    merged, runtime = changes.merge(file)
    assert Changes(stopped=(("a", "1"), ("a", "2"))).merge(file)[0] == (table("a"), table("b", handler("1")))
    assert Changes(stopped=(("a", "1"), ("a", "2"), ("b", "1"))).merge(file)[0] == ()
    assert merged == (table("a", handler("1"), handler("3")), table("new", handler("1")))
    assert runtime == {("a", "3"), ("new", "1")}
    assert Changes().merge(file) == (file, frozenset())


def test_file_wins_over_what_was_added_under_its_name() -> None:
    """After the operator has written it down."""
    file = (table("a", handler("1")),)
    changes = Changes(added=(table("a", handler("1", "/other"), handler("2")),))
    assert changes.merge(file) == ((table("a", handler("1"), handler("2")),), frozenset({("a", "2")}))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from("123")), max_size=20))
def test_the_last_word_counts(steps: list[tuple[bool, str, str]]) -> None:
    """Whatever is started and stopped in whatever order."""
    file = (table("a", handler("1")),)
    in_file = frozenset({("a", "1")})
    changes, running = Changes(), {("a", "1")}
    for is_start, capture, name in steps:
        if is_start:
            changes = changes.adding(table(capture, handler(name)))
            running.add((capture, name))
        else:
            changes = changes.stopping([(capture, name)], in_file=in_file)
            running.discard((capture, name))
    merged, _ = changes.merge(file)
    assert {(each.name, h.name) for each in merged for h in each.handler} == running


# ── the file ──


def test_changes_survive_on_the_disk(tmp_path: Path) -> None:
    """Equal after reading: sizes, durations, everything."""
    keep = Keep(size=Size(5), age=Duration(7))
    changes = Changes(
        added=(table("a", handler("1", keep=keep, rotate_size=Size(9999)), multicast=("239.1.2.3",)),),
        stopped=(("b", "2"),),
    )
    path = tmp_path / "state/captures.json"
    assert read_changes(path) == Changes()
    write_changes(path, changes)
    write_changes(path, changes)
    found = read_changes(path)
    assert found == changes
    assert isinstance(found.added[0].handler[0].rotate_size, Size)
    assert [each.name for each in path.parent.iterdir()] == ["captures.json"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"added": 5}', b'{"unknown": []}', b'{"added": [{"name": "x"}]}', b"\xff"]
)
def test_file_that_makes_no_sense_is_told(tmp_path: Path, text: bytes) -> None:
    """It is never overwritten by guessing."""
    path = tmp_path / "captures.json"
    path.write_bytes(text)
    with pytest.raises(ApplianceError, match=r"cannot read .*captures\.json"):
        read_changes(path)


# ── in the running appliance ──

SITE = """
[appliance]
name = "test"
state_dir = "{folder}/state"
[api]
listen = []
[[capture]]
name = "file"
conn_type = "udp"
address = ["127.0.0.1", 0]
[[capture.handler]]
name = "one"
log_dir = "{folder}/out"
file_name_pattern = "one-{{seq}}.pcap"
[[capture.handler]]
name = "two"
log_dir = "{folder}/out"
file_name_pattern = "two-{{seq}}.pcap"
"""

House = Callable[[], Any]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path))
    return path


@asynccontextmanager
async def running(site: Path) -> AsyncIterator[Appliance]:
    """The whole appliance, drained at the end."""
    appliance = Appliance(prepare(load(site, environ={})), site, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        yield appliance
        appliance.stop()


def running_names(control: CaptureControl) -> dict[str, list[str]]:
    return {
        name: [f"{h.capture}/{h.name}{'*' if h.is_runtime else ''}" for h in figures.handlers]
        for name, figures in control.statistics().items()
    }


async def send(control: CaptureControl, *packets: bytes) -> None:
    """To the socket of the file, and wait until its handlers have them."""
    figures = control.statistics()["file"]
    host, _, port = figures.address.rpartition(":")
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sender:
        for packet in packets:
            await sender.sendto(packet, (host, int(port)))
    await wait_until(lambda: control.statistics()["file"].packets >= figures.packets + len(packets))


def added(tmp_path: Path, capture: str = "new", name: str = "three", **more: Any) -> Capture:
    return table(capture, handler(name, tmp_path / "out"), **{"address": ("127.0.0.1", 0), **more})


async def test_what_is_started_survives_restart_and_reload(tmp_path: Path, site: Path) -> None:
    """On a socket of the file and on one of its own; it is marked as what it is."""
    expected = {"file": ["file/one", "file/two", "file/three*"], "new": ["new/three*"]}
    async with running(site) as appliance:
        await appliance.captures.start(added(tmp_path, "file"))
        await appliance.captures.start(table("new", handler("three", tmp_path / "new"), address=("127.0.0.1", 0)))
        assert running_names(appliance.captures) == expected
        appliance.reload()
        assert (await appliance.wait_reloaded()).ok
        assert running_names(appliance.captures) == expected
    async with running(site) as appliance:
        assert running_names(appliance.captures) == expected
        assert await appliance.captures.stop("three") == 2
        assert running_names(appliance.captures) == {"file": ["file/one", "file/two"]}
    async with running(site) as appliance:
        assert running_names(appliance.captures) == {"file": ["file/one", "file/two"]}
    assert "three" not in site.read_text()


async def test_what_is_stopped_stays_stopped(tmp_path: Path, site: Path) -> None:
    """Until it is started again; a socket without handlers is closed."""
    async with running(site) as appliance:
        assert await appliance.captures.stop("file/one") == 1
        assert await appliance.captures.stop("two") == 1
        assert await appliance.captures.stop("two") == 0
        assert running_names(appliance.captures) == {}
    async with running(site) as appliance:
        assert running_names(appliance.captures) == {}
        (original,) = load(site, environ={}).config.capture
        await appliance.captures.start(
            Capture(name="file", conn_type="udp", address=original.address, handler=original.handler[:1])
        )
        assert running_names(appliance.captures) == {"file": ["file/one"]}


async def test_stop_answers_when_the_file_is_finished(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a socket that goes on; others need not wait meanwhile."""
    gate = threading.Event()
    finish = PartFile.finish

    def wait_and_finish(file: PartFile) -> Path | None:
        if "one" in file.path.name:
            gate.wait()
        return finish(file)

    monkeypatch.setattr(PartFile, "finish", wait_and_finish)
    async with running(site) as appliance:
        control = appliance.captures
        try:
            await send(control, b"1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(control.stop, "one")
                await wait_until(lambda: running_names(control) == {"file": ["file/two"]})
                await control.start(added(tmp_path, "file"))
                assert await control.stop("three") == 1
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert nursery.child_tasks
                assert not (tmp_path / "out/one-1.pcap").exists()
                gate.set()
        finally:
            gate.set()
        assert (tmp_path / "out/one-1.pcap").exists()


async def test_stop_that_takes_too_long_is_told(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped all the same; the file ends later."""
    gate = threading.Event()
    finish = PartFile.finish
    monkeypatch.setattr(PartFile, "finish", lambda file: gate.wait() and finish(file))
    monkeypatch.setattr("appliance.capture.control.FINISH_TIMEOUT_S", 0.01)
    async with running(site) as appliance:
        try:
            await send(appliance.captures, b"1")
            with pytest.raises(trio.TooSlowError):
                await appliance.captures.stop("one")
            assert running_names(appliance.captures) == {"file": ["file/two"]}
        finally:
            gate.set()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one-1.pcap", "two-1.pcap"}


async def test_capture_without_handlers_holds_the_socket_for_others(tmp_path: Path, site: Path) -> None:
    """With its buffer and groups; it is open as long as anybody is on it."""
    site.write_text(site.read_text().replace('["127.0.0.1", 0]', '["127.0.0.1", 47127]\nreceive_buffer = "64KiB"'))
    async with running(site) as appliance:
        control = appliance.captures
        await control.start(added(tmp_path, "joins", address=("127.0.0.1", 47127)))
        (service,) = control._running()
        assert await control.stop("one") == await control.stop("two") == 1
        assert control._running() == [service]
        assert running_names(control) == {"file": ["joins/three*"]}
        await send(control, b"1")
        assert await control.stop("three") == 1
        assert control._running() == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["three-1.pcap"]


async def test_books_of_what_comes_and_goes_are_bounded(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers and sockets under ever-new names: the last ones are shown, and the total of the others."""
    monkeypatch.setattr("appliance.runtime.ledger.MAX_ENDED", 4)
    async with running(site) as appliance:
        for number in range(8):
            await appliance.captures.start(added(tmp_path, "file", f"on-it{number}"))
            await appliance.captures.start(added(tmp_path, f"own{number}", "x"))
            await send(appliance.captures, b"1")
            assert await appliance.captures.stop(f"on-it{number}") == await appliance.captures.stop("x") == 1
            with pytest.raises(ApplianceError, match="cannot bind"):
                await appliance.captures.start(added(tmp_path, f"fails{number}", address=("192.0.2.1", 47124)))
        found = {figures.name: figures for figures in appliance.ledger.statistics()}
        held = {"capture.file", "capture.file.segments", "handler.file/one", "handler.file/two"}
        totals = {"handler.*", "capture.*", "capture.*.segments"}
        assert held | totals < set(found)
        assert len([name for name in found if name.startswith(("capture", "handler"))]) == len(held | totals) + 4
        on_it = [figures for name, figures in found.items() if "on-it" in name or name == "handler.*"]
        assert sum(figures.delivered for figures in on_it) == 8
        assert all(figures.imbalance == 0 for figures in found.values())


async def test_started_handler_records_and_others_are_not_touched(tmp_path: Path, site: Path) -> None:
    """The socket of the file stays open: its port is the same, and no packet is missing."""
    async with running(site) as appliance:
        control = appliance.captures
        address = control.statistics()["file"].address
        host, _, port = address.rpartition(":")
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sender:
            await sender.sendto(b"1", (host, int(port)))
            await wait_until(lambda: control.statistics()["file"].handlers[0].packets == 1)
            await control.start(added(tmp_path, "file"))
            assert control.statistics()["file"].address == address
            await sender.sendto(b"2", (host, int(port)))
            await wait_until(lambda: control.statistics()["file"].handlers[2].packets == 1)
        segments = await control.rotate("three")
        assert [Path(segment.path).name for segment in segments] == ["three-1.pcap"]
        with pytest.raises(KeyError):
            await control.rotate("nobody")
    found = {path.name: [p.data for p in packets_in(path)] for path in (tmp_path / "out").iterdir()}
    assert found == {"one-1.pcap": [b"1", b"2"], "two-1.pcap": [b"1", b"2"], "three-1.pcap": [b"2"]}


async def test_second_capture_of_an_address_joins_its_socket(tmp_path: Path, site: Path) -> None:
    """With the same `conn_type`; another one is an error, and nothing has changed."""
    site.write_text(site.read_text().replace('["127.0.0.1", 0]', '["127.0.0.1", 47123]'))
    async with running(site) as appliance:
        control = appliance.captures
        await control.start(added(tmp_path, "joins", address=("127.0.0.1", 47123)))
        assert running_names(control) == {"file": ["file/one", "file/two", "joins/three*"]}
        other = added(tmp_path, "other", "four", address=("127.0.0.1", 47123), conn_type="tcp")
        with pytest.raises(ExceptionGroup) as caught:
            await control.start(other)
        assert 'the address is that of capture "file", which is "udp"' in str(caught.value.exceptions[0])
        assert running_names(control) == {"file": ["file/one", "file/two", "joins/three*"]}
        assert await control.stop_socket("udp", ("127.0.0.1", 47123)) == 3
        assert running_names(control) == {}


@pytest.mark.parametrize(
    ("capture", "told"),
    [
        (lambda p: added(p, "file", "one"), "capture 'file' has a handler 'one' already"),
        (lambda p: added(p, "file", address=("127.0.0.2", 0)), "capture 'file' has another address"),
        (lambda p: table("x", handler("y", "/tmp/../etc"), address=("", 0)), '".." is not possible in a path pattern'),
        (lambda p: table("x", handler("y", p / "{name.__class__}"), address=("", 0)),
         "{name.__class__}: only the plain {name} is possible"),
        (lambda p: table("x", handler("y", p / "{0}"), address=("", 0)), "unknown field {0}"),
        (lambda p: table("x", handler("one", p / "out"), address=("", 0)), "writes the same files as"),
        (lambda p: table("../x", handler("y", p), address=("", 0)), "Expected `str` matching regex"),
        (lambda p: table("x", handler("a/b", p), address=("", 0)), "Expected `str` matching regex"),
        (lambda p: table("x", handler("y", p, rotate_log_delta=0), address=("", 0)), "Expected `int` >= 1"),
        (lambda p: table("x", handler("y", p, rotate_log_index="fortnight"), address=("", 0)), "Invalid enum value"),
    ],
)  # fmt: skip
async def test_what_is_wrong_changes_nothing(tmp_path: Path, site: Path, capture: Any, told: str) -> None:
    """It is told in the words that a file's mistakes are told in."""
    async with running(site) as appliance:
        with pytest.raises(ExceptionGroup) as caught:
            await appliance.captures.start(capture(tmp_path))
        assert all(isinstance(each, ConfigError) for each in caught.value.exceptions)
        assert told in str(caught.value.exceptions[0])
        assert running_names(appliance.captures) == {"file": ["file/one", "file/two"]}
    assert not (tmp_path / "state/captures.json").exists()


async def test_socket_that_cannot_be_opened_changes_nothing(tmp_path: Path, site: Path) -> None:
    """The error is the socket's; the next start does not try it again."""
    async with running(site) as appliance:
        with pytest.raises(ApplianceError, match=r"cannot bind 192\.0\.2\.1"):
            await appliance.captures.start(added(tmp_path, address=("192.0.2.1", 47124)))
        assert appliance.captures.changes == Changes()
        assert running_names(appliance.captures) == {"file": ["file/one", "file/two"]}


async def test_changes_that_cannot_be_remembered_are_taken_back(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather nothing than something that is forgotten at the next start."""

    def refuse(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("appliance.capture.control.write_changes", refuse)
    async with running(site) as appliance:
        with pytest.raises(OSError, match="No space left"):
            await appliance.captures.start(added(tmp_path, "file"))
        assert running_names(appliance.captures) == {"file": ["file/one", "file/two"]}


async def test_state_that_does_not_go_with_the_file_is_told(tmp_path: Path, site: Path) -> None:
    """A reload that would need both is refused, and everything goes on."""
    async with running(site) as appliance:
        await appliance.captures.start(added(tmp_path, address=("127.0.0.1", 47125)))
        site.write_text(site.read_text().replace('["127.0.0.1", 0]', '["127.0.0.1", 47125]').replace('"udp"', '"tcp"'))
        appliance.reload()
        outcome = await appliance.wait_reloaded()
        assert not outcome.ok
        assert "the address is that of" in outcome.errors[0]
        assert running_names(appliance.captures)["new"] == ["new/three*"]
