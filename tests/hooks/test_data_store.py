"""``ctx.store`` of a data store: what is asked for each method, and what is made of the answer."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from appliance.hooks.callables import Context
from appliance.hooks.data_store import AsyncDataStore, DataStore
from appliance.model import Print
from appliance.runtime.stores import StoreEntry, StoreError, StoreFailure, StoreReply, StoreRequest
from appliance.zeek.binary import encode
from appliance.zeek.values import Address, Count

K, V, X = (encode(text) for text in (b"k", b"v", b"x"))


class Asked:
    """Answers everything with the same, and keeps what was asked."""

    def __init__(self, **reply: Any) -> None:
        self.requests: list[StoreRequest] = []
        self._reply = StoreReply(**reply)

    def __call__(self, name: str, request: StoreRequest) -> StoreReply:
        assert name == "s"
        self.requests.append(request)
        return self._reply


@pytest.mark.parametrize(
    ("method", "args", "expected"),
    [
        ("get", ("k",), {"operation": "get", "key": K}),
        ("exists", (b"k",), {"operation": "exists", "key": K}),
        ("lookup", ("k", "x"), {"operation": "index", "key": K, "index": X}),
        ("size", (), {"operation": "size"}),
        ("put", ("k", "v"), {"operation": "put", "key": K, "value": V}),
        ("put_unique", ("k", "v"), {"operation": "put_unique", "key": K, "value": V}),
        ("increment", ("k", Count(1)), {"operation": "increment", "key": K, "value": encode(Count(1))}),
        ("decrement", ("k", 1), {"operation": "decrement", "key": K, "value": encode(1)}),
        ("append", ("k", "v"), {"operation": "append", "key": K, "value": V}),
        ("insert_into", ("k", "x"), {"operation": "insert", "key": K, "value": X}),
        ("insert_into", ("k", "x", "v"), {"operation": "insert", "key": K, "value": V, "index": X}),
        ("insert_into", ("k", "x", None), {"operation": "insert", "key": K, "value": encode(None), "index": X}),
        ("remove_from", ("k", "x"), {"operation": "remove", "key": K, "value": X}),
        ("push", ("k", "v"), {"operation": "push", "key": K, "value": V}),
        ("pop", ("k",), {"operation": "pop", "key": K}),
        ("erase", (ip_address("10.0.0.1"),), {"operation": "erase", "key": encode(Address.parse("10.0.0.1"))}),
        ("clear", (), {"operation": "clear"}),
    ],
)
async def test_each_method_asks_for_one_thing(method: str, args: tuple[object, ...], expected: dict[str, Any]) -> None:
    """The same in synchronous and asynchronous hooks."""
    asked = Asked()
    getattr(DataStore("s", asked), method)(*args)

    async def ask(name: str, request: StoreRequest) -> StoreReply:
        return asked(name, request)

    await getattr(AsyncDataStore("s", ask), method)(*args)
    assert asked.requests == [StoreRequest(**expected)] * 2


def test_answers_are_typed() -> None:
    """And what is not there is the default."""
    assert DataStore("s", Asked(value=encode(Count(5)))).get("k") == Count(5)
    assert DataStore("s", Asked(value=encode(None))).get("k", "default") is None
    assert DataStore("s", Asked()).get("k", "default") == "default"
    assert DataStore("s", Asked(has_effect=False)).erase("k") is False
    entries = (StoreEntry(K, V),)
    assert DataStore("s", Asked(entries=entries, size=1)).items() == [(b"k", b"v")]
    assert DataStore("s", Asked(entries=entries, size=1)).keys() == [b"k"]
    with pytest.raises(StoreError, match="2 keys are more than 1") as caught:
        DataStore("s", Asked(entries=entries, size=2)).keys(limit=1)
    assert caught.value.reason is StoreFailure.TOO_LARGE


@pytest.mark.parametrize(("ttl", "ns"), [(None, None), (0.5, 500_000_000), (timedelta(minutes=1), 60_000_000_000)])
def test_lifetimes(ttl: Any, ns: int | None) -> None:
    """In seconds, or as Python has them."""
    asked = Asked()
    DataStore("s", asked).put("k", "v", ttl=ttl)
    assert asked.requests[0].expiry_ns == ns


def test_what_cannot_be_said_is_not_asked() -> None:
    """It is the hook's mistake, and raised there."""
    asked = Asked()
    store = DataStore("s", asked)
    for args, error in ((("k", object()), TypeError), (("k", 1 << 70), ValueError)):
        with pytest.raises(error):
            store.put(*args)
    with pytest.raises(ValueError, match="no lifetime"):
        store.put("k", "v", ttl=-1)
    assert asked.requests == []


def test_a_name_that_is_no_data_store_is_the_hooks_own_memory() -> None:
    """Which needs the journal."""
    asked = Asked()
    context = Context(
        item=Print(topic="t", source="broker", text=b"", received_ns=0),
        attempt=1,
        deadline=0.0,
        log=None,
        config={},
        publish_event=lambda *_: 0,
        find_store=lambda name: asked if name == "s" else None,
    )
    assert isinstance(context.store("s"), DataStore)
    with pytest.raises(ValueError, match="no journal"):
        context.store("other")
