"""The metrics of clusters: Broker's peers and data stores, and Zeek's ZeroMQ backend."""

from __future__ import annotations

from .spec import Each, Inside, Keyed, Left, Length, States, Table, Text, counter, gauge

__all__ = ["TABLES"]

_IN_SERVICE = Left("it is the label service")
_TEXT = Left("an address, which is in the status")
_ERROR = Left("a text that changes; it is in the log and in the status")
_LABEL = Left("it is a label")

TABLES: dict[str, Table] = {
    "zeromq.ReceiverFigures": Table(
        "cluster",
        {
            "endpoints": Length("log_endpoints", "Addresses at which Zeek's nodes push their logs."),
            "senders": Inside("cluster_sender", "zeromq.PeerFigures"),
            "paths": counter("log_records", "Accepted records by log path; * for further paths.", label="path"),
            "nodes": counter("sender_log_records", "Accepted records by the node that sent them.", label="sender"),
            "quarantined": counter("quarantined_batches", "Batches kept for inspection."),
        },
    ),
    "zeromq.LinkState": Table(
        "cluster_read",
        {
            "endpoint": _TEXT,
            "is_connected": gauge("connected", "Whether the connection to the proxy's socket is there."),
            "connects": counter("connections", "Connections made to it."),
            "attempts": gauge("attempts", "Attempts to connect since it was last there."),
            "last_error": _ERROR,
            "down_s": gauge("down_seconds", "For how long it has not been there; 0 if it is."),
            "is_overdue": gauge("overdue", "Whether that is longer than a connection may take."),
        },
    ),
    "zeromq.NodeFigures": Table(
        "cluster",
        {
            "node_id": Left("another one after each start; it is in the status"),
            "is_ready": gauge("ready", "Whether the others' subscriptions are known to us, and ours to them."),
            "read": Inside("cluster_read", "zeromq.LinkState"),
            "write": Inside("cluster_write", "zeromq.LinkState"),
            "subscriptions": Length("subscriptions", "Topics that we have subscribed to."),
            "heard": gauge("heard_topics", "Topics that anybody has subscribed to."),
            "cluster": Inside("cluster", "cluster.ClusterFigures"),
            "waiting_in": gauge("incoming_queued_messages", "Messages that wait to be read."),
            "waiting_out": gauge("outgoing_queued_messages", "Messages that wait for the network."),
            "quarantined": counter("quarantined_messages", "Messages kept for inspection."),
        },
    ),
    "zeromq.ProxyFigures": Table(
        "proxy",
        {
            "read": _TEXT,
            "write": _TEXT,
            "refused": counter("refused_connections", "Connections whose key was another one."),
        },
    ),
    "cluster.NodeFigures": Table(
        "cluster_node",
        {
            "name": _LABEL,
            "type": _LABEL,
            "is_up": gauge("up", "Whether the node is up."),
            "id": Left("another one after each start; it is in the status"),
            "since_s": gauge("age_seconds", "For how long it has been up; 0 if it is not."),
        },
    ),
    "cluster.PoolFigures": Table(
        "cluster_pool",
        {
            "topic": _LABEL,
            "members": Length("members", "Nodes that are in the pool."),
            "alive": gauge("alive_members", "Those of them that are alive."),
        },
    ),
    "cluster.ClusterFigures": Table(
        "cluster",
        {
            "node": Left("it is the label node"),
            "role": Text("role"),
            "announced": gauge("announced", "Whether we take part in presence."),
            "up": gauge("nodes_up", "Nodes that are up, without us."),
            "nodes": Each("cluster_node", "cluster.NodeFigures", {"name": "name", "type": "type"}),
            "worker_count": gauge("workers_up", "Workers that are up."),
            "pools": Each("cluster_pool", "cluster.PoolFigures", {"topic": "topic"}),
            "refused": Keyed("counter", "presence_errors_total", "Hellos that were of no use, by reason.", "reason"),
        },
        "Our place in a cluster.",
    ),
    "broker.PeerFigures": Table(
        "broker_peer",
        {
            "peer": _LABEL,
            "node": Left("it is in the status; a label that changes would make two series of one peer"),
            "address": _LABEL,
            "direction": _LABEL,
            "since_s": gauge("age_seconds", "For how long it has been a peer."),
            "filter_entries": gauge("filter_entries", "Topic prefixes that it has subscribed to."),
            "messages_in": counter("received_messages", "Messages received from it."),
            "bytes_in": counter("received_bytes", "Bytes received from it."),
            "messages_out": counter("sent_messages", "Messages sent to it."),
            "bytes_out": counter("sent_bytes", "Bytes sent to it."),
            "queued": gauge("queued_messages", "Messages that wait for it, or are being written."),
            "queued_bytes": gauge("queued_bytes", "Bytes that wait for it."),
            "dropped": counter("dropped_messages", "Messages that overflow has cost it."),
        },
    ),
    "runtime.DialerFigures": Table(
        "broker_dialer",
        {
            "address": _LABEL,
            "state": States("state", "Where the connection is: 1 for its state.", ("connecting", "peered", "waiting")),
            "attempts": counter("attempts", "Attempts to connect."),
            "last_error": _ERROR,
            "down_s": gauge("down_seconds", "For how long nobody has been reached there; 0 if somebody is."),
            "is_overdue": gauge("overdue", "Whether that is longer than an attempt and the wait before it may take."),
        },
    ),
    "broker.EndpointFigures": Table(
        "broker",
        {
            "endpoint": Text("endpoint"),
            "listening": Length("listeners", "Addresses that are bound."),
            "advertised": Length("advertised_topics", "Topic prefixes that peers are told of."),
            "peers": Each(
                "broker_peer",
                "broker.PeerFigures",
                {"peer": "peer", "address": "address", "direction": "direction"},
                "broker_peers",
                "Peers that are connected.",
            ),
            "cluster": Inside("cluster", "cluster.ClusterFigures"),
            "dialers": Each("broker_dialer", "runtime.DialerFigures", {"address": "address"}),
            "half_open": gauge("half_open_connections", "Incoming connections in their handshake."),
            "refused": counter("refused_connections", "Incoming connections that did not become peers."),
            "quarantined": counter("quarantined_messages", "Messages kept for inspection."),
        },
        "Our endpoint on the Broker network.",
    ),
    "broker.StoreFigures": Table(
        "store",
        {
            "name": _IN_SERVICE,
            "role": Text("role"),
            "state": States(
                "state",
                "How the store is: 1 for its state.",
                ("open", "failing", "closed", "attached", "lost", "idle"),
            ),
            "entries": gauge("entries", "Entries that it holds."),
            "clones": gauge("clones", "Clones that follow it."),
            "writers": gauge("writers", "Writers that it knows."),
            "unsettled": gauge("unsettled_commands", "Commands that wait for the disk, or for the master."),
            "resyncs": counter("resyncs", "Times that the master was lost and another one looked for."),
            "conflicts": gauge("conflicting_masters", "Peers that are masters of it as well."),
            "untold": counter("untold_changes", "Changes that a slow listener was not told of."),
            "refused": Keyed("counter", "refused_commands_total", "Commands without effect, by reason.", "reason"),
        },
        "A data store.",
    ),
    "websocket.PeerFigures": Table(
        "websocket_connection",
        {
            "peer": Left("another text after each reconnection; it is in the status"),
            "address": _LABEL,
            "direction": Left("always out"),
            "version": Text("version"),
            "since_s": gauge("age_seconds", "For how long the topics have been acknowledged."),
            "filter_entries": gauge("filter_entries", "Topic prefixes that we have subscribed to."),
            "messages_in": counter("received_messages", "Messages received."),
            "bytes_in": counter("received_bytes", "Bytes received."),
            "messages_out": counter("sent_messages", "Messages sent."),
            "bytes_out": counter("sent_bytes", "Bytes sent."),
            "queued": gauge("queued_messages", "Messages that wait to be sent, or are being sent."),
            "queued_bytes": gauge("queued_bytes", "Bytes that wait to be sent."),
            "dropped": counter("dropped_messages", "Messages that overflow has cost."),
        },
        "A connection whose topics are acknowledged.",
    ),
    "websocket.ClientFigures": Table(
        "websocket",
        {
            "peers": Each(
                "websocket_connection",
                "websocket.PeerFigures",
                {"address": "address"},
                "websocket_connections",
                "Connections whose topics are acknowledged.",
                number="connection",
            ),
            "dialers": Each("websocket_dialer", "runtime.DialerFigures", {"address": "address"}, number="connection"),
            "refused": counter("refused_messages", "Errors that the server answered with to what was published."),
            "mended": counter("mended_events", "Events that were no valid JSON and were read all the same."),
        },
    ),
}
