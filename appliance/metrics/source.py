"""The page that Prometheus reads, made from the status at the moment of the scrape: nothing is counted twice."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from appliance.status import Status

from .disk import Disks
from .exposition import Labels, Page, choose, make_labels
from .names import BUILD_INFO, TABLES
from .process import add_process
from .spec import metric_of
from .walk import Walker

__all__ = ["Source"]

_RELOAD = metric_of(TABLES["runtime.ReloadOutcome"].fields["ok"], TABLES["runtime.ReloadOutcome"].prefix)


class Source:
    """See the module.

    Args:
        status: gives the status.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status
        self._walker = Walker(TABLES)
        self._disks = Disks()

    async def read(self, accept: str = "") -> tuple[str, bytes]:
        """What a scrape is answered with.

        Args:
            accept: the request's header.

        Returns:
            The content type, and the text.
        """
        content_type = choose(accept)
        status = self._status()
        page = self.page(status)
        await self._disks.add(page, [status.state_dir, *_folders(status)])
        return content_type, page.render(content_type)

    def page(self, status: Status) -> Page:
        """Everything that a status tells, and what the kernel tells of the process."""
        page = Page({"node": status.node})
        add, base = self._walker.add, page.labels
        what = {"version": status.version, "python": platform.python_version()}
        page.add(BUILD_INFO, make_labels(what, base), 1)
        add(page, status, base)
        if status.last_reload is not None:
            add(page, status.last_reload, base)
        else:
            assert _RELOAD is not None
            page.add(_RELOAD, base, 1)
        if status.journal is not None:
            add(page, status.journal, base)
        for line in status.services:
            labels: Labels = make_labels({"service": line.service.name}, base)
            for figures in (line.service, line.figures, line.queue):
                if figures is not None:
                    add(page, figures, labels)
        for each in status.ledger:
            add(page, each.account, make_labels({"account": each.account.name, "unit": each.account.unit}, base))
        add_process(page, base)
        return page


def _folders(status: Status) -> list[Any]:
    """Where recorders write."""
    return [line.figures.directory for line in status.services if hasattr(line.figures, "directory")]
