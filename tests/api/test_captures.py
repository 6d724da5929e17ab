"""``/v1/captures``: what it answers, what it refuses; with a control that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from appliance.api.captures import PATIENCE_S, CaptureRoutes, describe_captures
from appliance.api.server import ApiServer
from appliance.config import Api, Capture, Handler
from appliance.config.request import parse_capture
from appliance.errors import ApplianceError, ConfigError, PrivilegeError
from appliance.model import Segment

from .harness import ask as ask_endpoints
from .harness import closing

TABLE = Capture(
    name="tele",
    conn_type="udp",
    address=("", 8500),
    handler=(
        Handler(name="raw", log_dir="/data/{name}"),
        Handler(name="two", log_dir="/other", pre_write_transforms=("site:f",)),
    ),
)
SEGMENT = Segment(
    handler="raw",
    source="capture.tele",
    path="/data/raw/x.pcap",
    packets=3,
    disk_size=99,
    first_ns=1,
    last_ns=2,
    linktype=147,
)


class HandlerFigures(msgspec.Struct, kw_only=True):
    name: str
    capture: str
    packets: int = 7


class SocketFigures(msgspec.Struct, kw_only=True):
    address: str
    handlers: tuple[HandlerFigures, ...]


class FakeControl:
    """Does what it is told, or raises `failure`."""

    def __init__(self) -> None:
        self.tables = [TABLE]
        self.failure: Exception | None = None
        self.delay_s = 0.0
        self.done: list[Any] = []

    def captures(self) -> list[Capture]:
        return self.tables

    def statistics(self) -> dict[str, SocketFigures]:
        figures = tuple(HandlerFigures(name=handler.name, capture="tele") for handler in TABLE.handler[:1])
        return {"tele": SocketFigures(address="0.0.0.0:8500", handlers=figures)}

    def find(self, name: str) -> list[tuple[str, str]]:
        return [(t.name, h.name) for t in self.tables for h in t.handler if name == f"{t.name}/{h.name}"]

    async def _do(self, *what: Any) -> None:
        await trio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        self.done.append(what)

    async def start(self, capture: Capture) -> None:
        await self._do("start", capture)
        self.tables = [*self.tables, capture]

    async def stop(self, name: str) -> int:
        await self._do("stop", name)
        return 1

    async def rotate(self, name: str) -> list[Segment]:
        await self._do("rotate", name)
        return [SEGMENT]


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


async def ask(control: FakeControl, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and document."""
    return await ask_endpoints(CaptureRoutes(lambda: control, state_dir="/state").endpoints(), method, path, body)


def body(**more: Any) -> dict[str, Any]:
    return {"conn_type": "udp", "address": ["", 9000], "handler": [{"name": "new"}], **more}


async def test_captures_are_listed_with_tables_and_figures(control: FakeControl) -> None:
    """A handler without figures does not run at the moment."""
    status, document = await ask(control, "GET", "/v1/captures")
    assert status == 200
    (capture,) = document["captures"]
    assert (capture["name"], capture["address"], capture["socket"]) == ("tele", ["", 8500], {"address": "0.0.0.0:8500"})
    first, second = capture["handlers"]
    assert first["config"]["log_dir"] == "/data/{name}"
    assert first["statistics"]["packets"] == 7
    assert second["statistics"] is None


async def test_what_is_listed_can_be_sent_back(control: FakeControl) -> None:
    """Sizes and durations are written as in the file."""
    (capture,) = msgspec.json.decode(msgspec.json.encode(describe_captures(control)))
    del capture["socket"]
    handlers = [each["config"] for each in capture.pop("handlers")]
    table = {**capture, "handler": handlers}
    assert parse_capture(table, state_dir="/state") == TABLE


async def test_one_handler_is_told(control: FakeControl) -> None:
    """Or that there is none."""
    status, document = await ask(control, "GET", "/v1/captures/tele/raw")
    assert (status, document["capture"], document["name"]) == (200, "tele", "raw")
    for path in ("/v1/captures/tele/none", "/v1/captures/none/raw"):
        assert (await ask(control, "GET", path))[0] == 404


