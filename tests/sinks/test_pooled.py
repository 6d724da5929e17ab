"""A sink whose records go to one member of a pool each."""

from __future__ import annotations

import msgspec
import pytest

from appliance.model import LogBatch
from appliance.zeek.messages import LogCreate

from .test_broker_sink import Bench, events, logs, text, writes


def topics(found: list[tuple[str, object]]) -> list[str]:
    return [topic for topic, _ in found]


async def test_events_by_their_key() -> None:
    """The hash of an argument chooses; without that argument nothing is sent."""
    bench = Bench("", pool="proxy", key="0")
    assert topics(await bench.pass_through(events(1, 2, 1))) == ["hrw/proxy/1", "hrw/proxy/2", "hrw/proxy/1"]
    bench = Bench("", pool="proxy", key="1")
    assert await bench.pass_through(events(1, 2), text(b"x")) == []
    assert bench.figures().dropped == {"no_key": 3}


async def test_without_a_key_everything_goes_by_turns() -> None:
    """Each event and each print has one; the records of a batch stay together, announced where they go."""
    bench = Bench("", pool="logger")
    sent = await bench.pass_through(events(1, 2), text(b"x"), logs(1, 2, 3))
    assert topics(sent) == ["rr/logger/''"] * 5
    assert isinstance(sent[3][1], LogCreate)
    assert writes(sent) == [("rr/logger/''", 3)]
    assert bench.figures().delivered == 6


async def test_records_of_a_log_by_their_key() -> None:
    """Those with the same value of the field together, in their order."""
    bench = Bench("", pool="worker", key="n")
    assert writes(await bench.pass_through(logs(1, 2, 1))) == [("hrw/worker/1", 2), ("hrw/worker/2", 1)]
    assert bench.figures().delivered == 3
    assert bench.sink.statistics().logs == 2


@pytest.mark.parametrize("value", ["1.5", "null", "true", "[1]", "-1"])
async def test_values_that_are_no_keys(value: str) -> None:
    """Zeek's hash of other types is not known."""
    bench = Bench("", pool="worker", key="n")
    batch: LogBatch = msgspec.structs.replace(logs(1), data=b'{"ts":1.5,"n":%s}\n' % value.encode())
    assert await bench.pass_through(batch) == []
    assert bench.figures().dropped == {"no_key": 1}


async def test_nobody_of_the_pool_is_up() -> None:
    """Or we are no node at all."""
    bench = Bench("", pool="proxy", peers=0)
    assert await bench.pass_through(events(1)) == []
    assert bench.figures().dropped == {"no_subscriber": 1}
    bench = Bench("", pool="proxy")
    bench.outlet.close("broker")
    assert await bench.pass_through(events(1)) == []
    assert bench.figures().dropped == {"no_broker": 1}
