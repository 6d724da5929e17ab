"""Traffic for an installed appliance, from a process that is in its network.

python -m tests.packaging.traffic logs tcp://127.0.0.1:12345 COUNT    rows, and that nothing is left in the pipe
python -m tests.packaging.traffic load tcp://127.0.0.1:12345          rows until it is ended
python -m tests.packaging.traffic frames veth1 COUNT                  Ethernet frames with UDP datagrams
"""

from __future__ import annotations

import signal
import socket
import struct
import sys

from tests.system.harness import Writer

FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack(
    "!HBBHHHBBH4s4sHHHH", 0x0800, 0x45, 0, 32, 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2", 4000, 4001, 12, 0
) + b"test"  # fmt: skip


def send_rows(endpoint: str, count: int) -> None:
    """Numbered rows of conn.log; with a count of 0, until SIGTERM."""
    writer = Writer(endpoint, limit=count)
    writer.start()
    if not count:
        print("sending", flush=True)
        signal.sigwait({signal.SIGTERM})
    writer.finish()
    writer.close()


def send_frames(interface: str, count: int) -> None:
    """As many frames, one after the other."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for _ in range(count):
            sender.send(FRAME)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    match sys.argv[1:]:
        case ["logs", endpoint, count]:
            send_rows(endpoint, int(count))
        case ["load", endpoint]:
            send_rows(endpoint, 0)
        case ["frames", interface, count]:
            send_frames(interface, int(count))
        case _:
            sys.exit(__doc__)
