"""What a real Zeek sent, through the whole program: every record, in order, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from .harness import BASE, DOOR, SINK, golden_messages, open_program, wait_for

pytestmark = pytest.mark.slow


def test_golden_messages_arrive_unchanged(tmp_path: Path) -> None:
    """7,379 messages of a PUB socket at full speed: none lost, each log in its file as it was sent."""
    messages = golden_messages()
    assert len(messages) == 7379
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with open_program(tmp_path, BASE + DOOR + 'exclude = ["probe"]\n' + SINK) as program:
        try:
            pub = context.socket(zmq.PUB)
            pub.setsockopt(zmq.SNDHWM, 10_000)
            pub.connect(program.endpoint())

            def is_heard() -> bool:
                pub.send_multipart([b"probe", b"{}"])
                return bool(program.account("zmq.bro")["received"])

            wait_for(is_heard)  # a PUB is not told of its subscribers
            for path, row in messages:
                pub.send_multipart([path.encode(), row])
            wait_for(lambda: program.account("sink.archive")["delivered"] >= len(messages))
        finally:
            context.destroy(linger=0)
        assert program.stop() == 0
        books = program.final("zmq.bro")
        assert books["delivered"] == len(messages)
        assert books["dropped"].keys() == {"excluded"}
        assert not program.parts()
        paths = {path for path, _ in messages}
        assert {folder.name for folder in (program.state / "logs").iterdir()} == paths
        for path in paths:
            [file] = program.files(path)
            assert file.read_bytes() == b"".join(row + b"\n" for p, row in messages if p == path)
