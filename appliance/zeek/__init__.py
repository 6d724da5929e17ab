"""Zeek's languages, without any input or output: values, messages, log records, and how logs are written as text.

Bytes go in and values come out, or the other way round. What a peer sends is never trusted: a decoder checks every
depth, count and length before it allocates, and answers anything else with `appliance.errors.RemoteProtocolError`.
"""
