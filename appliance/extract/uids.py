"""Which flow a Zeek `uid` means: the appliance's map on disk, read while it may be written. Blocks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import msgspec

from appliance.errors import ApplianceError, ConfigError
from appliance.native import flow_key

from .query import Query, query_of_flow
from .sources import FOREVER_NS

__all__ = ["MARGIN_NS", "UIDS", "apply_uid", "find_uid"]

UIDS = "uids.db"
"""The map, in the state directory."""
MARGIN_NS = 5 * 10**9
"""Around what Zeek saw of a connection: what comes after it took the connection for ended, and the other clock."""
_PATIENCE_S = 5.0
_IS_THERE = "select 1 from sqlite_master where name = 'flow'"
_ASK = "select proto, src, sport, dst, dport, from_ns, to_ns from flow where uid = ?"


def find_uid(state_dir: Path, uid: str) -> Query | None:
    """The query for a connection by its uid; None if the map does not know it (any more).

    Raises:
        ApplianceError: there is no map, or it cannot be read.
    """
    path = state_dir / UIDS
    if not path.exists():
        raise ApplianceError(f"there is no map of uids at {path}", hint="does a door take in conn records?")
    try:
        # Not immutable: it is written meanwhile, and its newest part is beside it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)) as database:
            is_empty = database.execute(_IS_THERE).fetchone() is None
            rows = [] if is_empty else database.execute(_ASK, (uid,)).fetchall()
    except sqlite3.Error as exc:
        raise ApplianceError(f"{path}: cannot be read: {exc}") from exc
    if not rows:
        return None
    # A long connection may be in it several times, once for each generation of the map.
    from_ns, to_ns = min(row[5] for row in rows), max(row[6] for row in rows)
    proto, source, source_port, destination, destination_port = rows[0][:5]
    span = {"from_ns": max(from_ns - MARGIN_NS, 0), "to_ns": to_ns + MARGIN_NS}
    ends = ip_address(source), ip_address(destination)
    if not proto:
        return Query(hosts=ends, ports=(source_port, destination_port), is_conn=True, **span)
    query = query_of_flow(flow_key(*ends, proto, (source_port, destination_port)))
    return msgspec.structs.replace(query, **span)


def apply_uid(query: Query, found: Query | None, uid: str) -> Query:
    """Put the connection that a uid means into a query, whose own time, where it has one, is kept.

    Args:
        query: with neither ends nor a Community ID.
        found: of `find_uid`.
        uid: for people.

    Raises:
        ApplianceError: the uid is not known.
        ConfigError: the query has ends of its own.
    """
    if query.hosts or query.ports or query.proto is not None or query.community_id is not None:
        raise ConfigError("names the connection; leave out host, port, proto, conn and community-id", key="uid")
    if found is None:
        raise ApplianceError(f"the uid {uid} is not known", hint="it never passed the appliance, or too long ago")
    from_ns = query.from_ns or found.from_ns
    to_ns = found.to_ns if query.to_ns == FOREVER_NS else query.to_ns
    return msgspec.structs.replace(found, from_ns=from_ns, to_ns=max(from_ns, to_ns), bpf=query.bpf)
