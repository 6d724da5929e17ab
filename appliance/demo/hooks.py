"""The hook of conf/demo.toml, as short as a site's own would be."""

from __future__ import annotations

from typing import Any

__all__ = ["on_executable"]


def on_executable(record: dict[str, Any], ctx: Any) -> None:
    """Say which host was sent a Windows program; Zeek's files.log names it."""
    hosts = record.get("id.orig_h") or ", ".join(record.get("rx_hosts", ())) or "unknown host"
    ctx.log.warning("found an executable", over=record.get("source"), to=hosts, file=record["fuid"])
