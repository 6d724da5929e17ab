"""``GET /metrics``: what Prometheus reads, for those who have the right to read; ``[metrics]`` is for all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .exchange import Answer, Request
from .roles import Role
from .table import Endpoint

__all__ = ["metrics_endpoint"]


def metrics_endpoint(read: Callable[[str], Awaitable[tuple[str, bytes]]]) -> Endpoint:
    """The endpoint.

    Args:
        read: from the header ``Accept`` to the content type and the text.
    """

    async def handle(request: Request) -> Answer:
        content_type, text = await read(request.headers.get("accept", ""))
        return Answer(200, text, content_type)

    return Endpoint(
        method="GET",
        path="/metrics",
        role=Role.READ,
        summary="Every figure of the status, for Prometheus",
        handle=handle,
        produces="text/plain",
        also=("application/openmetrics-text",),
    )