async def test_a_handler_is_started(control: FakeControl) -> None:
    """Its capture gets a name, its folder is below the state; the answer is what is listed from now on."""
    status, document = await ask(control, "POST", "/v1/captures", body())
    assert status == 201
    assert document["capture"] == "udp-9000"
    ((_, capture),) = control.done
    assert capture.handler[0].log_dir == "/state/captures"
    assert document["handlers"][0]["config"]["name"] == "new"


async def test_a_handler_joins_the_capture_of_its_address(control: FakeControl) -> None:
    """Unless another one is named."""
    assert (await ask(control, "POST", "/v1/captures", body(address=["", 8500])))[1]["capture"] == "tele"
    assert (await ask(control, "POST", "/v1/captures", body(name="mine")))[1]["capture"] == "mine"


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({"conn_tipe": "udp"}, "conn_tipe"),
        ({"address": ["", "x"]}, "address[1]"),
        ({"handler": []}, "handler"),
        ({"handler": [{"name": "x", "rotate_log_delta": 0}]}, "handler[0].rotate_log_delta"),
        ({"handler": [{"name": "x", "log_dir": "/etc"}]}, "handler[0].log_dir"),
        ({"handler": [{"name": "x", "log_dir": "/"}]}, "handler[0].log_dir"),
        ({"handler": [{"name": "x", "log_dir": "/dataset"}]}, "handler[0].log_dir"),
        ({"handler": [{"name": "x", "log_dir": "../.."}]}, "handler[0].log_dir"),
        ({"handler": [{"name": "x", "log_dir": "/data/../etc"}]}, "handler[0].log_dir"),
        ({"handler": [{"name": "x", "file_name_pattern": "/etc/x"}]}, "handler[0].file_name_pattern"),
        ({"handler": [{"name": "x", "file_name_pattern": "{name.__class__}"}]}, "handler[0].file_name_pattern"),
        ({"handler": [{"name": "x", "pre_write_transforms": ["os:system"]}]}, "handler[0].pre_write_transforms"),
        ({"conn_type": "tcp", "address": ["a", 1], "tls": True, "ca": "/etc/shadow"}, "ca"),
    ],
)
async def test_mistakes_are_told_by_key(control: FakeControl, sent: dict[str, Any], key: str) -> None:
    """Status 422; nothing is started. Neither code nor places on the disk come in this way."""
    status, document = await ask(control, "POST", "/v1/captures", body(**sent))
    assert status == 422
    assert key in [mistake["key"] for mistake in document["mistakes"]]
    assert not control.done


@pytest.mark.parametrize("log_dir", ["/data/x", "/data", "/other/%Y", "mine/{name}", "/state/deep"])
async def test_files_may_go_where_files_go(control: FakeControl, log_dir: str) -> None:
    """Below the state, and below the folders that the file names."""
    status, _ = await ask(control, "POST", "/v1/captures", body(handler=[{"name": "x", "log_dir": log_dir}]))
    assert status == 201


@pytest.mark.parametrize("sent", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_is_refused(control: FakeControl, sent: bytes) -> None:
    """Status 400."""
    assert (await ask(control, "POST", "/v1/captures", sent))[0] == 400


@pytest.mark.parametrize("sent", [b"[]", b"5", b"null", b"{}"])
async def test_json_that_is_no_capture_is_refused(control: FakeControl, sent: bytes) -> None:
    """Status 422."""
    assert (await ask(control, "POST", "/v1/captures", sent))[0] == 422


async def test_a_handler_is_not_started_twice(control: FakeControl) -> None:
    """Status 409."""
    sent = body(name="tele", address=["", 8500], handler=[{"name": "raw", "file_name_pattern": "other"}])
    assert (await ask(control, "POST", "/v1/captures", sent))[0] == 409
    assert not control.done


async def test_handlers_are_stopped_and_rotated(control: FakeControl) -> None:
    """By capture and name; the answer tells how many, or what became of the file."""
    assert await ask(control, "DELETE", "/v1/captures/tele/raw") == (200, {"stopped": 1})
    status, document = await ask(control, "POST", "/v1/captures/tele/raw/rotate")
    assert (status, document["segments"][0]["path"]) == (200, "/data/raw/x.pcap")
    assert control.done == [("stop", "tele/raw"), ("rotate", "tele/raw")]


@pytest.mark.parametrize(("method", "end"), [("DELETE", ""), ("POST", "/rotate")])
async def test_unknown_handlers_are_told(control: FakeControl, method: str, end: str) -> None:
    """Status 404: nothing is said to be done that was not."""
    status, document = await ask(control, method, f"/v1/captures/tele/none{end}")
    assert (status, document["detail"]) == (404, "tele/none")
    assert not control.done


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/captures", 405), ("DELETE", "/v1/captures", 405), ("POST", "/v1/captures/tele/raw", 405),
        ("GET", "/v1/captures/tele/raw/rotate", 405), ("GET", "/v1/captures/tele", 404), ("GET", "/v1/captures/", 404),
        ("GET", "/v1/captures/a/b/c", 404), ("DELETE", "/v1/captures/a/b/c/d", 404),
    ],
)  # fmt: skip
async def test_other_requests_are_refused(control: FakeControl, method: str, path: str, status: int) -> None:
    """By path, then by method."""
    assert (await ask(control, method, path))[0] == status
    assert not control.done


