"""A recorded conversation of a Zeek master with a Zeek clone: each of ours in the place of one of them."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.wire.node_messages import MessageKind, parse_node_message
from appliance.wire.stores.clone import Clone
from appliance.wire.stores.codec import decode_store_message
from appliance.wire.stores.commands import (
    AckClone,
    Add,
    Clear,
    CumulativeAck,
    Entity,
    Erase,
    Expire,
    Keepalive,
    Put,
    PutUnique,
    PutUniqueResult,
    StoreMessage,
)
from appliance.wire.stores.content import Content
from appliance.wire.stores.master import Master
from appliance.wire.stores.outputs import Outgoing
from appliance.zeek.values import Count
from tests.wire.golden import conversations

from .network import plain

PRINTED = Path(__file__).parents[2] / "golden" / "broker" / "stores.clone.txt"
UPKEEP = (Keepalive, CumulativeAck)


def recorded() -> list[tuple[bool, StoreMessage]]:
    """Whether the clone sent it, and what."""
    commands = [frame for frame in conversations("stores")[0] if frame.payload[32:33] == bytes((MessageKind.COMMAND,))]
    return [
        (frame.is_from_dialer, decode_store_message(parse_node_message(frame.payload).payload)) for frame in commands
    ]


def read_printed() -> list[tuple[set[bytes], int]]:
    """What the Zeek with the clone printed from time to time: all keys, and the value of one."""
    text = PRINTED.read_text()
    keys = re.findall(r"^keys, .*?\{\{(.*?)\}\}", text, flags=re.MULTILINE)
    numbers = re.findall(r"^n, .*?data\{(\d+)\}", text, flags=re.MULTILINE)
    assert len(keys) == len(numbers) > 8
    return [
        ({key.encode() for key in names.split(", ")}, int(number)) for names, number in zip(keys, numbers, strict=True)
    ]


def said(messages: tuple[Outgoing, ...]) -> list[StoreMessage]:
    return [outgoing.message for outgoing in messages]


def test_our_clone_of_a_zeek_master() -> None:
    """It has what Zeek's clone had whenever that was printed, and says what that said."""
    conversation = recorded()
    me = conversation[0][1].sender
    clone = Clone(lambda: me)
    printed = read_printed()
    ours = said(clone.take())
    for is_from_clone, message in conversation:
        if is_from_clone:
            if isinstance(message.command, Put | Add):
                clone.write(message.command)
                ours += said(clone.take())
            continue
        clone.receive(message)
        ours += said(clone.take())
        content = plain(clone.content)
        if printed and set(content) == printed[0][0] and content[b"n"] == Count(printed[0][1]):
            printed.pop(0)
    assert not printed
    assert not clone.refused
    theirs = [message for is_from_clone, message in conversation if is_from_clone]
    first_acks = [ours.index(m) for m in ours if isinstance(m.command, CumulativeAck)][:1]
    assert ours[first_acks[0]] == next(m for m in theirs if isinstance(m.command, CumulativeAck))
    assert [m for m in ours if not isinstance(m.command, UPKEEP)] == [
        m for m in theirs if not isinstance(m.command, UPKEEP)
    ]


def test_our_master_of_a_zeek_clone() -> None:
    """Told what Zeek's master was told, it says the same in the same order."""
    conversation = recorded()
    theirs = [message for is_from_clone, message in conversation if not is_from_clone]
    handshake = theirs[0].command
    assert isinstance(handshake, AckClone)
    me = theirs[0].sender
    master = Master(me, Content((key, value, None) for key, value in handshake.entries))
    writes = {Entity(*message.sender) for is_from_clone, message in conversation if is_from_clone}
    ours: list[StoreMessage] = []
    asked = 0
    for is_from_clone, message in conversation:
        command = message.command
        if is_from_clone:
            master.receive(message, 0)
        elif isinstance(command, PutUniqueResult):
            # Asked by a script beside the master. What it put comes before the answer.
            asked += 1
            value = master.content.get(b"\x05\x04uniq") or b"\x02" + bytes(7) + b"\1"
            unique = PutUnique(b"\x05\x04uniq", value, None, command.who, command.request, me)
            assert master.apply(unique, 0) is command.is_inserted
        elif isinstance(command, Expire):
            master.content.put(command.key, master.content.get(command.key) or b"", 1)
            master.tick(1)
        elif isinstance(command, Put | Erase | Clear) and command.publisher not in writes:
            if isinstance(command, Put) and command.key == b"\x05\x04uniq":
                continue
            master.apply(command, 0)
        step = master.take()
        ours += said(step.messages) if step else []
    assert asked == 24
    assert not master.refused
    kept = [message for message in ours if not isinstance(message.command, UPKEEP)]
    assert kept == [message for message in theirs if not isinstance(message.command, UPKEEP)]
