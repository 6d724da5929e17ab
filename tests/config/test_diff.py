"""What a reload would change."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.config import Api, Appliance, Config, Difference, Hook, Log, Sink, Zmq, diff


def _zmq(name: str, **more: Any) -> Zmq:
    return Zmq(name=name, bind=("tcp://*:0",), **more)


def _hook(name: str, **more: Any) -> Hook:
    return Hook(name=name, on=("log:*",), run="a:b", **more)


BASE = Config(appliance=Appliance(name="n"), zmq=(_zmq("a"), _zmq("b")), hook=(_hook("a"),))


def test_equal_configurations_differ_in_nothing() -> None:
    """The place in the file does not matter."""
    other = replace(BASE, zmq=BASE.zmq[::-1])
    difference = diff(BASE, other)
    assert difference == Difference(unchanged=(order := ("zmq.b", "zmq.a", "hook.a", "api")), order=order)
    assert difference.is_empty


def test_services_come_and_go_by_name() -> None:
    """One name in two tables is two services."""
    other = replace(BASE, zmq=(_zmq("c"), _zmq("a")), hook=(), sink=(Sink(name="a", on=("log:*",)),))
    difference = diff(BASE, other)
    assert difference.added == ("zmq.c", "sink.a")
    assert difference.removed == ("zmq.b", "hook.a")
    assert difference.unchanged == ("zmq.a", "api")
    assert not difference.is_empty


def test_changed_services_name_their_keys() -> None:
    """As they are written in the file."""
    other = replace(
        BASE, zmq=(_zmq("a", hwm=5), _zmq("b")), hook=(_hook("a", from_=("zmq.a",), where="x"),), api=Api(listen=())
    )
    difference = diff(BASE, other)
    assert difference.changed == {"zmq.a": ("hwm",), "hook.a": ("from", "where"), "api": ("listen",)}
    assert difference.unchanged == ("zmq.b",)


def test_the_process_itself_is_told_apart() -> None:
    """Some keys belong to no service."""
    other = replace(BASE, appliance=Appliance(name="n", state_dir="/x", python_path=("/y",)), log=Log(level="debug"))
    difference = diff(BASE, other)
    assert difference.process == ("appliance.state_dir", "appliance.python_path", "log.level")
    assert difference.changed == {}
    assert not difference.is_empty


@given(*[st.lists(st.sampled_from("abcd"), unique=True)] * 2)
def test_every_service_is_somewhere_once(old: list[str], new: list[str]) -> None:
    """Added, removed, changed or unchanged, never two of them."""
    difference = diff(Config(zmq=tuple(map(_zmq, old))), Config(zmq=tuple(_zmq(name, hwm=5) for name in new)))
    groups = [difference.added, difference.removed, tuple(difference.changed), difference.unchanged]
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted({f"zmq.{name}" for name in old + new} | {"api"})
