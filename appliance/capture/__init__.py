"""Capture: packets from sockets into rotating PCAP files."""
