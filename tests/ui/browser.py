"""A headless Chromium, driven over the pipe of its DevTools: no port, no library.

Source: the Chrome DevTools Protocol; Chromium, content/browser/devtools/devtools_pipe_handler.cc: JSON messages, each
followed by a zero byte, come in on descriptor 3 and go out on descriptor 4.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 30.0
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
    "--no-proxy-server", "--hide-scrollbars", "--font-render-hinting=none", "--remote-debugging-pipe",
)  # fmt: skip

_WAIT = """new Promise((done) => {
  const look = () => { let found; try { found = (%s); } catch { } if (found) { watch.disconnect(); done(found); } };
  const watch = new MutationObserver(look);
  watch.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
  look();
})"""


class Browser:
    """One page of one browser."""

    def __init__(self, reading: trio.lowlevel.FdStream, writing: trio.lowlevel.FdStream) -> None:
        self._reading, self._writing = reading, writing
        self._session = ""
        self._count = 0
        self._answers: dict[int, Any] = {}
        self._events: list[tuple[str, Any]] = []
        self._changed = trio.Condition()
        self._lock = trio.Lock()
        self.problems: list[str] = []
        """What the page complained about."""
        self.questions: list[str] = []
        """What it asked; the answer is always yes."""

    async def run(self) -> None:
        """Read until the browser ends."""
        rest = b""
        async for data in self._reading:
            *messages, rest = (rest + data).split(b"\0")
            for message in map(json.loads, messages):
                await self._hear(message)

    async def _hear(self, message: Any) -> None:
        kind, told = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(str(told["exceptionDetails"]))
        elif kind == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.problems.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif kind == "Page.javascriptDialogOpening":
            self.questions.append(told["message"])
            await self._write("Page.handleJavaScriptDialog", accept=True)
        async with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._events.append((kind, told))
            self._changed.notify_all()

    async def send(self, method: str, **parameters: Any) -> Any:
        """Do something; returns its result."""
        number = await self._write(method, **parameters)
        with trio.fail_after(PATIENCE_S):
            async with self._changed:
                while number not in self._answers:
                    await self._changed.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    async def _write(self, method: str, **parameters: Any) -> int:
        self._count = number = self._count + 1
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        async with self._lock:
            await self._writing.send_all(json.dumps(message).encode() + b"\0")
        return number

    async def wait_event(self, kind: str, wanted: Callable[[Any], bool] = lambda told: True) -> Any:
        """The next event of this kind that is wanted; those before it are forgotten."""
        with trio.fail_after(PATIENCE_S):
            async with self._changed:
                while True:
                    for index, (each, told) in enumerate(self._events):
                        if each == kind and wanted(told):
                            del self._events[: index + 1]
                            return told
                    await self._changed.wait()

    async def start(self) -> None:
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for room in ("Page", "Runtime", "Log"):
            await self.send(f"{room}.enable")

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._events.clear()
        await self.send("Page.navigate", url=url)
        await self.wait_event("Page.loadEventFired")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, of its promise if it is one."""
        found = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait(self, expression: str) -> Any:
        """Until an expression is true on the page; returns its value."""
        return await self.evaluate(_WAIT % expression)

    async def text(self, selector: str) -> str:
        text = await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        assert isinstance(text, str)
        return text

    async def click(self, selector: str) -> None:
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, value: str) -> None:
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    async def press(self, key: str) -> None:
        """A key, as a person does."""
        codes = {"Tab": 9, "Enter": 13}
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], **more)

    async def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Size of the window, and the colours that the person prefers."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[feature])

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))

    async def downloads(self, folder: Path) -> None:
        await self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser with a profile of its own below `folder`."""
    assert CHROMIUM is not None
    to_browser, from_browser = os.pipe(), os.pipe()
    command = ["bash", "-c", f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}', "bash", CHROMIUM, *_ARGUMENTS]
    process = await trio.lowlevel.open_process(
        [*command, f"--user-data-dir={folder / 'profile'}"],
        pass_fds=(to_browser[0], from_browser[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    reading, writing = trio.lowlevel.FdStream(from_browser[0]), trio.lowlevel.FdStream(to_browser[1])
    try:
        async with reading, writing, trio.open_nursery() as nursery:
            browser = Browser(reading, writing)
            nursery.start_soon(browser.run)
            await browser.start()
            yield browser
            browser._session = ""
            await browser.send("Browser.close")
            with trio.move_on_after(PATIENCE_S):
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def forwarded(path: Path) -> AsyncIterator[str]:
    """A Unix socket at a port of this machine, as ssh does it; yields the address."""

    async def forward(stream: trio.SocketStream) -> None:
        async with stream, await trio.open_unix_socket(str(path)) as other, trio.open_nursery() as nursery:

            async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                try:
                    async for data in source:
                        await sink.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(pump, stream, other)
            nursery.start_soon(pump, other, stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, forward, listeners)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
