"""The hook of conf/events.toml: answers an event of Zeek with another one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def on_login_failures(event: dict[str, Any], ctx: Any) -> None:
    """Ask Zeek to block a host, for the longer the more often it failed."""
    host, failures = event["args"]  # Site::login_failures(host: addr, failures: count)
    lasting = timedelta(minutes=ctx.config["minutes"] * failures.value)
    topic = ctx.config.get("topic", "zeek/event/site/answer")
    peers = ctx.publish_event(topic, "Site::block", host, lasting)  # addr, interval
    ctx.log.warning("too many failed logins", host=str(host), failures=failures.value, told=peers)
