"""Packages written for a test, and one of them running."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from appliance.config import Duration, Hook
from appliance.hooks.sites.describe import describe_package
from appliance.hooks.sites.host import Hosts, SitesCall, SitesHost
from appliance.hooks.sites.messages import Setup
from appliance.units import Size

S = 10**9
HEAD = "from const import LOGS_PATH\nfrom utils import print_file\ndef say(x): print_file(x, LOGS_PATH + '/out')\n"
"""For packages that tell what happens to them, see `Site.told`."""


def write_package(folder: Path, files: Mapping[str, str] | str) -> Path:
    """A package of these modules, or of this ``__init__``, below `folder`."""
    package = folder / "sites"
    package.mkdir(parents=True, exist_ok=True)
    for name, text in ({"__init__": files} if isinstance(files, str) else files).items():
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    return package


class Site:
    """A package that runs.

    Args:
        folder: where its ``logs_path`` is.
        package: its folder.
    """

    def __init__(
        self,
        folder: Path,
        package: Path,
        *,
        timeout_s: float = 30.0,
        exit_timeout_s: float = 30.0,
        memory: Size | None = None,
    ) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.config = Hook(
            name="s", on=("folder:*",), sites=str(package), logs_path=str(self.logs),
            timeout=Duration(int(timeout_s * S)), exit_timeout=Duration(int(exit_timeout_s * S)), memory_limit=memory,
        )  # fmt: skip
        self.described = describe_package(Setup(package=str(package), logs_path=str(self.logs)))
        self.hosts = Hosts()
        self.host = SitesHost(self.config, self.described, import_path=(), hosts=self.hosts)

    async def call(self, hook: str, name: str = "n") -> None:
        """As the hook's consumer does."""
        await SitesCall(self.config, hook, self.hosts)({"path": str(self.logs / name)})

    @property
    def told(self) -> list[str]:
        """What the package told with ``say``."""
        out = self.logs / "out"
        return out.read_text().splitlines() if out.exists() else []


@asynccontextmanager
async def running(folder: Path, files: Mapping[str, str] | str, **more: Any) -> AsyncIterator[Site]:
    """A site with that package until the body ends, and then its orderly end."""
    site = Site(folder, write_package(folder, files), **more)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(site.host.run)
            yield site
            site.host.stop()
