"""The metrics of the appliance itself: services, queues, the ledger, the journal, the endpoints."""

from __future__ import annotations

from .spec import Keyed, Left, Length, States, Table, Text, counter, gauge

__all__ = ["TABLES"]

_LABEL = Left("it is a label")
_ERROR = Left("a text that changes; it is in the log and in the status")
_OWN = Left("it is added part by part, see the module of the source")

TABLES: dict[str, Table] = {
    "status.Status": Table(
        "",
        {
            "name": Left("it is in the status"),
            "node": Left("it is the label node"),
            "version": Left("it is in broappliance_build_info"),
            "pid": Left("a number that is no measure"),
            "state": States(
                "state", "How the appliance is: 1 for its state.", ("starting", "running", "reloading", "draining")
            ),
            "generation": gauge("config_generation", "Grows by one with every reload that was applied."),
            "applied_ns": gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was applied.",
                scale=1e9,
            ),
            "uptime_s": gauge("uptime_seconds", "Since the start."),
            "state_dir": Left("it is a label of broappliance_filesystem_*"),
            "files": Length("config_files", "Configuration files in force."),
            "last_reload": _OWN,
            "services": _OWN,
            "ledger": _OWN,
            "journal": _OWN,
            "lost": counter("lost_items", "What was dropped although it was valid and wanted, over all accounts."),
            "attention": Length("concerns", "Things that somebody should look at, as the status names them."),
        },
    ),
    "runtime.ReloadOutcome": Table(
        "config",
        {
            "number": counter("reloads", "Reloads, applied and refused."),
            "generation": Left("it is in broappliance_config_generation"),
            "took_s": gauge("last_reload_duration_seconds", "How long the last reload took."),
            "mistakes": Left("the same as errors"),
            "changes": Left("texts; a reload's answer has them"),
            "ok": gauge("last_reload_successful", "Whether the last reload was applied; 1 before the first."),
            "at_ns": gauge("last_reload_timestamp_seconds", "When the last reload ended.", scale=1e9),
            "errors": Length("last_reload_errors", "Mistakes for which it was refused."),
        },
    ),
    "runtime.ServiceFigures": Table(
        "service",
        {
            "name": _LABEL,
            "state": States(
                "state",
                "How a service is: 1 for its state.",
                ("starting", "running", "backing-off", "stopped", "failed"),
            ),
            "since_s": gauge("state_age_seconds", "For how long it has been in its state."),
            "restarts": counter("restarts", "Times that it failed and was started again."),
            "last_error": _ERROR,
        },
    ),
    "runtime.QueueFigures": Table(
        "queue",
        {
            "policy": Text("policy"),
            "records": gauge("records", "Records waiting, or in the consumer's hands."),
            "leased": gauge("leased_records", "Records in the consumer's hands."),
            "size": gauge("bytes", "Bytes waiting, or in the consumer's hands."),
            "max_records": gauge("limit_records", "Records that it may hold."),
            "max_bytes": gauge("limit_bytes", "Bytes that it may hold."),
            "stalled": gauge("stalled", "Whether doors no longer wait for the consumer."),
            "durable": gauge("durable", "Whether what it holds survives the process."),
            "oldest_s": gauge("oldest_record_age_seconds", "How long ago its oldest record arrived."),
            "retrying": gauge("retrying_records", "Records that failed and wait for another attempt."),
            "retried": counter("retries", "Failed attempts that another one followed."),
            "dead": counter("dead_letters", "Records that became dead letters."),
        },
        "The queue of a consumer.",
    ),
    "runtime.AccountFigures": Table(
        "ledger",
        {
            "name": _LABEL,
            "unit": _LABEL,
            "received": counter("received", "What came to a door or consumer."),
            "recovered": counter("recovered", "The part of it that came out of the journal."),
            "delivered": counter("delivered", "What it has dealt with."),
            "queued": gauge("queued", "What is neither delivered nor dropped."),
            "dropped": Keyed("counter", "dropped_total", "What was dropped, by reason.", "reason"),
            "lost": counter("lost", "The part of it that nobody wanted to happen."),
            "refused": counter("refused", "The part of it that was no valid input."),
            "filtered": counter("filtered", "The part of it that the configuration asked for."),
            "imbalance": gauge("imbalance", "received - delivered - dropped - queued: 0, or the ledger is wrong."),
        },
    ),
    "runtime.JournalFigures": Table(
        "journal",
        {
            "is_failing": gauge("failing", "Whether its disk takes nothing."),
            "dead": gauge("dead_letters", "Dead letters that are kept, of all hooks."),
            "dead_size": gauge("dead_letter_bytes", "Their bytes."),
        },
    ),
    "runtime.TidyFigures": Table(
        "",
        {
            "compressed_files": counter("compressed_files", "Files compressed."),
            "failed_compressions": counter("failed_compressions", "Compressions that failed and are tried again."),
            "deleted_files": counter("deleted_files", "Files deleted because of keep."),
            "deleted_bytes": counter("deleted_bytes", "Their bytes."),
        },
    ),
    "api.ApiFigures": Table(
        "api",
        {
            "sockets": Length("sockets", "Addresses that are bound."),
            "connections": gauge("connections", "Connections that are open."),
            "requests": counter("requests", "Requests answered."),
            "subscribers": gauge("subscribers", "Connections that follow events."),
            "cut": counter("cut_connections", "Connections that brought nothing and had to make room."),
        },
    ),
    "metrics.ListenerFigures": Table(
        "metrics",
        {
            "listening": Length("sockets", "Addresses that are bound."),
            "connections": gauge("connections", "Connections that are open."),
            "requests": counter("requests", "Requests answered."),
            "cut": counter("cut_connections", "Connections cut because they were too slow, or too many."),
        },
    ),
}
