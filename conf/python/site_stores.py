"""The hooks of conf/stores.toml: who was scanned by whom, shared with Zeek, and what is to be done about it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from appliance.zeek.values import Count


def on_conn(record: dict[str, Any], ctx: Any) -> None:
    """Count attempts that were not answered, for each host that makes them."""
    host = ip_address(record["id.orig_h"])
    ctx.store("scanners").increment(host, Count(1), ttl=600)


def on_scanner(record: dict[str, Any], ctx: Any) -> None:
    """Somebody, here or in Zeek, has counted one attempt too many."""
    ctx.log.warning("a scanner", host=str(record["key"]), attempts=record["value"].value)
