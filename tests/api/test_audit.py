"""The line that the log has about every change: who, what, and with which result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from appliance.api.audit import LONGEST, summarize
from appliance.api.gate import Gate
from appliance.api.roles import Identity

from .harness import Bench


@pytest.mark.parametrize(
    ("body", "members", "is_form", "found"),
    [
        (
            b'{"operation":"put","key":"k","value":"secret"}',
            ("operation", "key"),
            False,
            {"operation": "put", "key": "k"},
        ),
        (b'{"ids":[1,2],"all":false}', ("ids", "hook", "all"), False, {"ids": "[1,2]", "all": "false"}),
        (b"loc=127.0.0.1&port=1&x=y", ("loc", "port"), True, {"loc": "127.0.0.1", "port": "1"}),
        (b"[1]", ("ids",), False, {}),
        (b"{", ("ids",), False, {}),
        (b"", ("ids",), False, {}),
    ],
    ids=["texts", "others", "form", "no-object", "no-json", "nothing"],
)
def test_only_the_named_members_are_told(
    body: bytes, members: tuple[str, ...], is_form: bool, found: dict[str, str]
) -> None:
    """As text; what cannot be read has none of them."""
    assert summarize(body, members, is_form=is_form) == found


@given(body=st.binary(max_size=60) | st.text(max_size=300).map(lambda text: json.dumps({"a": text}).encode()),
       is_form=st.booleans())  # fmt: skip
def test_nothing_that_is_sent_fills_the_log(body: bytes, is_form: bool) -> None:
    """Whatever comes, there is a short text or none."""
    assert all(len(text) <= LONGEST + 1 for text in summarize(body, ("a",), is_form=is_form).values())


async def test_a_change_is_told_with_who_and_what(tmp_path: Path, told: list[EventDict]) -> None:
    """Also one that was refused; reading is not."""
    bench = Bench(tmp_path)
    async with bench.serving():
        assert (await bench.post({"topic": "my/topic", "event": "My::event", "args": ["secret"]})).status == 202
        assert (await bench.post({"topic": "my/topic", "event": ""})).status == 400
        assert (await bench.exchange(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
    lines: list[Any] = [entry for entry in told if entry["event"] == "request"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/v1/events", 202),
        ("POST", "/v1/events", 400),
    ]
    assert lines[0]["who"].startswith("uid:")
    assert lines[0]["address"].startswith("pid ")
    assert [line["what"] for line in lines] == [
        {"topic": "my/topic", "event": "My::event"},
        {"topic": "my/topic", "event": ""},
    ]


async def test_strangers_cannot_fill_the_log(told: list[EventDict], autojump_clock: trio.testing.MockClock) -> None:
    """A line in a minute for each address, with the number of those that were held back; others are told as ever."""
    who: list[Identity] = []

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401})

    async def unused(*_: Any) -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        assert message["status"] == 401

    gate = Gate(refuse, hosts=frozenset(), identify=lambda state, headers: who[-1], counted=lambda: None)

    async def post(name: str, host: str) -> None:
        who.append(Identity(name=name, address=f"{host}:{len(who)}", challenge=True))
        scope = {
            "type": "http", "method": "POST", "raw_path": b"/v1/reload", "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"localhost")], "state": {},
        }  # fmt: skip
        await gate(scope, unused, send)

    for _ in range(5):
        await post("", "192.0.2.1")
    await post("", "192.0.2.2")
    await post("token:a", "192.0.2.1")
    await post("token:a", "192.0.2.1")
    await trio.sleep(61)
    await post("", "192.0.2.1")
    lines: list[Any] = [(entry["who"], entry["address"].partition(":")[0], entry.get("more")) for entry in told]
    assert lines == [
        ("nobody", "192.0.2.1", 0),
        ("nobody", "192.0.2.2", 0),
        ("token:a", "192.0.2.1", None),
        ("token:a", "192.0.2.1", None),
        ("nobody", "192.0.2.1", 4),
    ]
