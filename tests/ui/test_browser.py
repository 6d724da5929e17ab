"""The page in a real browser: what it shows is what the API tells, and what is pressed happens."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dpkt
import pytest

from .browser import CHROMIUM, Browser, forwarded, open_browser
from .site import LETTERS, PACKETS, Site, can_record, open_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: package chromium)"),
    pytest.mark.usefixtures("told"),
]

LIVE = "document.querySelector('#live').textContent === 'live'"
LEDGER = """[...document.querySelectorAll('#rates tbody tr')].map((row) => [
  row.cells[0].innerText, ...[3, 4, 5].map((cell) => Number(row.cells[cell].innerText.replaceAll(',', '')))])"""


@asynccontextmanager
async def visiting(folder: Path, *, record: bool = False) -> AsyncIterator[tuple[Site, Browser, str]]:
    """A site, a browser that looks at it as its owner, and its address; the browser has nothing to complain about."""
    async with (
        open_site(folder, record=record) as (site, _),
        forwarded(site.socket) as address,
        open_browser(folder) as browser,
    ):
        await browser.open(f"http://{address}/ui/")
        await browser.wait(LIVE)
        yield site, browser, address
        assert browser.problems == []


async def ask(browser: Browser, path: str) -> Any:
    """A document of the API, at the same moment."""
    return json.loads(await browser.evaluate(f"fetch({path!r}).then((answer) => answer.text())"))


async def test_what_it_shows_and_what_it_does(tmp_path: Path) -> None:
    """Figures are the API's; a handler is started, rotated and stopped, and a dead letter retried."""
    async with visiting(tmp_path) as (site, browser, _):
        await browser.wait(f"document.querySelector('#captures tbody tr').cells[1].innerText === '{PACKETS}'")
        await browser.wait(f"document.querySelectorAll('[id^=\"retry:\"]').length === {LETTERS}")
        status = await ask(browser, "/v1/status")
        told = [line["account"] for line in status["ledger"]]
        figures = [[each["name"], each["received"], each["delivered"], each["queued"]] for each in told]
        assert PACKETS in [each["received"] for each in told]
        await browser.wait(f"JSON.stringify({LEDGER}) === JSON.stringify({json.dumps(figures)})")
        services = [line["service"]["name"] for line in status["services"]]
        shown = await browser.evaluate("[...document.querySelectorAll('#services tbody th')].map((th) => th.innerText)")
        assert sorted(shown) == sorted(services)
        assert await browser.evaluate("document.title") == "node-1: 2 things to look at"

        await browser.click('[id="rotate:telemetry/raw"]')
        note = await browser.wait("document.querySelector('#note p')?.innerText")
        path = Path(note.removeprefix("telemetry/raw: finished "))
        with path.open("rb") as file:
            assert len(list(dpkt.pcap.Reader(file))) == PACKETS

        await browser.click("#start summary")
        await browser.fill("#start [name=host]", "127.0.0.1")
        await browser.fill("#start [name=port]", "0")
        await browser.fill("#start [name=name]", "extra")
        await browser.click("#start button")
        await browser.wait("document.querySelector('#note p')?.innerText === 'udp-0/extra is started'")
        captures = await ask(browser, "/v1/captures")
        assert [each["name"] for each in captures["captures"]] == ["telemetry", "udp-0"]
        await browser.click('[id="stop:udp-0/extra"]')
        await browser.wait("document.querySelector('#note p')?.innerText === 'udp-0/extra is stopped'")
        assert browser.questions == ["Stop udp-0/extra? Its file ends, and nothing more is captured for it."]
        assert len((await ask(browser, "/v1/captures"))["captures"]) == 1

        assert "<b>no answer</b>" in await browser.text("#hooks")
        site.trouble.unlink()
        await browser.click('[id^="retry:"]')
        await browser.wait("document.querySelector('#note p')?.innerText === '1 letter tried again'")
        await browser.wait(f"document.querySelectorAll('[id^=\"retry:\"]').length === {LETTERS - 1}")
        (hook,) = (await ask(browser, "/v1/hooks"))["hooks"]
        assert hook["dead"] == LETTERS - 1
        await browser.click('[id="retry-hook:tickets"]')
        await browser.wait("document.querySelectorAll('[id^=\"retry:\"]').length === 0")


