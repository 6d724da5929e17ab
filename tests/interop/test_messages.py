"""What Zeek's messages say, there and back: every type, metadata, batches, mistakes, the cluster's greeting.

The numbers are those of the protocol's test plan.
"""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import NamedTuple

import pytest

from appliance.wire.names import endpoint_text
from appliance.wire.node_messages import NodeMessage
from appliance.zeek.binary import encode
from appliance.zeek.messages import Batch, Event, IdentifierUpdate, decode_message, encode_message, make_value
from appliance.zeek.values import (
    Address,
    Count,
    EnumValue,
    Port,
    Set,
    Subnet,
    Table,
    Timestamp,
    Value,
    Vector,
    is_same,
)
from tests.zeek.golden import interop_data

from .conftest import OpenZ
from .peer import Peer, dial, make_id, note
from .product import broker_port, open_product, open_subscriber, run_command, until
from .sides import open_zeek_side
from .zeek_process import open_zeek, require_zeek

TOPIC = "interop/x"
BACK = "interop/back"


def recorded_event() -> Event:
    """Every type of 6.2, as one real Zeek sent it to another."""
    messages = (decode_message(data.payload) for data in interop_data() if data.topic == "interop/all")
    event = next(message for message in messages if isinstance(message, Event))
    assert event.name == "Interop::all_types"
    return event


ALL_TYPES = tuple(recorded_event().args)
SPECIAL: tuple[Value, ...] = (
    Vector([math.inf, -math.inf, math.nan, -0.0, 0.0, 2.3e-308, 1.7976931348623157e308]),
    bytes(range(256)),
    Set([]),
    Table([]),
    Vector([]),
    Subnet(Address.parse("0.0.0.0"), 0),
    Subnet(Address.parse("::"), 0),
    -(2**63),
    Count(2**64 - 1),
    Port(0, 0),
    Table([(Vector([Address.parse("10.0.0.1"), Port(80, 1)]), b"one")]),
    Table([(Vector([Count(1), None]), Count(2))]),
)


class Call(NamedTuple):
    name: str
    args: tuple[Value, ...]


CALLS = [Call("Interop::all_types", ALL_TYPES), Call("Interop::special", SPECIAL)]


def event_of(message: NodeMessage) -> Event:
    event = decode_message(message.payload)
    assert isinstance(event, Event)
    return event


async def ask(p: Peer, call: Call) -> Event:
    """Publish an event, and take the one that comes back."""
    await p.publish(TOPIC, encode_message(Event.make(call.name, *call.args)))
    [message] = await p.hear_on(BACK)
    return event_of(message)


def check_args(found: Event, call: Call) -> None:
    assert found.name == f"{call.name}_back"
    assert len(found.args) == len(call.args)
    for number, (got, sent) in enumerate(zip(found.args, call.args, strict=True)):
        assert is_same(got, sent), f"argument {number}: {got!r} for {sent!r}"


# ── E1: every type ──

ECHO_HOOK = """\
def back(event, ctx):
    ctx.publish_event("interop/back", event["name"] + "_back", *event["args"])

async def back_again(event, ctx):
    ctx.publish_event("interop/again", event["name"], *event["args"])
"""


def echo_conf(function: str, connect: str = "") -> str:
    door = f'connect = ["{connect}"]' if connect else 'listen = ["127.0.0.1:0"]'
    return f"""\
[broker]
{door}
tls = "off"
subscribe = ["interop/x"]
[[hook]]
name = "echo"
on = ["event:Interop::*"]
run = "echo:{function}"
"""


@pytest.mark.slow
async def test_e1_a_hook_sends_everything_back(tmp_path: Path) -> None:
    """Identical values, through decoder, hook and publisher of the program."""
    (tmp_path / "echo.py").write_text(ECHO_HOOK)
    async with (
        open_product(tmp_path, echo_conf("back")) as program,
        dial(broker_port(program), tls=False, prefixes=[BACK]) as p,
    ):
        for call in CALLS:
            check_args(await ask(p, call), call)


