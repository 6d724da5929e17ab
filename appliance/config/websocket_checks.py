"""What types cannot tell about [[websocket]]: addresses, topics, time zones, and which keys contradict each other."""

from __future__ import annotations

from appliance.config.lines import Key
from appliance.config.report import Report, quote
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config
from appliance.config.urls import parse_websocket_url
from appliance.config.websocket_tables import Websocket
from appliance.units import Size

__all__ = ["check_websockets"]

_POSITIVE = ("retry_interval", "retry_max", "connect_timeout", "ack_timeout", "queue_bytes", "max_wait")
_TLS_KEYS = ("ca", "server_name", "certificate", "key", "passphrase_file")
_SMALLEST_MESSAGE = Size(64 << 10)
_LARGEST_MESSAGE = Size(1 << 30)


def check_websockets(config: Config, report: Report) -> None:
    """Report everything that is wrong in each [[websocket]]."""
    for key, table in select(config, "websocket", EACH):
        _check_values(key, table, report)
        _check_url(key, table, report)
        _check_topics(key, table, report)


def _check_values(key: Key, table: Websocket, report: Report) -> None:
    for name in _POSITIVE:
        if getattr(table, name) == 0:
            report.add((*key, name), "must be more than 0")
    size = table.max_message
    if size is not HOLE and not _SMALLEST_MESSAGE <= size <= _LARGEST_MESSAGE:
        report.add((*key, "max_message"), f"expected {_SMALLEST_MESSAGE} to {_LARGEST_MESSAGE}, got {size}")
    if HOLE not in (table.retry_interval, table.retry_max) and table.retry_max < table.retry_interval:
        report.add((*key, "retry_max"), f"is shorter than retry_interval, {table.retry_interval}")
    if table.time_zone is not HOLE:
        import zoneinfo

        try:
            zoneinfo.ZoneInfo(table.time_zone)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            report.add((*key, "time_zone"), f"there is no time zone {quote(table.time_zone)}", 'write "Europe/Berlin"')


def _check_url(key: Key, table: Websocket, report: Report) -> None:
    if table.url is HOLE:
        return
    try:
        url = parse_websocket_url(table.url)
    except ValueError as exc:
        hint = "a user and password go into authorization_file" if "@" in table.url else ""
        report.add((*key, "url"), str(exc), hint)
        return
    if url.is_tls:
        _check_tls(key, table, report)
        return
    for name in _TLS_KEYS:
        if getattr(table, name) not in ("", HOLE):
            report.add((*key, name), "has no effect without TLS", f'write "wss://{url.authority}"')


def _check_tls(key: Key, table: Websocket, report: Report) -> None:
    for name, other in (("key", "certificate"), ("passphrase_file", "key"), ("certificate", "key")):
        if getattr(table, name) not in ("", HOLE) and getattr(table, other) == "":
            report.add((*key, name), f"needs {other}")
    if table.verify is False:
        for name in ("ca", "server_name"):
            if getattr(table, name) not in ("", HOLE):
                report.add((*key, name), "has no effect with verify = false")


def _check_topics(key: Key, table: Websocket, report: Report) -> None:
    for name in ("topics", "publish"):
        if getattr(table, name) is None:
            continue
        seen: dict[str, Key] = {}
        for place, topic in select(table, name, EACH):
            where = (*key, *place)
            if not topic and name == "publish":
                report.add(where, "a topic must not be empty", "leave publish out to allow everything")
            elif seen.setdefault(topic, where) is not where:
                report.add(where, f"{quote(topic)} is there twice")
