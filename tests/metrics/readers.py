"""Prometheus' own parsers."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["read_open", "read_text"]


def read_text(text: str) -> list[Any]:
    """The families of a page in Prometheus' own format."""
    return list(text_string_to_metric_families(text))


def read_open(text: str) -> list[Any]:
    """Those of one in OpenMetrics."""
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
