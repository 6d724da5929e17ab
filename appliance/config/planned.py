"""Tables, keys and values of the file format that this version does not have.

They are refused by name: a user who copies them from the documentation of another version is told so, instead of being
told that he mistyped them, and nothing is ever accepted and then ignored.
"""

from __future__ import annotations

__all__ = ["KEYS", "TABLES", "VALUES", "VOID"]

TABLES: dict[str, str] = {}
"""Top-level tables, as headers."""

KEYS: dict[str, frozenset[str]] = {}
"""Keys of the tables that exist."""

VALUES = {
    "sink.queue": frozenset({"durable"}),
}
"""Values of the keys that exist."""


VOID = {"capture.conn_type": ("address",), "sink.kind": ("path", "topic", "endpoint")}
"""Keys whose meaning depends on another one: when that is wrong, they are not looked at."""