@pytest.mark.slow
async def test_e1_zeek_sends_everything_back(tmp_path: Path) -> None:
    """Identical values, through Zeek's own decoder, script variables and encoder."""
    async with (
        open_zeek_side(tmp_path, tls=False, subscribe=[TOPIC], script="types.zeek") as z,
        dial(z.port, tls=False, prefixes=[BACK]) as p,
    ):
        await z.wait_added(p.me)
        for call in CALLS:
            check_args(await ask(p, call), call)


@pytest.mark.slow
async def test_e1_from_zeek_through_a_hook_to_zeek(tmp_path: Path) -> None:
    """What Zeek's script sends comes back to its script as it was, and from there as it always is."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "echo.py").write_text(ECHO_HOOK)
    async with (
        open_zeek_side(tmp_path / "z", tls=False, subscribe=["interop/again"], script="types.zeek") as z,
        open_product(tmp_path / "a", echo_conf("back_again", f"127.0.0.1:{z.port}")),
    ):
        await z.journal.wait("peer_added")
        async with dial(z.port, tls=False, prefixes=[BACK]) as p:
            await z.wait_added(p.me)
            await z.zeek.command("publish_all_types", TOPIC)
            told = await z.zeek.wait("all_types")
            assert told == ["T -42 18446744073709551615 3.25 1700000000.25 443/tcp 192.168.9.8"]
            [message] = await p.hear_on(BACK)
            check_args(event_of(message), CALLS[0])


# ── publish and subscribe from the shell ──


COMMAND_CONF = '[broker]\nlisten = ["127.0.0.1:0"]\ntls = "off"\n'


@pytest.mark.slow
async def test_the_commands_publish_and_subscribe(tmp_path: Path) -> None:
    """Against a peer: what one types arrives typed, and what arrives is printed."""
    async with (
        open_product(tmp_path, COMMAND_CONF) as program,
        dial(broker_port(program), tls=False, prefixes=[TOPIC]) as p,
    ):
        await p.hear_until_pong()  # P is a peer for sure
        told = await run_command(program, "publish", "event", TOPIC, "Interop::note", "string:hello")
        assert told == "queued for 1 peer\n"
        message = await p.hear()
        assert message is not None
        assert event_of(message) == Event.make("Interop::note", b"hello")
        async with open_subscriber(program, "--json", "interop/") as journal:
            while not p.filter.matches(TOPIC):
                await p.follow_filter()
            await p.publish(TOPIC, note("from P"))
            [line] = await journal.wait("line")
            assert json.loads(line)["plain"] == ["from P"]


@pytest.mark.slow
async def test_the_commands_with_zeek(tmp_path: Path) -> None:
    """The same with a script at the other end."""
    async with open_zeek_side(tmp_path / "z", tls=True, subscribe=["interop/"]) as z:
        conf = f'[broker]\nconnect = ["127.0.0.1:{z.port}"]\n'
        async with open_product(tmp_path / "a", conf) as program, open_subscriber(program, "--json", TOPIC) as journal:
            await until(lambda: program.figures("broker")["peers"])
            await run_command(program, "publish", "event", "interop/y", "Interop::note", "string:hello")
            assert await z.notes(1) == ["hello"]
            number = 0
            while not journal.texts("line"):  # until Zeek knows what is subscribed to
                number += 1
                await z.publish(TOPIC, str(number))
            assert json.loads(journal.texts("line")[0])["name"] == "Interop::note"


# ── E2, E3: metadata ──

TIMESTAMP = ((1, Timestamp(1_700_000_000 * 10**9)),)
SHAPES = {
    "two elements": (Event("Interop::note", Vector([b"it"])), True),
    "empty metadata": (Event("Interop::note", Vector([b"it"]), ()), True),
    "a timestamp": (Event("Interop::note", Vector([b"it"]), TIMESTAMP), True),
    "a key of a site": (Event("Interop::note", Vector([b"it"]), ((200, b"x"), (201, Count(1)))), True),
    "a timestamp that is none": (Event("Interop::note", Vector([b"it"]), ((1, b"now"),)), False),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_e2_metadata(open_plain_z: OpenZ, shape: str) -> None:
    """All that Zeeks have ever sent is taken; a timestamp of another type is not."""
    event, is_taken = SHAPES[shape]
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, encode_message(event), note("behind it"))
        expected = ["it", "behind it"] if is_taken else ["behind it"]
        assert await z.notes(len(expected)) == expected


@pytest.mark.parametrize("metadata", [Vector([b"no pair"]), Vector([Vector([Count(1)])]), b"no vector"])
async def test_e2_metadata_that_is_none(open_plain_z: OpenZ, metadata: Value) -> None:
    """The event is refused, and nothing else."""
    content = Vector([b"Interop::note", Vector([b"it"]), metadata])
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, encode(Vector([Count(1), Count(1), content])), note("behind it"))
        assert await z.notes(1) == ["behind it"]


@pytest.mark.slow
@pytest.mark.parametrize("is_stamped", [False, True])
async def test_e3_what_zeek_sends_along(tmp_path: Path, is_stamped: bool) -> None:
    """Broker::publish writes metadata, empty or with a timestamp; Cluster::publish only if there is one."""
    redefs = {"EventMetadata::add_network_timestamp": "T" if is_stamped else "F"}
    async with (
        open_zeek_side(tmp_path, tls=False, script="shapes.zeek", redefs=redefs) as z,
        dial(z.port, tls=False, prefixes=[TOPIC]) as p,
    ):
        await z.wait_added(p.me)
        await z.publish(TOPIC, "by Broker")
        await z.zeek.command("cluster_publish", TOPIC, "by Cluster")
        events = [event_of(m) for m in await p.hear_until_pong() if m.topic == TOPIC]
        assert [event.args[0] for event in events] == [b"by Broker", b"by Cluster"]
        if is_stamped:
            assert all(event.timestamp is not None for event in events)
        else:
            assert [event.metadata for event in events] == [(), None]


# ── E4 to E6: mistakes, batches, variables ──

INNER = "Interop::inner"
MISTAKES = {
    "too few arguments": (Event.make("Interop::note"), "with invalid # of args"),
    "too many arguments": (Event.make("Interop::note", b"a", b"b"), "with invalid # of args"),
    "another type": (Event.make("Interop::note", Count(1)), "failed to convert remote event 'Interop::note' arg #1"),
    "a short record": (Event.make(INNER, Vector([Count(1)])), f"failed to convert remote event '{INNER}' arg #1"),
    "an int for a count": (Event.make(INNER, Vector([1, None])), f"failed to convert remote event '{INNER}' arg #1"),
    "an unknown event": (Event.make("Interop::unheard_of", b"a"), ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_e4_mistakes_in_arguments(tmp_path: Path, mistake: str) -> None:
    """Zeek says what is wrong, or nothing, and drops that event only."""
    event, warning = MISTAKES[mistake]
    async with (
        open_zeek_side(tmp_path, tls=False, subscribe=["interop/"], script="types.zeek") as z,
        dial(z.port, tls=False) as p,
    ):
        await p.publish(TOPIC, encode_message(event), note("behind it"))
        assert await z.notes(1) == ["behind it"]
        if warning:
            await z.journal.wait("report", warning)
        assert not z.journal.texts("inner")


@pytest.mark.slow
async def test_e4_a_record_with_one_element_more(tmp_path: Path) -> None:
    """Zeek ignores it."""
    async with (
        open_zeek_side(tmp_path, tls=False, subscribe=["interop/"], script="types.zeek") as z,
        dial(z.port, tls=False) as p,
    ):
        await p.publish(TOPIC, encode_message(Event.make(INNER, Vector([Count(7), None, b"more"]))))
        assert await z.journal.wait("inner") == ["7"]


async def test_e5_batches(open_plain_z: OpenZ) -> None:
    """All events of a batch arrive in their order, of batches in it too; a batch with a broken one is none."""
    first, second = Event.make("Interop::note", b"first"), Event.make("Interop::note", b"second")
    broken = encode(Vector([Count(1), Count(5), Vector([make_value(first), Vector([Count(1), Count(1), Vector([])])])]))
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        await p.publish(TOPIC, broken, encode_message(Batch((first, Batch((second,)), first))), note("behind them"))
        assert await z.notes(4) == ["first", "second", "first", "behind them"]


async def test_e6_an_identifier_update(open_plain_z: OpenZ) -> None:
    """Zeek's variable gets the value; ours has none, counts the message and goes on."""
    async with open_plain_z(subscribe=["interop/"]) as z, dial(z.port, tls=False) as p:
        update = IdentifierUpdate("Interop::setting", b"as P likes it")
        await p.publish(TOPIC, encode_message(update), note("behind it"))
        assert await z.notes(1) == ["behind it"]
        if z.habits.has_variables:
            await z.zeek.command("say_setting")  # type: ignore[attr-defined]
            assert z.journal.texts("setting") == ["as P likes it"]
        else:
            assert z.house.incoming.dropped == {"identifier_update": 1}  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_e6_an_identifier_update_of_zeek(tmp_path: Path) -> None:
    """It carries the name and the value."""
    async with open_zeek_side(tmp_path, tls=False) as z, dial(z.port, tls=False, prefixes=[TOPIC]) as p:
        await z.wait_added(p.me)
        await z.zeek.command("publish_setting", TOPIC)
        [message] = [m for m in await p.hear_until_pong() if m.topic == TOPIC]
        assert decode_message(message.payload) == IdentifierUpdate("Interop::setting", b"as it was")


