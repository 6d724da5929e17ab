"""The recorded cluster: our node in the place of either of its Zeeks, over real sockets."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import pytest

from appliance.model import EventBatch
from appliance.zeek.messages import Event, decode_message

from .cluster_bench import Bare, open_bus

GOLDEN = Path(__file__).parents[1] / "golden" / "zeromq" / "cluster.jsonl.gz"

Recorded = tuple[str, str, bytes]
"""Topic, sender's ID and payload."""


@functools.cache
def recorded() -> list[Recorded]:
    """All events that the proxy passed on."""
    found = []
    with gzip.open(GOLDEN, "rt") as lines:
        for entry in map(json.loads, lines):
            if entry["socket"] == "sub":
                topic, sender, kind, payload = (bytes.fromhex(frame) for frame in entry["frames"])
                assert kind == b"broker-bin-v1"
                found.append((topic.decode(), sender.decode(), payload))
    return found


@pytest.mark.parametrize(("own", "other"), [("manager", "worker-1"), ("worker-1", "manager")])
async def test_our_node_in_the_place_of_a_zeek(tmp_path: Path, own: str, other: str) -> None:
    """It is greeted, greets byte for byte as the Zeek did, is up, gets every event, and sees the other one go."""
    ids = {sender.split("_")[1]: sender for _, sender, _ in recorded()}
    nodeid = {name: f"zeek.cluster.nodeid.{node_id}." for name, node_id in ids.items()}
    own_topics = {nodeid[own], f"zeek.cluster.node.{own}.", f"zeek.cluster.{own.partition('-')[0]}"}
    async with open_bus(tmp_path, "manager", "worker-1") as bus:
        member = await bus.join(own, node_id=ids[own])
        zeek = Bare(bus, ids[other], nodeid[other])
        await zeek.wait_heard(*own_topics)
        said = [each for each in recorded() if each[1] == ids[other] and each[0] in own_topics]
        answers = [each for each in recorded() if each[0] == nodeid[other]]
        for topic, _, payload in said:
            zeek.send(topic, payload)
        await member.wait_up(other)
        await zeek.wait(lambda: len(zeek.received) >= len(answers))
        expected = [(nodeid[other].encode(), ids[own].encode(), payload) for _, _, payload in answers]
        assert [(topic, sender, payload) for topic, sender, _, payload in zeek.received] == expected
        events = [each for each in said if b"::hello" not in each[2]]
        await member.wait_events(len(events))
        found = [
            (item.topic, item.peer, payload)
            for item in member.items
            if isinstance(item, EventBatch)
            for payload in item.payloads()
        ]
        assert found == events
        assert len(events) >= 701
        names = {item.name for item in member.items if isinstance(item, EventBatch)}
        decoded = [decode_message(payload) for _, _, payload in events]
        assert names == {each.name for each in decoded if isinstance(each, Event)}
        zeek.close()
        await member.wait_up()
        assert member.oddities == {}
