"""Broker's native wire protocol, without any input or output: frames, handshake, node messages, filters, peers.

Bytes go in and events come out; commands go in and bytes come out. Nothing here waits, reads a clock or opens a socket.
What a peer sends is never trusted: every length is checked before anything is allocated, and the answer to a violation
is a defined state or `appliance.errors.RemoteProtocolError`.

Source: Broker 2.8 as Zeek 8.0.10 brings it along.
"""
