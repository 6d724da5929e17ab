"""Why something was dropped: every reason that the ledger knows, by its kind. docs/troubleshooting.md explains each."""

from __future__ import annotations

__all__ = ["DELIBERATE", "LOST", "REFUSED"]

DELIBERATE = frozenset(
    {
        "cutoff",
        "duplicate",
        "excluded",
        "identifier_update",
        "no_subscriber",
        "no_uid",
        "other_filter",
        "other_recorder",
        "own_message",
        "purged",
        "store_command",
        "transform",
        "unsubscribed",
        "unwanted",
        "where",
    }
)
"""Reasons that the configuration asked for."""
REFUSED = frozenset(
    {
        "bad_batch",
        "bad_filter",
        "bad_format",
        "bad_frames",
        "bad_json",
        "bad_line",
        "bad_message",
        "bad_path",
        "bad_record",
        "bad_request",
        "bad_sender",
        "early",
        "foreign_receiver",
        "late_handshake",
        "local_topic",
        "no_columns",
        "no_schema",
        "own_routing_update",
        "second_ack",
        "too_large",
        "torn_frame",
        "torn_line",
        "torn_message",
        "unknown_message",
        "unknown_type",
    }
)
"""Reasons that lie in what a peer sent."""
LOST = frozenset(
    {
        "bad_topic",
        "crash",
        "damaged",
        "deleted",
        "disconnected",
        "disk",
        "events_only",
        "hook_error",
        "interrupted",
        "kernel",
        "memory",
        "no_broker",
        "no_json",
        "no_memory",
        "no_peer",
        "no_selection",
        "not_allowed",
        "overflow",
        "queue_full",
        "rate_limit",
        "rejected",
        "reload",
        "retry",
        "shutdown",
        "stalled",
        "timeout",
        "too_many_pending",
        "transform_error",
        "transform_queue",
        "undecodable",
        "vanished",
    }
)
"""Losses: valid, wanted, and not delivered. A reason that is in none of the three counts as one, too."""
