"""Transforms: chains, sync and async, errors by policy, and none of them holds up the loop or another handler."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import dpkt
import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from appliance.capture.transform import load_chain

from .harness import Bench, handler_table, packets_in, wait_until

GATE = threading.Event()


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of transforms, as a site has one."""
    module = ModuleType("site_transforms")

    async def later(data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return data + b"!"

    def fail_on_b(data: bytes) -> bytes:
        if data == b"b":
            raise ValueError("no b")
        return data.upper()

    async def fail_later(data: bytes) -> bytes:
        raise ValueError("never")

    def wait(data: bytes) -> bytes:
        GATE.wait()
        return data

    def generate(data: bytes) -> Iterator[bytes]:
        yield data

    class Stateful:
        def __init__(self) -> None:
            self.count = 0

        def __call__(self, data: bytes) -> bytes:
            self.count += 1
            return b"%d:%s" % (self.count, data)

    members: dict[str, Any] = {
        "later": later, "fail_on_b": fail_on_b, "fail_later": fail_later, "wait": wait, "generate": generate,
        "Stateful": Stateful, "stateful": Stateful(), "strip": lambda data: data[1:], "number": 5,
        "drop_empty": lambda data: data or None, "text": lambda data: "text", "view": lambda data: memoryview(data)[1:],
        "nothing": lambda: None, "huge": lambda data: bytes(300_000), "array": lambda data: bytearray(data + b""),
    }  # fmt: skip
    for name, member in members.items():
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, "site_transforms", module)
    GATE.clear()
    yield module
    GATE.set()


def names(*transforms: str) -> tuple[str, ...]:
    return tuple(f"site_transforms:{name}" for name in transforms)


def bench_with(folder: Path, *transforms: str, **handler: Any) -> Bench:
    return Bench(folder, "f.pcap", pre_write_transforms=names(*transforms), **handler)


async def test_each_gets_what_the_one_before_returned(tmp_path: Path) -> None:
    """Sync and async ones in the order of the file; the packets stay in theirs."""
    bench = bench_with(tmp_path, "strip", "later", "fail_on_b", "stateful")
    async with bench.running():
        await bench.send(*[b"x%d" % n for n in range(600)])
    assert bench.packets() == {"f.pcap": [b"%d:%d!" % (n + 1, n) for n in range(600)]}
    assert (bench.books().received, bench.books().delivered) == (600, 600)
    assert bench.figures().packets == 600


async def test_none_leaves_a_packet_out(tmp_path: Path) -> None:
    """It is booked as what the site wanted, and later transforms do not see it."""
    bench = bench_with(tmp_path, "strip", "drop_empty", "later")
    async with bench.running():
        await bench.send(b"a", b"bc", b"d", b"ef")
    assert bench.packets() == {"f.pcap": [b"c!", b"f!"]}
    assert bench.books().dropped == {"transform": 2}
    assert bench.books().lost == 0
    assert bench.figures().transformed_away == 2


@pytest.mark.parametrize(
    ("policy", "written", "dropped"),
    [
        ("drop", [b"A", b"C"], {"transform_error": 1}),
        ("pass", [b"A", b"b", b"C"], {}),
        ("quarantine", [b"A", b"C"], {"transform_error": 1}),
    ],
)
async def test_error_costs_one_packet_at_most(
    tmp_path: Path, told: list[EventDict], policy: str, written: list[bytes], dropped: dict[str, int]
) -> None:
    """By the handler's policy; it is told once and counted each time."""
    bench = bench_with(tmp_path / "f", "fail_on_b", on_transform_error=policy)
    async with bench.running():
        await bench.send(b"a", b"b", b"c")
    kept = set(bench.folder.rglob("*.bin"))
    assert [path.read_bytes() for path in kept] == ([b"b"] if policy == "quarantine" else [])
    for path in kept:
        path.unlink()
    assert bench.packets() == {"f.pcap": written}
    assert bench.books().dropped == dropped
    assert bench.figures().transform_errors == 1
    (entry,) = told
    assert (entry["event"], entry["error"]) == ("a transform failed", "ValueError: no b")