# ── E7: a cluster ──


def free_ports(count: int) -> list[int]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def write_layout(folder: Path, ports: dict[str, int]) -> None:
    """A cluster-layout.zeek of nodes whose names begin with their roles."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = ""
    for name, port in ports.items():
        role = name.partition("-")[0].upper()
        boss = "" if name == "manager" else ', $manager="manager"'
        nodes += f'\t["{name}"] = [$node_type=Cluster::{role}, $ip=127.0.0.1, $p={port}/tcp{boss}],\n'
    is_logger = "F" if any(name.startswith("logger") for name in ports) else "T"
    (folder / "cluster-layout.zeek").write_text(
        f"redef Cluster::manager_is_logger = {is_logger};\nredef Cluster::nodes = {{\n{nodes}}};\n"
    )


@pytest.mark.slow
async def test_e7_the_greeting_of_a_cluster(tmp_path: Path) -> None:
    """The manager greets P and takes P's greeting for that of its worker; who is not in its layout is an error."""
    require_zeek()
    [port, unused] = free_ports(2)
    write_layout(tmp_path, {"manager": port, "worker-1": unused})
    me = make_id()
    node_topic = f"zeek/cluster/nodeid/{endpoint_text(me)}/"
    env = {"CLUSTER_NODE": "manager"}
    redefs = {"Broker::disable_ssl": "T"}
    async with (
        open_zeek(tmp_path, "cluster-node.zeek", redefs=redefs, env=env) as zeek,
        dial(port, tls=False, me=me, prefixes=[node_topic]) as p,
    ):
        event = Event("")
        while event.name != "Cluster::hello":
            [message] = await p.hear_on(node_topic)
            event = event_of(message)
        manager = zeek.texts("node")[0]
        assert tuple(event.args) == (b"manager", manager.encode())
        await p.publish(
            f"zeek/cluster/nodeid/{manager}/",
            encode_message(Event.make("Cluster::hello", b"nobody", p.name.encode())),
            encode_message(Event.make("Cluster::hello", b"worker-1", p.name.encode())),
        )
        await zeek.wait("report", "unexpected node: nobody")
        assert await zeek.wait("node_up") == [f"worker-1 {p.name}"]
        await p.stream.aclose()
        assert await zeek.wait("node_down") == [f"worker-1 {p.name}"]


@pytest.mark.slow
async def test_enums_of_zeek_are_known_by_name(tmp_path: Path) -> None:
    """A name that the receiver does not have makes it drop the event with a warning."""
    args = tuple(EnumValue("Interop::BLUE") if isinstance(value, EnumValue) else value for value in ALL_TYPES)
    async with (
        open_zeek_side(tmp_path, tls=False, subscribe=["interop/"], script="types.zeek") as z,
        dial(z.port, tls=False) as p,
    ):
        await p.publish(TOPIC, encode_message(Event.make("Interop::all_types", *args)))
        await z.journal.wait("report", "failed to convert remote event 'Interop::all_types' arg #13")
