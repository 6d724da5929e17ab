"""AIT's six routes, asked with curl and as its own tools ask."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from appliance.api.tokens import make_token
from appliance.app import Appliance
from appliance.config import load
from appliance.parts import prepare
from tests.capture.harness import wait_until
from tests.ports import free_port

from .test_manager import contents, send

CURL = shutil.which("curl")
pytestmark = [
    pytest.mark.usefixtures("told"),
    pytest.mark.skipif(CURL is None, reason="there is no curl"),
]


class Answer(NamedTuple):
    """What curl was told."""

    status: int
    kind: str
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site(NamedTuple):
    """An appliance with a handler ``raw`` on a UDP port, and ``legacy_routes``."""

    folder: Path
    port: int
    appliance: Appliance

    async def curl(self, path: str, *arguments: str) -> Answer:
        """Ask with curl."""
        command = [
            "curl", "--silent", "--show-error", "--max-time", "20", "--unix-socket", str(self.folder / "api.sock"),
            "--write-out", "\n%{http_code} %{content_type}", *arguments, f"http://localhost:8080{path}",
        ]  # fmt: skip
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        body, _, last = done.stdout.decode().rpartition("\n")
        status, _, kind = last.partition(" ")
        return Answer(int(status), kind, body)

    async def post(self, path: str, /, **fields: object) -> Answer:
        """Send a form, as ``curl -d`` and as the Python library of AIT's tools do."""
        data = [each for name, value in fields.items() for each in ("--data-urlencode", f"{name}={value}")]
        return await self.curl(path, *(data or ("--request", "POST")))


