"""The metrics of recorders and consumers: what they do with what arrives, and what it costs."""

from __future__ import annotations

from .spec import Each, Inside, Left, States, Table, Text, Timing, counter, gauge

__all__ = ["TABLES"]

_RATES = Left("the rate of a counter is Prometheus's to make")
_ERROR = Left("a text that changes; it is in the log and in the status")
_FILE = Left("a text that changes with every file")
_LABEL = Left("it is a label")

TABLES: dict[str, Table] = {
    "recorder.RecorderFigures": Table(
        "recorder",
        {
            "interface": Text("interface"),
            "directory": Text("directory"),
            "linktype": Text("linktype"),
            "state": States(
                "state",
                "How recording goes: 1 for its state.",
                ("starting", "recording", "down", "waiting", "gone", "stopped"),
            ),
            "packets": counter("received_packets", "Packets that came, those that were lost included."),
            "bytes": counter("received_bytes", "True lengths of those that reached us."),
            "packets_per_s": _RATES,
            "bytes_per_s": _RATES,
            "stored": counter("stored_packets", "Packets stored in files or in memory."),
            "kernel_drops": counter("kernel_dropped_packets", "Packets that did not fit into the ring."),
            "disk_drops": counter("disk_dropped_packets", "Packets lost to a disk that is full, slow or away."),
            "cutoff_packets": counter("cutoff_packets", "Packets left out past the cutoff of their connection."),
            "cutoff_bytes": counter("cutoff_bytes", "Bytes left out past the cutoff of their connection."),
            "truncated": counter("truncated_packets", "Packets stored shorter than they were."),
            "hardware_times": counter("hardware_timed_packets", "Packets with a time of the interface's clock."),
            "segments": counter("finished_segments", "Segments finished."),
            "recovered": counter("recovered_segments", "Segments left by an earlier run that were finished."),
            "write_errors": counter("write_errors", "Writes that failed."),
            "index_errors": counter("unindexed_segments", "Segments that have no index."),
            "directory_made": counter("made_directories", "Times that the directory had to be made again."),
            "disk_segments": gauge("disk_segments", "Segments on the disk."),
            "disk_bytes": gauge("disk_bytes", "Bytes on the disk, with indexes and what grows."),
            "disk_limit": gauge("disk_limit_bytes", "What they may be now.", empty=0),
            "deleted_segments": counter("deleted_segments", "Segments deleted to make room."),
            "deleted_bytes": counter("deleted_bytes", "Bytes deleted to make room."),
            "memory_bytes": gauge("memory_bytes", "Bytes of the ring in memory."),
            "oldest_ns": gauge("oldest_packet_timestamp_seconds", "Of the packets that there are.", scale=1e9, empty=0),
            "newest_ns": gauge("newest_packet_timestamp_seconds", "Of the packets that there are.", scale=1e9, empty=0),
            "span_s": gauge("span_seconds", "From the oldest packet to the newest."),
            "gaps": gauge("gaps", "Spans in which packets are missing."),
            "flows": counter("flows", "Connections seen."),
            "members": Each(
                "recorder_ring", "recorder.MemberFigures", {"ring": "number"}, "recorder_rings", "Rings that are open."
            ),
        },
        "An interface that is recorded.",
    ),
    "recorder.MemberFigures": Table(
        "recorder_ring",
        {
            "number": _LABEL,
            "open_file": _FILE,
            "packets": counter("received_packets", "Packets that came to the ring."),
            "kernel_drops": counter("kernel_dropped_packets", "Packets that did not fit into it."),
            "freezes": counter("freezes", "Times that it was full."),
        },
    ),
    "evidence.EvidenceFigures": Table(
        "evidence",
        {
            "recorder": Text("recorder"),
            "pending": gauge("pending_files", "Files that are not finished."),
            "retrying": gauge("retrying_files", "Pending files whose latest attempts failed."),
            "joined": counter("joined_alarms", "Alarms that joined a file that was pending."),
            "left_out": counter("left_out_alarms", "Alarms that were too many."),
            "finished": counter("finished_files", "Files finished."),
            "incomplete": counter("incomplete_files", "Files finished that lack something."),
            "empty": counter("empty_alarms", "Alarms without any packet."),
            "packets": counter("packets", "Packets in finished files."),
            "size": counter("bytes", "Bytes of finished files."),
            "failures": counter("failed_attempts", "Attempts that failed and are made again."),
            "last_error": _ERROR,
            "deleted_files": counter("deleted_files", "Files deleted because of keep."),
        },
        "Packets for alarms.",
    ),
    "evidence.UidFigures": Table(
        "uids",
        {
            "flows": gauge("flows", "Flows in the map."),
            "max_flows": gauge("limit_flows", "Flows that it may hold."),
            "failures": counter("failed_batches", "Batches that the disk did not take."),
        },
    ),
    "hooks.HookFigures": Table(
        "hook",
        {
            "calls": counter("calls", "Calls that ended."),
            "done": counter("completed_calls", "Calls that returned."),
            "failed": counter("failed_calls", "Calls that did not, for whatever reason."),
            "errors": counter("call_errors", "Calls that raised or crashed."),
            "timeouts": counter("call_timeouts", "Calls that took too long."),
            "running": gauge("running_calls", "Calls that are being made."),
            "hung": gauge("hung_threads", "Threads that exceeded their time and still run."),
            "workers": gauge("workers", "Worker processes that run."),
            "workers_started": counter("started_workers", "Worker processes started."),
            "busy_s": counter("busy_seconds", "Time spent in calls, all lanes together."),
            "last_error": _ERROR,
            "durations": Timing("call_duration_seconds", "How long calls took."),
        },
    ),
    "hooks.SitesFigures": Table(
        "sites",
        {
            "processes": gauge("processes", "Processes that run."),
            "restarts": counter("process_restarts", "Processes that were started again."),
            "exits_done": counter("completed_exits", "EXIT callables that ended well."),
            "exits_failed": counter("failed_exits", "EXIT callables that did not."),
            "last_error": _ERROR,
        },
    ),
    "sinks.SinkFigures": Table(
        "sink",
        {
            "open_files": gauge("open_files", "Files that are open."),
            "finished_files": counter("finished_files", "Files finished."),
            "written_bytes": counter("written_bytes", "Bytes written, before compression."),
            "recovered_files": counter("recovered_files", "Files of an earlier run that were finished at the start."),
            "failed_files": counter("failed_files", "Files that could not be given their names."),
            "compressed_files": counter("compressed_files", "Files compressed."),
            "failed_compressions": counter("failed_compressions", "Compressions that failed and are tried again."),
            "deleted_files": counter("deleted_files", "Files deleted because of keep."),
            "deleted_bytes": counter("deleted_bytes", "Their bytes."),
        },
    ),
    "sinks.BrokerSinkFigures": Table(
        "sink",
        {
            "topic": Text("topic"),
            "pool": Text("pool"),
            "messages": counter("published_messages", "Messages queued for one peer at least."),
            "logs": gauge("announced_logs", "Logs announced to loggers."),
        },
        "A sink to Broker.",
    ),
    "zeromq.WriterFigures": Table(
        "sink",
        {
            "link": Inside("sink_subscriber", "zeromq.LinkState"),
            "subscriptions": gauge("subscriptions", "Prefixes of log paths that the subscriber asks for."),
            "records": counter("zeromq_records", "Records handed to ZeroMQ."),
        },
        "A sink to a ZeroMQ subscriber.",
    ),
}
