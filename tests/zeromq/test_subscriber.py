"""The log subscriber's rules: what it accepts, under which name it hands it on, where it listens, what it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio

from appliance.errors import ApplianceError
from appliance.zeromq.subscriber import MAX_PATHS, LogSubscriber

from .harness import DEADLINE_S, Door, Writer, open_door, open_writer, row, run_door, wait_until

# ── what is accepted ──


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"conn"], "bad_frames"),
        ([b'{"a":1}'], "bad_frames"),
        ([b""], "bad_frames"),
        ([b"conn", b"{}", b"{}"], "bad_frames"),
        ([b"conn", b"", b"{}"], "bad_frames"),
        ([b"conn", b"{}"] * 500, "bad_frames"),
        ([b"", b"{}"], "bad_path"),
        ([b"\xff\xfe", b"{}"], "bad_path"),
        ([b"c\xc3\xb6nn", b"{}"], "bad_path"),
        ([b"../../etc/passwd", b"{}"], "bad_path"),
        ([b"a" * 256, b"{}"], "bad_path"),
        ([b"conn\0", b"{}"], "bad_path"),
        ([b"conn\n", b"{}"], "bad_path"),
        ([b"conn", b'{"a":"\xff"}'], "bad_json"),
        ([b"conn", b'{"a":"\xed\xa0\x80"}'], "bad_json"),
        ([b"conn", b"[1,2]"], "bad_json"),
        ([b"conn", b"null"], "bad_json"),
        ([b"conn", b"ts\tuid\tid"], "bad_json"),
        ([b"conn", b""], "bad_json"),
        ([b"conn", b'{"a":1}{"a":2}'], "bad_json"),
        ([b"conn", b'{"a":\n1}'], "bad_json"),
        ([b"conn", b'{"a":1}\n'], "bad_json"),
        ([b"conn", b'{"a":"\0"}'], "bad_json"),
        ([b"conn", b'{"a":' * 70 + b"1" + b"}" * 70], "bad_json"),
        ([b"conn", b'{"a":"' + b"x" * 1000 + b'"}'], "too_large"),
    ],
)
async def test_what_is_no_record_is_counted_by_reason(frames: list[bytes], reason: str) -> None:
    """It costs itself only: the records before and after it arrive, and the writer stays connected."""
    async with open_door(max_record=1000) as door, open_writer(door.endpoint) as writer:
        writer.send("conn", row(i=1))
        writer.sock.send_multipart(frames)
        writer.send("conn", row(i=2))
        books = await door.wait_received(3)
        assert (books.delivered, books.dropped, books.refused, books.lost) == (2, {reason: 1}, 1, 0)
        assert await door.rows("conn") == [row(i=1), row(i=2)]
        assert (door.figures.writers.connected, door.figures.writers.disconnected) == (1, 0)


async def test_the_longest_record_is_accepted() -> None:
    """The limit itself is legal, one byte more is not."""
    longest = b'{"a":"' + b"x" * 992 + b'"}'
    async with open_door(max_record=len(longest)) as door, open_writer(door.endpoint) as writer:
        writer.send("conn", longest, longest[:-2] + b'y"}')
        assert (await door.wait_received(2)).dropped == {"too_large": 1}
        assert await door.rows("conn") == [longest]


async def test_rows_are_handed_on_byte_for_byte() -> None:
    """Whatever is legal JSON keeps its spelling: spaces, order, escapes, large numbers, names twice."""
    rows = [
        b'{ "b" : 1 , "a" : 2 }',
        b'{"n":18446744073709551616,"f":1.50e+3,"z":-0}',
        b'{"a":"\\u00e4\xc3\xa4\\/","a":null}',
        b"{}",
    ]
    async with open_door() as door, open_writer(door.endpoint) as writer:
        writer.send("conn", *rows)
        await door.wait_received(len(rows))
        assert await door.rows("conn") == rows


async def test_refusals_are_logged_once_for_each_reason() -> None:
    """The log says what it looked like, harmless for a terminal, and does not repeat itself."""
    with structlog.testing.capture_logs() as logs:
        async with open_door() as door, open_writer(door.endpoint) as writer:
            for i in range(50):
                writer.send("conn", b"\x1b[2Jnot json %d" % i)
            writer.sock.send_multipart([b"\x07", b"{}"])
            await door.wait_received(51)
    told = {entry["reason"]: entry for entry in logs if "reason" in entry}
    assert len(logs) == len(told) == 2
    assert told["bad_json"]["door"] == "zmq.bro"
    assert all(entry["beginning"].isprintable() for entry in told.values())


# ── under which name ──


async def send_paths(door: Door, *paths: str) -> None:
    """One record for each path, and wait for them."""
    async with open_writer(door.endpoint) as writer:
        before = door.books.received
        for path in paths:
            writer.send(path, row(path=path))
        await door.wait_received(before + len(paths))


NEIGHBOURS = ("conn", "conn_long", "conn-2", "connx", "con", "my.conn", "CONN")


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, set(NEIGHBOURS)),
        ({"logs": ("conn",)}, {"conn"}),
        ({"logs": ("conn*",)}, {"conn", "conn_long", "conn-2", "connx"}),
        ({"logs": ("conn", "*.conn")}, {"conn", "my.conn"}),
        ({"exclude": ("conn",)}, set(NEIGHBOURS) - {"conn"}),
        ({"exclude": ("*-[0-9]",)}, set(NEIGHBOURS) - {"conn-2"}),
        ({"logs": ("con*",), "exclude": ("conn?*",)}, {"conn", "con"}),
        ({"logs": ()}, set()),
    ],
)
async def test_log_paths_are_matched_whole(settings: dict[str, Any], wanted: set[str]) -> None:
    """A name never stands for its neighbours; what is left out is counted as wanted so."""
    async with open_door(**settings) as door:
        await send_paths(door, *NEIGHBOURS)
        assert await door.paths() == wanted
        assert door.books.filtered == len(NEIGHBOURS) - len(wanted)
        assert door.figures.paths == dict.fromkeys(NEIGHBOURS, 1)


async def test_a_suffix_is_mapped_back_where_the_file_says_so() -> None:
    """Only the named paths are renamed, filters see the new names, and figures keep those that were sent."""
    async with open_door(rename={"conn-2": "conn", "http-2": "web"}, exclude=("web",)) as door:
        await send_paths(door, "conn", "conn-2", "dns-2", "http-2")
        assert await door.paths() == {"conn", "dns-2"}
        assert len(await door.rows("conn")) == 2
        assert door.books.dropped == {"excluded": 1}
        assert door.figures.paths == {"conn": 1, "conn-2": 1, "dns-2": 1, "http-2": 1}


async def test_other_rules_are_taken_over_while_writers_are_connected() -> None:
    """Filters, names and patience change under the open socket; the connection stays and nothing is lost."""
    async with open_door(logs=("conn",)) as door, open_writer(door.endpoint) as writer:
        writer.send("conn", row(i=1))
        writer.send("dns", row(i=1))
        await door.wait_received(2)
        change = {"logs": ("*",), "exclude": ("conn",), "rename": {"dns": "names"}, "max_wait": door.config.max_wait}
        assert door.subscriber.apply(_replaced(door, **change))
        writer.send("conn", row(i=2))
        writer.send("dns", row(i=2))
        await door.wait_received(4)
        assert await door.paths() == {"conn", "names"}
        assert door.subscriber.apply(door.config)
        writer.send("conn", row(i=3))
        await door.wait_received(5)
        assert await door.rows("conn") == [row(i=1), row(i=3)]
        assert door.figures.writers.accepted == 1


@pytest.mark.parametrize("change", [{"bind": ("tcp://127.0.0.1:1",)}, {"hwm": 7}, {"max_record": 9}, {"heartbeat": 1}])
async def test_what_belongs_to_the_socket_is_not_taken_over(change: dict[str, Any]) -> None:
    """The caller is told to start another subscriber, and this one goes on as before."""
    async with open_door(logs=("conn",)) as door:
        assert not door.subscriber.apply(_replaced(door, logs=("*",), **change))
        await send_paths(door, "conn", "dns")
        assert await door.paths() == {"conn"}


def _replaced(door: Door, **change: Any) -> Any:
    return Door(**({name: getattr(door.config, name) for name in ("bind", "logs")} | change)).config


# ── where ──


async def test_writers_come_by_every_endpoint(tmp_path: Path) -> None:
    """TCP, IPv6 and ipc at the same time, one account for all of them."""
    binds = ("tcp://127.0.0.1:0", "tcp://[::1]:0", f"ipc://{tmp_path}/run/logs.sock", "tcp://127.0.0.1:0")
    async with open_door(bind=binds[:3]) as door:
        assert [e.rpartition(":")[0] for e in door.figures.endpoints[:2]] == ["tcp://127.0.0.1", "tcp://[::1]"]
        assert door.figures.endpoints[2] == binds[2]
        for i, endpoint in enumerate(door.figures.endpoints):
            async with open_writer(endpoint) as writer:
                writer.send("conn", row(i=i))
                await door.wait_received(i + 1)
        assert await door.rows("conn") == [row(i=i) for i in range(3)]
        assert door.figures.writers.accepted == 3


async def test_an_endpoint_that_cannot_be_bound_frees_the_others(tmp_path: Path) -> None:
    """The error says which one; afterwards the first one's address is free, and the same object can run."""
    async with open_door(bind=(f"ipc://{tmp_path}/a",)) as holder:
        door = Door(bind=(f"ipc://{tmp_path}/b", "tcp://127.0.0.1:0", f"ipc://{tmp_path}/a"))
        with pytest.raises(ApplianceError, match=r"cannot bind ipc://.*/a: another process serves this socket"):
            await door.subscriber.run()
        assert door.figures.endpoints == ()
        await send_paths(holder, "conn")
    async with run_door(door):
        await send_paths(door, "conn")


