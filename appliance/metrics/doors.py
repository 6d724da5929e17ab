"""The metrics of doors but those of clusters: what they receive, from whom, and what they cannot read."""

from __future__ import annotations

from .spec import Each, Inside, Left, Length, Table, Text, counter, gauge

__all__ = ["TABLES"]

_IN_SERVICE = Left("it is the label service")
_RATES = Left("the rate of a counter is Prometheus's to make")
_ERROR = Left("a text that changes; it is in the log and in the status")
_FILE = Left("a text that changes with every file")
_LABEL = Left("it is a label")

TABLES: dict[str, Table] = {
    "zeromq.PeerFigures": Table(
        "zmq_writer",
        {
            "connected": gauge("connections", "Peers that finished the ZeroMQ handshake and are still there."),
            "accepted": counter("accepted_connections", "Connections accepted."),
            "disconnected": counter("disconnected_connections", "Peers that went."),
            "cut": counter("cut_connections", "Peers put out for a frame too large, or for speaking no ZeroMQ."),
            "failed": counter("failed_connections", "Connections that were no ZeroMQ peer."),
        },
    ),
    "zeromq.SubscriberFigures": Table(
        "zmq",
        {
            "endpoints": Length("endpoints", "Addresses that are bound."),
            "writers": Inside("zmq_writer", "zeromq.PeerFigures"),
            "missing": counter("missing_records", "Records that a writer numbered and that never arrived."),
            "unseen": counter("unseen_records", "Records numbered before the first one that arrived."),
            "restarts": counter("writer_restarts", "Times that a writer's numbers began again."),
            "untracked": counter("untracked_records", "Numbered records in which no gap would be seen."),
            "paths": counter("records", "Accepted records by log path; * for those of further paths.", label="path"),
        },
    ),
    "tail.TailFigures": Table(
        "tail",
        {
            "files": gauge("files", "Files that are followed."),
            "open_files": gauge("open_files", "Files that are open."),
            "unread_bytes": gauge("unread_bytes", "Bytes of known files that are not read yet."),
            "copies": gauge("copied_files", "Copies and archives of followed files, left alone until those end."),
            "cuts": counter("truncated_files", "Truncations seen."),
            "torn_ends": counter("torn_ends", "Files that ended within a line."),
            "unreadable": Length("unreadable_files", "Files and folders that cannot be read."),
            "is_saving": gauge("saves_positions", "Whether positions can be saved."),
            "paths": counter("records", "Accepted records by log path; * for those of further paths.", label="path"),
        },
    ),
    "watch.WatchFigures": Table(
        "watch",
        {
            "unfinished": gauge("unfinished_items", "Things that may still be written."),
            "ready": gauge("ready_items", "Finished things that wait for a consumer."),
            "handed_on": gauge("handed_on_items", "Things that consumers work on."),
            "remembered": gauge("remembered_items", "Things that need not be handed on again."),
            "failed": Length("failed_items", "Things that a consumer has given up, the first few."),
            "is_told": gauge("kernel_events", "Whether the kernel tells of changes; else the folder is looked at."),
            "troubles": Length("unreadable_items", "Things that cannot be read, the first few."),
        },
    ),
    "capture.CaptureFigures": Table(
        "capture",
        {
            "conn_type": Text("conn_type"),
            "address": Text("address"),
            "packets": counter("received_packets", "Packets received from the socket."),
            "bytes": counter("received_bytes", "Their true lengths."),
            "packets_per_s": _RATES,
            "bytes_per_s": _RATES,
            "truncated": counter("truncated_packets", "Packets longer than what is received of one."),
            "kernel_drops": counter("kernel_dropped_packets", "Packets that nobody read in time."),
            "untimed": counter("untimed_packets", "Packets without a time from the kernel."),
            "receive_buffer": gauge("receive_buffer_bytes", "Receive buffer that the kernel granted."),
            "last_packet_ns": gauge("last_packet_timestamp_seconds", "Time of the last packet.", scale=1e9, empty=0),
            "connections": gauge("connections", "Connections that are open."),
            "connected": counter("accepted_connections", "Connections so far."),
            "refused": counter("refused_connections", "Connections closed for their framing or their number."),
            "segments": counter("finished_files", "Finished files of all handlers."),
            "handlers": Each(
                "capture_handler",
                "capture.HandlerFigures",
                {"capture": "capture", "handler": "name"},
                "capture_handlers",
                "Handlers on the socket.",
            ),
        },
        "A socket that is captured.",
    ),
    "capture.HandlerFigures": Table(
        "capture_handler",
        {
            "name": _LABEL,
            "capture": _LABEL,
            "path": Text("path"),
            "is_runtime": gauge("runtime", "Whether it was added while running."),
            "open_file": _FILE,
            "packets": counter("stored_packets", "Packets stored."),
            "bytes": counter("stored_bytes", "Their true lengths."),
            "packets_per_s": _RATES,
            "bytes_per_s": _RATES,
            "kernel_drops": counter("kernel_dropped_packets", "Packets that nobody read in time."),
            "handler_drops": counter("dropped_packets", "Packets that a slow disk or transform has cost."),
            "truncated": counter("truncated_packets", "Packets stored shorter than they were."),
            "transformed_away": counter("transformed_away_packets", "Packets left out by a transform."),
            "transform_errors": counter("transform_errors", "Packets that a transform could not take."),
            "write_errors": counter("write_errors", "Writes that failed."),
            "queued": gauge("queued_packets", "Packets that are neither in a file nor dropped."),
            "last_packet_ns": gauge("last_packet_timestamp_seconds", "Of the last one stored.", scale=1e9, empty=0),
            "age_s": gauge("age_seconds", "Since it was added."),
            "segments": counter("finished_files", "Finished files."),
            "writer": Inside("capture_handler_writer", "capture.SegmentFigures"),
            "tidied": Inside("capture_handler", "runtime.TidyFigures"),
        },
        "A handler of a capture.",
    ),
    "capture.SegmentFigures": Table(
        "capture_handler_writer",
        {
            "open_file": _FILE,
            "finished": counter("finished_files", "Files finished by the writer."),
            "written_bytes": counter("written_bytes", "Bytes written."),
            "write_errors": counter("errors", "Blocks that could not be written."),
            "recovered": counter("recovered_files", "Files of an earlier run that were finished at the start."),
        },
    ),
}