@pytest.mark.parametrize(
    ("failure", "status", "detail"),
    [
        (ExceptionGroup("x", [ApplianceError("cannot bind :9000/udp")]), 409, "cannot bind :9000/udp"),
        (OSError(28, "No space left on device"), 409, "[Errno 28] No space left on device"),
        (ExceptionGroup("x", [PrivilegeError("CAP_NET_RAW is missing")]), 403, "CAP_NET_RAW is missing"),
        (ExceptionGroup("x", [ExceptionGroup("y", [ConfigError("bad", key="k")])]), 422, None),
        (ZeroDivisionError("division by zero"), 500, "ZeroDivisionError: division by zero"),
    ],
)
async def test_failures_are_told(control: FakeControl, failure: Exception, status: int, detail: str | None) -> None:
    """With a reason; the endpoint goes on."""
    control.failure = failure
    found, document = await ask(control, "POST", "/v1/captures", body())
    assert (found, document.get("detail")) == (status, detail)


async def test_a_stop_whose_file_is_late_is_told(control: FakeControl) -> None:
    """The handler is stopped; its file is not finished."""
    control.failure = trio.TooSlowError()
    found, document = await ask(control, "DELETE", "/v1/captures/tele/raw")
    assert (found, document["detail"]) == (504, "it is stopped; its file ends when the disk allows")


async def test_nobody_waits_for_ever(control: FakeControl, autojump_clock: trio.testing.MockClock) -> None:
    """A file that is long in ending ends without its client; a change is never left half done."""
    control.delay_s = PATIENCE_S + 1
    assert (await ask(control, "POST", "/v1/captures/tele/raw/rotate"))[0] == 504
    assert (await ask(control, "DELETE", "/v1/captures/tele/raw"))[0] == 200


async def test_a_slow_change_is_not_cut_by_the_limit_of_other_requests(
    control: FakeControl, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Over a real socket, with a body that comes in pieces."""
    control.delay_s = PATIENCE_S - 1
    path = tmp_path / "api.sock"
    server = ApiServer(Api(listen=(f"unix:{path}",)), CaptureRoutes(lambda: control, state_dir="/state").endpoints())
    sent = msgspec.json.encode(body())
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        async with await trio.open_unix_socket(str(path)) as stream:
            head = f"POST /v1/captures HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
            await stream.send_all(closing(head.encode()) + sent[:10])
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(sent[10:])
            answer = b"".join([data async for data in stream])
        server.stop()
    assert answer.startswith(b"HTTP/1.1 201 ")


async def test_a_handler_is_put_once(control: FakeControl) -> None:
    """However often it is asked for; one that is different is not replaced."""
    table = {"conn_type": "udp", "address": ["", 9000], "handler": [{"rotate_size": "1MiB"}]}
    assert (await ask(control, "PUT", "/v1/captures/x/new", table))[0] == 201
    assert (await ask(control, "PUT", "/v1/captures/x/new", table))[0] == 200
    assert [what for what, *_ in control.done] == ["start"]
    table["handler"] = [{"rotate_size": "2MiB"}]
    assert (await ask(control, "PUT", "/v1/captures/x/new", table))[0] == 409
    table["handler"] = []
    assert (await ask(control, "PUT", "/v1/captures/x/new", table))[0] == 422
    assert (await ask(control, "PUT", "/v1/captures/x/new", b"{"))[0] == 400
