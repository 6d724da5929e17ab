"""Commands of stores as bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.wire.node_messages import MessageKind, parse_node_message
from appliance.wire.stores.codec import canonical, decode_store_message, encode_store_message, skip_values
from appliance.wire.stores.commands import (
    NOBODY,
    AckClone,
    Add,
    AttachWriter,
    Clear,
    Command,
    CumulativeAck,
    Entity,
    Erase,
    Expire,
    Keepalive,
    Nack,
    Put,
    PutUnique,
    PutUniqueResult,
    RetransmitFailed,
    StoreMessage,
    Subtract,
)
from appliance.zeek.binary import decode, encode
from appliance.zeek.values import Set
from tests.wire.golden import conversations
from tests.wire.vectors import A, B
from tests.zeek.strategies import values

C, M, WHO = Entity(A, 11), Entity(B, 22), Entity(A, 33)
HEAD = A.hex() + "000000000000000b"

VECTORS: dict[str, tuple[StoreMessage, str]] = {
    "attach": (StoreMessage(0, C, NOBODY, Nack((0,))), f"0000000000000000{HEAD}{'00' * 24}0b010000000000000000"),
    "ack-clone": (
        StoreMessage(1, M, C, AckClone(1, 5, ((b"\x05\x01k", b"\x02" + bytes(7) + b"\1"),))),
        f"0000000000000001{B.hex()}0000000000000016{HEAD}0c000000000000000100050105016b020000000000000001",
    ),
    "put": (
        StoreMessage(2, C, M, Put(b"\x05\x03foo", encode(42), None, C)),
        f"0000000000000002{HEAD}{B.hex()}0000000000000016000503666f6f03000000000000002a00{HEAD}",
    ),
    "put-unique": (
        StoreMessage(3, C, M, PutUnique(b"\x05\x01u", b"\1\1", 5_000_000_000, WHO, 1, C)),
        (
            f"0000000000000003{HEAD}{B.hex()}0000000000000016010501750101"
            f"01000000012a05f200{A.hex()}00000000000000210000000000000001{HEAD}"
        ),
    ),
    "put-unique-result": (
        StoreMessage(4, M, NOBODY, PutUniqueResult(True, WHO, 1, M)),
        (
            f"0000000000000004{B.hex()}0000000000000016{'00' * 24}0201{A.hex()}0000000000000021"
            f"0000000000000001{B.hex()}0000000000000016"
        ),
    ),
    "increment": (
        StoreMessage(5, C, M, Add(b"\x05\x01n", b"\2" + bytes(7) + b"\1", 2, None, C)),
        f"0000000000000005{HEAD}{B.hex()}00000000000000160505016e0200000000000000010200{HEAD}",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    """What Broker writes, both ways."""
    message, text = VECTORS[name]
    assert encode_store_message(message).hex() == text
    assert decode_store_message(bytes.fromhex(text)) == message


def test_all_of_a_recorded_conversation() -> None:
    """Each command between two Zeeks is read and written again as it was."""
    count = 0
    for frame in conversations("stores")[0]:
        if len(frame.payload) > 40 and frame.payload[32] == MessageKind.COMMAND:
            payload = parse_node_message(frame.payload).payload
            assert encode_store_message(decode_store_message(payload)) == payload
            count += 1
    assert count == 180


entities = st.builds(Entity, st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1))
payloads = values.map(encode)
keys = values.map(lambda value: encode(value, is_canonical=True))
spans = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
numbers = st.integers(0, 2**64 - 1)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Put, keys, payloads, spans, entities),
    st.builds(PutUnique, keys, payloads, spans, entities, numbers, entities),
    st.builds(PutUniqueResult, st.booleans(), entities, numbers, entities),
    st.builds(Erase, keys, entities),
    st.builds(Expire, keys, entities),
    st.builds(Add, keys, payloads, st.integers(0, 255), spans, entities),
    st.builds(Subtract, keys, payloads, spans, entities),
    st.builds(Clear, entities),
    st.builds(AttachWriter, numbers, st.integers(0, 0xFFFF)),
    st.builds(Keepalive, numbers),
    st.builds(CumulativeAck, numbers),
    st.builds(Nack, st.lists(numbers, max_size=5).map(tuple)),
    st.builds(AckClone, numbers, st.integers(0, 0xFFFF), st.lists(st.tuples(keys, payloads), max_size=4).map(tuple)),
    st.builds(RetransmitFailed, numbers),
)
messages = st.builds(StoreMessage, numbers, entities, entities, commands)


@given(messages)
def test_round_trip(message: StoreMessage) -> None:
    """Every command comes back as it was; and nothing of it may be missing or too much."""
    payload = encode_store_message(message)
    assert decode_store_message(payload) == message
    for wrong in (payload[:-1], payload + b"\0"):
        with pytest.raises(RemoteProtocolError):
            decode_store_message(wrong)


@given(messages, st.data())
def test_damaged_commands_are_refused_or_read(message: StoreMessage, data: st.DataObject) -> None:
    """With the one error that there is, whatever was changed."""
    payload = bytearray(encode_store_message(message))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        decode_store_message(bytes(payload))


@pytest.mark.parametrize(
    "text", ["0effffffff0f00", "0e" * 200 + "00", "0f", "", "05ff", "0d01", "0c8080808010"], ids=lambda text: text[:12]
)
def test_values_that_are_none(text: str) -> None:
    """Too many, too deep, of no type, too short."""
    with pytest.raises(RemoteProtocolError):
        skip_values(bytes.fromhex(text), 0)


@given(values, st.binary(max_size=5))
def test_a_value_ends_where_its_decoder_says(value: object, rest: bytes) -> None:
    """Measuring and reading agree."""
    data = encode(value)  # type: ignore[arg-type]
    assert skip_values(data + rest, 0) == len(data)


@given(values)
def test_keys_have_one_form(value: object) -> None:
    """The same whatever the order of sets within, and read back as the same."""
    data = encode(value)  # type: ignore[arg-type]
    assert canonical(canonical(data)) == canonical(data) == encode(decode(data), is_canonical=True)


def test_keys_that_mean_the_same() -> None:
    """Sets in another order, a length of more bytes than it needs, a true that is not 1."""
    assert canonical(encode(Set([1, 2]))) == canonical(encode(Set([2, 1])))
    assert canonical(b"\x05\x81\x00x") == b"\x05\x01x"
    assert canonical(b"\1\7") == b"\1\1"
