"""What a real Zeek cluster logged: records in, Zeek's own JSON lines out, text for text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from appliance.zeek.batches import decode_batch, encode_batch, parse_log_frames
from appliance.zeek.binary import decode, encode
from appliance.zeek.json_lines import JsonLineRenderer
from appliance.zeek.messages import Batch, LogCreate, LogWrite, decode_message, encode_message
from appliance.zeek.numbering import Numbering
from appliance.zeek.records import RecordCodec
from appliance.zeek.schema import LogSchema
from tests.zeek.golden import broker_data, cluster_events, interop_data, log_messages, oracle, oracle_paths

Lines = dict[str, list[bytes]]
# The worker's last connection, which it sent as it ended; the oracle's run ended before it arrived.
LAST_CONNECTION = b'{"ts":1646150638.631834,"uid":"CJY1NB20Pms0RyVZ1a",'


@pytest.fixture(scope="module")
def zeromq_lines() -> Lines:
    lines: Lines = defaultdict(list)
    for frames in log_messages():
        schema, records = decode_batch(parse_log_frames(frames).batch)
        lines[schema.path] += JsonLineRenderer(schema).lines(records).splitlines()
    return lines


def broker_writes() -> Iterator[tuple[LogSchema, LogWrite]]:
    """Each node announces its logs to the logger, and then writes to them."""
    known: dict[tuple[int, str, str, str], LogSchema] = {}
    for data in broker_data():
        if not data.listener.startswith("logger") or not data.to_listener:
            continue
        message = decode_message(data.payload)
        if isinstance(message, LogCreate):
            assert Numbering.FROM_5_0 in message.detect_numbering()
            key = (data.conn, message.stream, message.writer, message.info.path)
            known[key] = message.make_schema(Numbering.FROM_5_0)
        for write in message.messages if isinstance(message, Batch) else ():
            if isinstance(write, LogWrite):
                yield known[data.conn, write.stream, write.writer, write.path], write


@pytest.fixture(scope="module")
def broker_lines() -> Lines:
    lines: Lines = defaultdict(list)
    for schema, write in broker_writes():
        record = RecordCodec(schema.fields).decode(write.serial)
        lines[write.path].append(JsonLineRenderer(schema).line(record))
    return lines


def differences(got: list[bytes], expected: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Lines that are missing, and lines too many."""
    left, right = Counter(expected), Counter(got)
    return list((left - right).elements()), list((right - left).elements())


@pytest.mark.parametrize("path", oracle_paths())
def test_logs_are_those_of_zeek(zeromq_lines: Lines, broker_lines: Lines, path: str) -> None:
    """Every line is Zeek's own, on both ways; both recordings have one connection more."""
    for lines in (zeromq_lines, broker_lines):
        missing, surplus = differences(lines[path], oracle(path))
        assert missing == []
        assert [line[: len(LAST_CONNECTION)] for line in surplus] == ([LAST_CONNECTION] if path == "conn" else [])


def test_order_is_kept(zeromq_lines: Lines, broker_lines: Lines) -> None:
    """One sender's records of a log stand in the order in which Zeek wrote them."""
    for path in oracle_paths():
        for lines in (zeromq_lines, broker_lines):
            assert [line for line in lines[path] if not line.startswith(LAST_CONNECTION)] == oracle(path), path


def _blur(data: bytes) -> bytes:
    """Zeek writes a true bool from memory that it did not clear: any number but zero."""
    true = bytes.fromhex("00000001 00000000 01 00000000000000")
    return data.replace(true + b"\xff", true + b"\x01")


def test_batches_are_written_again_as_they_were() -> None:
    """Byte for byte, but for two bools that are 255."""
    sloppy = 0
    for frames in log_messages():
        schema, records = decode_batch(frames[3])
        again = encode_batch(schema, records)
        assert again == _blur(frames[3])
        sloppy += again != frames[3]
    assert sloppy <= 2


def test_messages_are_written_again_as_they_were() -> None:
    """Byte for byte, log writes included, and in canonical form as well, since Zeek sends that."""
    payloads = [data.payload for data in broker_data() + interop_data()] + cluster_events()
    assert len(payloads) > 3500
    for payload in payloads:
        assert encode_message(decode_message(payload)) == payload
        assert encode(decode(payload), is_canonical=True) == payload


def test_records_are_written_again_as_they_were() -> None:
    """The serial data of every log write, byte for byte."""
    for schema, write in broker_writes():
        codec = RecordCodec(schema.fields)
        assert codec.encode(codec.decode(write.serial)) == _blur(write.serial)