async def test_records_pass_by(tmp_path: Path) -> None:
    """Those that are asked for, as text whatever is in them."""
    async with visiting(tmp_path) as (site, browser, _):
        await browser.fill("#log [name=path]", "d*")
        await browser.fill("#log [name=contains]", "<i>")
        await browser.click("#log button")
        await browser.wait(LIVE)
        for path, query in (("dns", "other"), ("http", "<i>none"), ("dns", "<i>this")):
            site.log(path, query=query)
        await browser.wait("document.querySelectorAll('#lines li').length")
        assert (await browser.text("#lines")).strip() == "22:13:20 dns query <i>this"


@pytest.mark.skipif(not can_record(), reason="this may not record (CAP_NET_RAW)")
async def test_packets_are_searched_and_downloaded(tmp_path: Path) -> None:
    """A mistake leads back to the form; what is downloaded is a PCAP."""
    (tmp_path / "downloads").mkdir()
    async with visiting(tmp_path, record=True) as (site, browser, _):
        await browser.downloads(tmp_path / "downloads")
        await browser.fill("#recorders [name=host]", "127.0.0.1")
        await browser.fill("#recorders [name=bpf]", "udp port")
        await browser.click("#recorders button")
        await browser.wait_event("Page.loadEventFired")
        assert (await browser.text("#note p")).startswith("a condition is wrong: ")
        assert await browser.evaluate("document.querySelector('#recorders [name=host]').value") == "127.0.0.1"
        await browser.fill("#recorders [name=bpf]", f"udp port {site.port}")
        await browser.click("#recorders button")
        begun = await browser.wait_event("Browser.downloadWillBegin")
        await browser.wait_event("Browser.downloadProgress", lambda told: told["state"] == "completed")
    assert begun["suggestedFilename"].startswith("node-1-")
    (path,) = (tmp_path / "downloads").iterdir()
    with path.open("rb") as file:
        packets = [dpkt.ethernet.Ethernet(data).data.data.data for _, data in dpkt.pcap.Reader(file)]
    assert packets == [b"%06d" % number for number in range(PACKETS)]
    if tshark := shutil.which("tshark"):
        done = subprocess.run([tshark, "-r", path, "-T", "fields", "-e", "udp.dstport"], capture_output=True, text=True)
        assert done.stdout.split() == [str(site.port)] * PACKETS


async def test_over_tcp_one_signs_in(tmp_path: Path) -> None:
    """With a token that may read there is nothing to press, and no script sees the session."""
    async with open_site(tmp_path) as (site, appliance), open_browser(tmp_path) as browser:
        address = await site.tcp(appliance)
        await browser.open(f"http://{address}/ui/")
        assert await browser.evaluate("location.pathname") == "/ui/login"
        await browser.fill("[name=token]", site.tokens["read"])
        await browser.evaluate("document.querySelector('[name=token]').focus()")
        await browser.press("Enter")
        await browser.wait_event("Page.loadEventFired")
        await browser.wait(LIVE)
        assert "token:read, read" in await browser.text(".who")
        assert await browser.evaluate("document.cookie") == ""
        assert await browser.evaluate("document.querySelectorAll('[form=act], #start').length") == 0
        assert await browser.evaluate("fetch('/v1/status').then((answer) => answer.status)") == 401
        await browser.click(".who button")
        await browser.wait_event("Page.loadEventFired")
        assert await browser.evaluate("location.pathname") == "/ui/login"
        await browser.open(f"http://{address}/ui/")
        assert await browser.evaluate("location.pathname") == "/ui/login"


async def test_without_the_script_and_in_every_look(tmp_path: Path) -> None:
    """The essentials are there: figures, buttons, forms. Narrow, light and dark, and by the keyboard."""
    async with visiting(tmp_path) as (_, browser, address):
        papers = []
        for width, dark in ((1440, False), (1440, True), (360, False)):
            await browser.look(width, 900, dark=dark)
            papers.append(await browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert await browser.evaluate("document.documentElement.scrollWidth") <= width
        assert papers[0] == papers[2] != papers[1]
        await browser.press("Tab")
        assert await browser.evaluate("document.activeElement.className") == "skip"
        await browser.press("Enter")
        assert await browser.evaluate("location.hash") == "#services"

        await browser.send("Emulation.setScriptExecutionDisabled", value=True)
        await browser.open(f"http://{address}/ui/")
        assert "script" in await browser.text("#log noscript")
        await browser.evaluate("document.querySelector('[id=\"rotate:telemetry/raw\"]').focus()")
        await browser.press("Enter")
        await browser.wait_event("Page.loadEventFired")
        assert "finished" in await browser.text("#note")
