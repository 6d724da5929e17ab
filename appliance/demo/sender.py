"""What a site would send: Zeek records as its ZeroMQ log writer publishes them, and telemetry datagrams.

As in Zeek there is one PUB socket for each log path, it connects, and a message is two frames. The records are recorded
ones, with the fields that conf/zeek/broappliance-extension.zeek adds.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Iterator
from importlib.resources import files

import zmq

__all__ = ["Sender", "recorded"]

NODE = "demo-zeek"


def recorded() -> list[tuple[str, bytes]]:
    """The shipped sample: (log path, JSON object), in the order in which Zeek wrote them."""
    lines = files("appliance.demo").joinpath("records.txt").read_bytes().splitlines()
    return [(path.decode(), row) for path, _, row in (line.partition(b"\t") for line in lines)]


class Sender:
    """Publishes the sample, over and over if asked, and remembers what it sent.

    Args:
        endpoint: where the appliance listens for log writers.
        address: where it listens for datagrams.
    """

    def __init__(self, endpoint: str, address: tuple[str, int]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._writers: dict[str, zmq.Socket[bytes]] = {}
        self._sequence: dict[str, int] = {}
        self._udp = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.connect(address)
        self.rows: dict[str, list[bytes]] = {}
        """What was sent, by log path."""
        self.datagrams = 0
        for path in dict.fromkeys(path for path, _ in recorded()):
            writer = self._context.socket(zmq.PUB)
            writer.set_hwm(100_000)
            writer.connect(endpoint)
            self._writers[path] = writer

    @property
    def writers(self) -> int:
        return len(self._writers)

    @property
    def records(self) -> int:
        return sum(map(len, self.rows.values()))

    def messages(self, *, once: bool) -> Iterator[tuple[str, bytes]]:
        """The sample's messages, for ever unless `once`."""
        rounds = [recorded()] if once else itertools.repeat(recorded())
        for sample in rounds:
            yield from sample

    def send(self, path: str, row: bytes) -> None:
        """Publish one record."""
        number = self._sequence[path] = self._sequence.get(path, 0) + 1
        extra = f'{{"_path":"{path}","_node":"{NODE}","_write_ts":{time.time():.6f},"_seq":{number},'
        row = extra.encode() + row[1:]
        self._writers[path].send_multipart((path.encode(), row))
        self.rows.setdefault(path, []).append(row)

    def send_telemetry(self) -> None:
        """Send one datagram: a counter, a time, and some readings."""
        readings = [20.0 + (self.datagrams * step) % 7 for step in (1, 2, 3)]
        self._udp.send(struct.pack("!IQ3d", self.datagrams, time.time_ns(), *readings))
        self.datagrams += 1

    def close(self) -> None:
        self._udp.close()
        self._context.destroy(linger=1000)
