"""The hooks of conf/demo.toml and conf/captures.toml, as short as a site's own would be."""

from __future__ import annotations

from typing import Any

__all__ = ["on_executable", "on_segment"]


def on_executable(record: dict[str, Any], ctx: Any) -> None:
    """Say which host was sent a Windows program; Zeek's files.log names it."""
    hosts = record.get("id.orig_h") or ", ".join(record.get("rx_hosts", ())) or "unknown host"
    ctx.log.warning("found an executable", over=record.get("source"), to=hosts, file=record["fuid"])


def on_segment(segment: dict[str, Any], ctx: Any) -> None:
    """Say which capture file is finished."""
    ctx.log.info("a capture file is finished", file=segment["path"], packets=segment["packets"], lost=segment["drops"])