@asynccontextmanager
async def running(folder: Path, *, legacy: str = "true", more: str = "]") -> AsyncIterator[Site]:
    port = free_port()
    path = folder / "site.toml"
    path.write_text(
        f'[appliance]\nstate_dir = "{folder}/state"\n'
        f'[api]\nlisten = ["unix:{folder}/api.sock"{more}\nlegacy_routes = {legacy}\n[[capture]]\nname = "tele"\n'
        f'conn_type = "udp"\naddress = ["127.0.0.1", {port}]\n'
        f'handler = [{{ name = "raw", log_dir = "{folder}/data", file_name_pattern = "{{name}}.pcap" }}]\n'
    )
    appliance = Appliance(prepare(load(path, environ={})), path, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(appliance.run)
        await appliance.ready.wait()
        yield Site(folder, port, appliance)
        appliance.stop()


HTML = "text/html; charset=UTF-8"


async def test_calls_are_answered_as_they_are_documented(tmp_path: Path) -> None:
    """Each of the six: an object by the text of the address, a list, or nothing at all; every time as text/html."""
    async with running(tmp_path) as site:
        key = f"['127.0.0.1', {site.port}]"
        every = await site.curl("/")
        assert (every.status, every.kind) == (200, HTML)
        (handler,) = every.json[key]
        assert set(handler) == {"handler", "log_file_path", "conn_type", "address"}
        assert (handler["handler"]["name"], handler["conn_type"]) == ("raw", "udp")
        assert handler["address"] == ["127.0.0.1", site.port]
        # AIT fails within the first second.
        stats = await site.curl("/stats")
        assert (stats.status, stats.kind) == (200, HTML)
        assert stats.json == {
            key: [{"name": "raw", "reads": 0, "data_read_length": "0 bytes", "approx_data_rate": "0.0 bytes/second"}]
        }
        more = free_port()
        fields = {"loc": "127.0.0.1", "port": more, "conn_type": "udp", "file_name_pattern": "{name}-{site}.pcap"}
        assert await site.post("/second/start", **fields, site="north") == (200, HTML, "")
        for number in range(3):
            send(more, bytes([number]) * 10)
        handlers = site.appliance.captures.statistics
        await wait_until(lambda: sum(h.packets for c in handlers().values() for h in c.handlers) == 3)
        (second,) = (await site.curl("/stats")).json[f"['127.0.0.1', {more}]"]
        assert (second["reads"], second["data_read_length"]) == (3, "30 bytes")
        assert second["approx_data_rate"].endswith(" bytes/second")
        await wait_until(lambda: any(h.open_file for c in handlers().values() for h in c.handlers))
        config = await site.curl("/second/config")
        assert (config.status, config.kind, len(config.json)) == (200, HTML, 1)
        assert config.json[0]["log_file_path"].endswith(".part")
        assert await site.curl("/second/rotate", "--request", "POST") == (200, HTML, "")
        folder = tmp_path / "state" / "captures"
        assert contents(folder) == {"second-north.pcap": [bytes([each]) * 10 for each in range(3)]}
        assert await site.curl("/second/stop", "--request", "DELETE") == (200, HTML, "")
        assert (await site.curl("/second/config")).json == []
        assert (await site.curl("/stats", "--header", "Accept: application/json")).kind == "application/json"
        # AIT knows no difference between what there is not and what there is.
        for method, path in (("DELETE", "/none/stop"), ("POST", "/none/rotate")):
            assert await site.curl(path, "--request", method) == (200, HTML, "")
        assert (await site.curl("/none/config")).json == []


async def test_the_calls_of_the_tools_work(tmp_path: Path) -> None:
    """``ait-bsc-create-handler`` sends all its arguments, and defaults that AIT cannot take; then the other tool."""
    async with running(tmp_path) as site:
        port = free_port()
        sent = {
            "name": "tool", "loc": "127.0.0.1", "port": port, "conn_type": "udp", "service_host": "localhost",
            "service_port": 8080, "rotate_log": True, "rotate_log_index": "minutes", "rotate_log_delta": 1,
            "file_name_pattern": "\\%Y-\\%m-\\%d-\\%H-\\%M-\\%S-{name}.pcap",
        }  # fmt: skip
        assert await site.post("/tool/start", **sent) == (200, HTML, "")
        (found,) = (await site.curl("/tool/config")).json
        wanted = {
            "rotate_log": True,
            "rotate_log_index": "minutes",
            "file_name_pattern": "%Y-%m-%d-%H-%M-%S-{name}.pcap",
        }
        assert {key: found["handler"][key] for key in wanted} == wanted
        # What runs already is not started again, so a script may ask at each of its starts.
        assert (await site.post("/tool/start", **sent)).status == 200
        assert len((await site.curl("/tool/config")).json) == 1
        assert await site.curl("/tool/stop", "--request", "DELETE") == (200, HTML, "")
        assert (await site.curl("/tool/config")).json == []


async def test_over_tcp_the_token_is_a_password(tmp_path: Path) -> None:
    """Which curl and the Python library of AIT's tools take from ``~/.netrc``; without it nothing is told or done."""
    token, line = make_token("ait", "operate")
    (tmp_path / "tokens").write_text(line)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine localhost login ait password {token}\n")
    async with running(tmp_path, more=f', "127.0.0.1:0"]\ntoken_file = "{tmp_path}/tokens"') as site:
        assert site.appliance._assembly is not None
        server: Any = site.appliance._assembly.units["api"].service
        place = server.statistics().sockets[1].replace("127.0.0.1", "localhost")

        async def ask(path: str, *arguments: str) -> int:
            command = ["curl", "--silent", "--max-time", "20", "--output", "-", "--write-out", "\n%{http_code}",
                       *arguments, f"http://{place}{path}"]  # fmt: skip
            done = await trio.run_process(command, capture_stdout=True)
            return int(done.stdout.decode().rpartition("\n")[2])

        form = ("--data", f"loc=127.0.0.1&port={site.port}&conn_type=udp")
        known = ("--netrc-file", str(netrc))
        assert [await ask(path) for path in ("/", "/stats", "/raw/config")] == [401] * 3
        assert await ask("/new/start", *form) == 401
        assert await ask("/stats", *known) == 200
        assert await ask("/new/start", *known, *form) == 200
        assert await ask("/new/rotate", *known, "--request", "POST") == 200
        assert len((await site.curl("/new/config")).json) == 1
        assert await ask("/new/stop", "--request", "DELETE") == 401
        assert await ask("/new/stop", *known, "--request", "DELETE") == 200
        assert (await site.curl("/new/config")).json == []


async def test_rotation_can_be_switched_off(tmp_path: Path) -> None:
    """By what says so, where in AIT everything does."""
    async with running(tmp_path) as site:
        for name, value in (("on", "true"), ("off", "false")):
            fields = {"loc": "127.0.0.1", "port": site.port, "conn_type": "udp", "rotate_log": value}
            assert (await site.post(f"/{name}/start", **fields)).status == 200
            (found,) = (await site.curl(f"/{name}/config")).json
            assert found["handler"]["rotate_log"] is (value == "true")
        assert len((await site.curl("/")).json[f"['127.0.0.1', {site.port}]"]) == 3


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({}, 422, "conn_type"),
        ({"conn_type": "udp"}, 422, "port"),
        ({"conn_type": "udp", "port": "many"}, 422, "port"),
        ({"conn_type": "serial", "port": "PORT"}, 422, "conn_type"),
        ({"conn_type": "tcp", "port": "PORT", "loc": "127.0.0.1"}, 422, "conn_type"),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "rotate_log_delta": "often"}, 422, "delta"),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "log_dir_path": "/etc"}, 422, "below"),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "path": "../../.."}, 422, "below"),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "file_name_pattern": "/etc/x"}, 422, "below"),
        (
            {"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "file_name_pattern": "{name.__class__}"},
            422,
            "plain fields",
        ),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "pre_write_transforms": "os:abort"}, 422, "file"),
        ({"conn_type": "udp", "port": "PORT", "loc": "127.0.0.1", "name": "another"}, 422, "name"),
        ({"conn_type": "udp", "port": "PORT", "loc": "192.0.2.1"}, 409, "address"),
    ],
    ids=["nothing", "no-port", "wrong-port", "wrong-type", "other-type", "wrong-delta", "elsewhere", "upwards",
         "absolute", "attribute", "transform", "two-names", "not-ours"],
)  # fmt: skip
async def test_what_cannot_be_started_is_told(tmp_path: Path, fields: dict[str, str], status: int, told: str) -> None:
    """With a code that says so, and nothing has changed."""
    async with running(tmp_path) as site:
        before = (await site.curl("/")).body
        filled = {name: value.replace("PORT", str(site.port)) for name, value in fields.items()}
        answer = await site.post("/new/start", **filled)
        assert (answer.status, answer.kind) == (status, "application/problem+json")
        assert told in answer.json["detail"]
        assert (await site.curl("/")).body == before
        assert (await site.curl("/new/config")).json == []


