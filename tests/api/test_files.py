"""Finished files of a handler: the list, and fetching them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.api.files import FileRoutes, parse_range
from appliance.api.server import ApiServer
from appliance.config import Api, Capture, Handler

from .harness import Response, closing, parse_response

pytestmark = pytest.mark.usefixtures("told")  # what is logged is not printed
FILES = "/v1/captures/c/h/files"
CONTENT = bytes(range(256)) * 4096


class Site:
    """A handler with three finished files, one that is being written, and things that are none of its."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "api.sock"
        for name in ("h/01/1.pcap", "h/01/2.pcap", "h/02/3.pcap.zst", "h/02/4.pcap.part", "h/02/other", "secret"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(CONTENT)
        (folder / "h/02/5.pcap").symlink_to(folder / "secret")
        handler = Handler(name="h", log_dir=f"{folder}/{{name}}/%d", file_name_pattern="{seq}.pcap")
        self.tables = (Capture(name="c", conn_type="udp", address=("", 1), handler=(handler,)),)
        routes = FileRoutes(lambda: self, state_dir=str(folder))
        self.server = ApiServer(Api(listen=(f"unix:{self.path}",)), routes.endpoints())

    def captures(self) -> tuple[Capture, ...]:
        return self.tables

    async def get(self, target: str, **headers: str) -> Response:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        async with await trio.open_unix_socket(str(self.path)) as stream:
            await stream.send_all(closing(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()))
            return parse_response(b"".join([data async for data in stream]))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Site]:
    site = Site(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.server.run)
        yield site
        site.server.stop()


async def test_finished_files_are_listed_page_by_page(tmp_path: Path) -> None:
    """With names below the handler's folder; no others."""
    async with serving(tmp_path) as site:
        first = (await site.get(f"{FILES}?limit=2")).json
        assert [each["name"] for each in first["files"]] == ["01/1.pcap", "01/2.pcap"]
        assert first["files"][0]["size"] == len(CONTENT)
        second = (await site.get(f"{FILES}?limit=2&cursor={first['next']}")).json
        assert ([each["name"] for each in second["files"]], second["next"]) == (["02/3.pcap.zst"], None)
        assert (await site.get(f"{FILES}?cursor=nonsense")).status == 400
        assert (await site.get("/v1/captures/c/other/files")).status == 404


async def test_a_file_is_fetched_as_a_whole_or_in_part(tmp_path: Path) -> None:
    """RFC 9110: 200, 206 and 416, and If-Range."""
    async with serving(tmp_path) as site:
        whole = await site.get(f"{FILES}/01/1.pcap")
        assert (whole.status, whole.body) == (200, CONTENT)
        assert whole.headers["content-type"] == "application/vnd.tcpdump.pcap"
        part = await site.get(f"{FILES}/01/1.pcap", Range="bytes=300000-", If_Range=whole.headers["etag"])
        assert (part.status, part.body) == (206, CONTENT[300000:])
        assert part.headers["content-range"] == f"bytes 300000-{len(CONTENT) - 1}/{len(CONTENT)}"
        assert (await site.get(f"{FILES}/01/1.pcap", Range="bytes=5-9", If_Range='"other"')).status == 200
        beyond = await site.get(f"{FILES}/01/1.pcap", Range=f"bytes={len(CONTENT)}-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "..%2fsecret", "%2e%2e/secret", "01/../../secret", "/secret", "02/5.pcap", "02/4.pcap.part",
        "02/other", "01/1.pcap%00", "01//1.pcap", "%2e/01/1.pcap",
    ],
)  # fmt: skip
async def test_no_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    """What is not in the list is not there: folders above, links, what is being written, others' files."""
    async with serving(tmp_path) as site:
        assert (await site.get(f"{FILES}/{name}")).status == 404


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, (0, 10)),
        ("bytes=0-0", (0, 1)),
        ("bytes=3-", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=3-300", (3, 10)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=5-2", (0, 10)),
        ("bytes=1-2,4-5", (0, 10)),
        ("lines=1-2", (0, 10)),
        ("bytes=-", (0, 10)),
    ],
)
def test_ranges(text: str | None, part: tuple[int, int] | None) -> None:
    """RFC 9110, section 14.1.2."""
    assert parse_range(text, 10) == part