async def test_it_is_ready_only_when_all_is_bound(tmp_path: Path) -> None:
    """What runs after the start finds every socket."""
    door = Door(bind=(f"ipc://{tmp_path}/a", f"ipc://{tmp_path}/b"))
    async with run_door(door):
        assert (tmp_path / "a").is_socket()
        assert (tmp_path / "b").is_socket()
        with trio.fail_after(DEADLINE_S):
            await door.subscriber.wait_writers(0)


async def test_a_public_address_is_warned_about() -> None:
    """Whoever reaches it can send records."""
    with structlog.testing.capture_logs() as logs:
        async with open_door(bind=("tcp://*:0", "tcp://127.0.0.1:0")):
            pass
    assert [entry["bind"] for entry in logs] == ["tcp://*:0"]


# ── what it counts ──


async def test_writers_are_counted() -> None:
    """Each connected writer counts, and `wait_writers` waits for them."""
    async with open_door() as door:
        writers = [Writer(door.endpoint) for _ in range(3)]
        with trio.fail_after(DEADLINE_S):
            await door.subscriber.wait_writers(3)
        writers.pop().close()
        await wait_until(lambda: door.figures.writers.connected == 2)
        for writer in writers:
            writer.close()
        await wait_until(lambda: door.figures.writers.disconnected == 3)
        assert door.figures.writers.connected == 0


