"""Packets for alarms: from a log record or an event to the PCAP of its connection, and from a `uid` to its flow."""