async def test_healthy_handler_beside_a_failing_one_gets_everything(tmp_path: Path, told: list[EventDict]) -> None:
    """A transform that always raises ends nothing."""
    handlers = [
        handler_table(tmp_path, "bad.pcap", name="bad", pre_write_transforms=names("fail_later")),
        handler_table(tmp_path, "good.pcap", name="good"),
    ]
    bench = Bench(tmp_path, handlers=handlers)
    async with bench.running():
        await bench.send(*[b"x"] * 50)
    assert bench.packets() == {"good.pcap": [b"x"] * 50}
    assert bench.books("bad").dropped == {"transform_error": 50}
    assert len(told) == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("text", "TypeError: site_transforms:text returned str, not bytes or None"),
        ("huge", "ValueError: site_transforms:huge returned 300000 bytes, at most 262144 go into a packet"),
    ],
)
async def test_result_that_is_no_packet_is_an_error(
    tmp_path: Path, told: list[EventDict], name: str, error: str
) -> None:
    """It never reaches the file."""
    bench = bench_with(tmp_path, name)
    async with bench.running():
        await bench.send(b"a")
    assert bench.books().dropped == {"transform_error": 1}
    assert [entry["error"] for entry in told] == [error]


async def test_other_kinds_of_bytes_are_taken(tmp_path: Path) -> None:
    """A memoryview or bytearray is copied."""
    bench = bench_with(tmp_path, "view", "array")
    async with bench.running():
        await bench.send(b"abc")
    assert bench.packets() == {"f.pcap": [b"bc"]}


async def test_headers_are_made_after_the_transforms(tmp_path: Path) -> None:
    """Their lengths are those of what is written."""
    bench = bench_with(tmp_path, "strip", linktype="ip")
    async with bench.running():
        await bench.send(b"abc")
    (packet,) = packets_in(tmp_path / "f.pcap", linktype=101, snaplen=262144)
    udp = dpkt.ip.IP(packet.data).data
    assert (udp.data, udp.ulen) == (b"bc", 10)


async def test_hanging_transform_costs_its_handler_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is bounded; what is beyond is dropped and booked; the loop runs on."""
    monkeypatch.setattr("appliance.capture.refine.MAX_WAITING", 300)
    monkeypatch.setattr("appliance.capture.capturer.PATIENCE_S", 0.01)
    handlers = [
        handler_table(tmp_path, "slow.pcap", name="slow", pre_write_transforms=names("wait")),
        handler_table(tmp_path, "good.pcap", name="good"),
    ]
    bench = Bench(tmp_path, handlers=handlers)
    async with bench.running():
        for _ in range(50):
            await bench.send(*[b"x"] * 20)
        assert bench.books("good").received == 1000
        assert bench.books("slow").dropped["transform_queue"] >= 100
        assert bench.books("slow").queued <= 600
        GATE.set()
        await wait_until(lambda: not bench.books("slow").queued or bench.figures("slow").packets)
    lost = bench.books("slow").dropped["transform_queue"]
    assert bench.packets() == {"good.pcap": [b"x"] * 1000, "slow.pcap": [b"x"] * (1000 - lost)}


async def test_hanging_transform_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """What it has not let go is lost, and the books say so."""
    bench = bench_with(tmp_path, "wait")
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: bench.capture.run(task_status=task_status))
        await bench.send(b"a", b"b")
        await wait_until(lambda: bench.books().received == 2)
        nursery.cancel_scope.cancel()
    bench.check()
    assert bench.books().dropped == {"shutdown": 2}


async def test_slow_transform_does_not_block_the_loop(tmp_path: Path) -> None:
    """It sleeps in a thread; other tasks go on meanwhile."""
    bench = bench_with(tmp_path, "wait")
    async with bench.running():
        await bench.send(b"a")
        began = time.monotonic()
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert time.monotonic() - began < 5
        assert bench.books().queued == 1
        GATE.set()
    assert bench.packets() == {"f.pcap": [b"a"]}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("site_transforms:missing", "module 'site_transforms' has no 'missing'"),
        ("no_such_module:x", "there is no module 'no_such_module'"),
        ("site_transforms:number", "is of type int; a transform is a function"),
        ("site_transforms:Stateful", "is a class; a transform is a function"),
        ("site_transforms:generate", "is a generator; a transform returns bytes or None"),
        ("site_transforms:nothing", r"takes \(\); a transform is called with bytes"),
        ("sys:modules", "is of type dict"),
    ],
)
async def test_what_cannot_transform_is_refused_before_it_starts(name: str, told: str) -> None:
    """By name and reason, not with the first packet."""
    with pytest.raises(ValueError, match=told):
        load_chain([name])