async def test_a_writer_with_endless_new_paths_is_bounded() -> None:
    """Tables stay small, those who were there keep their figures, the rest is counted together."""
    extra = 500
    async with open_door() as door, open_writer(door.endpoint) as writer:
        writer.send("conn", row(i=0))
        for i in range(MAX_PATHS + extra):
            writer.send(f"hostile_{i}", b"{}")
        writer.send("conn", row(i=1))
        await door.wait_received(MAX_PATHS + extra + 2)
        assert await door.rows("conn") == [row(i=0), row(i=1)]
        assert len(await door.paths()) == MAX_PATHS + extra + 1
        paths = door.figures.paths
        assert paths["conn"] == 2
        assert (len(paths), paths["*"]) == (MAX_PATHS + 1, extra + 1)
        assert len(door.subscriber._routes) <= MAX_PATHS


async def test_counters_that_are_too_many_are_told() -> None:
    """Where a gap could not be seen, the figures say so."""
    async with open_door() as door, open_writer(door.endpoint) as writer:
        for i in range(5000):
            writer.send("conn", row(1, node=f"n{i}"))
        await door.wait_received(5000)
        assert door.figures.untracked == 5000 - 4096


def test_a_subscriber_that_never_ran_holds_nothing() -> None:
    """One that a reload makes and gives up leaves no trace in the account."""
    door = Door()
    LogSubscriber(door.config, account=door.account, dispatcher=door.dispatcher)
    assert not door.account._holders