async def test_a_second_handler_of_a_name_with_other_settings_is_refused(tmp_path: Path) -> None:
    """In AIT both write into one file."""
    async with running(tmp_path) as site:
        fields = {"loc": "127.0.0.1", "port": site.port, "conn_type": "udp"}
        assert (await site.post("/new/start", **fields)).status == 200
        assert (await site.post("/new/start", **fields, rotate_log_delta=2)).status == 422


async def test_an_answer_is_no_page(tmp_path: Path) -> None:
    """A browser that shows it finds no element in it, and runs nothing."""
    async with running(tmp_path) as site:
        fields = {"loc": "127.0.0.1", "port": site.port, "conn_type": "udp", "file_name_pattern": "<b>&.pcap"}
        assert (await site.post("/new/start", **fields)).status == 200
        answer = await site.curl("/new/config", "--include")
        assert "<b>" not in answer.body
        assert "content-security-policy: default-src 'none'; sandbox" in answer.body.lower()
        assert (await site.curl("/new/config")).json[0]["handler"]["file_name_pattern"] == "<b>&.pcap"


async def test_other_paths_and_methods_are_refused(tmp_path: Path) -> None:
    """And so is a body that is no form."""
    async with running(tmp_path) as site:
        assert (await site.curl("/nothing")).status == 404
        assert (await site.curl("/raw/stop")).status == 405
        assert (await site.curl("/raw/start", "--json", "{}")).status == 415
        assert (await site.curl("/raw/start", "--data", "a=1&" * 100)).status == 400
        (tmp_path / "large").write_bytes(b"&" * 2_000_000)
        assert (await site.curl("/raw/start", "--data-binary", f"@{tmp_path}/large")).status == 413


async def test_without_the_key_there_are_no_such_routes(tmp_path: Path) -> None:
    """The default."""
    async with running(tmp_path, legacy="false") as site:
        assert (await site.curl("/stats")).status == 404
        assert (await site.post("/new/start", port=1, conn_type="udp")).status == 404
        assert (await site.curl("/v1/captures")).status == 200
