"""Builds what tells Prometheus how the appliance is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from appliance.config import Metrics

if TYPE_CHECKING:
    from appliance.metrics.listener import MetricsListener
    from appliance.metrics.source import Source
    from appliance.status import Status

__all__ = ["MetricParts"]


class MetricParts:
    """See the module.

    Args:
        status: what metrics are made from; None: there are none.
    """

    def __init__(self, status: Callable[[], Status] | None) -> None:
        self._status = status

    @cached_property
    def source(self) -> Source:
        """What a scrape is answered from, at whatever address."""
        from appliance.metrics.source import Source

        assert self._status is not None
        return Source(self._status)

    def make(self, table: Metrics) -> MetricsListener:
        """A service that is not running yet."""
        from appliance.metrics.listener import MetricsListener

        return MetricsListener(table, self.source.read)
