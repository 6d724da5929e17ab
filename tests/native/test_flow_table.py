"""The flow table against a dictionary, its cutoff, and what a full one gives up."""

from __future__ import annotations

import errno
import itertools
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.native import FlowKey, FlowTable, FlowTotals, Seen, flow_key

from .packets import ETHERNET, TCP, UDP, tcp_frame, udp_frame

SECOND = 10**9
SYN, ACK, FIN, RST = 2, 16, 1, 4
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def seen(data: bytes, ts_ns: int = 0) -> Seen:
    return Seen(ts_ns, data, len(data))


def address(i: int) -> str:
    return str(IPv4Address(0x0B000000 + i))


def probes(first: int, n: int, ts_ns: int) -> list[Seen]:
    """A scan: one SYN each from many senders."""
    return [seen(tcp_frame(address(i), SERVER, (1024, 80), SYN), ts_ns) for i in range(first, first + n)]


def conn(port: int = 1024) -> FlowKey:
    return flow_key(CLIENT, SERVER, TCP, (port, 80))


def hello(port: int, ts_ns: int) -> list[Seen]:
    """Both directions of a connection."""
    there = tcp_frame(CLIENT, SERVER, (port, 80), SYN)
    back = tcp_frame(SERVER, CLIENT, (80, port), SYN | ACK)
    return [seen(there, ts_ns), seen(back, ts_ns + 1)]


PACKETS = st.tuples(
    st.sampled_from([(CLIENT, SERVER), (SERVER, CLIENT), ("10.0.0.3", SERVER)]),
    st.sampled_from([(1, 2), (2, 1), (7, 53)]),
    st.integers(46, 300),
    st.integers(0, 2 * SECOND),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(PACKETS, max_size=150), st.integers(100, 2000))
def test_counts_and_verdicts_are_those_of_a_dictionary(
    packets: list[tuple[tuple[str, str], tuple[int, int], int, int]], cutoff: int
) -> None:
    """Every flow's span, packets, payload and true lengths in both directions; cut is what comes past the cutoff."""
    table, now, model = FlowTable(1024, cutoff=cutoff), 0, dict[FlowKey, FlowTotals]()
    batch, expected, cut_bytes = [], [], 0
    for (source, destination), ports, size, step in packets:
        now += step
        key = flow_key(source, destination, UDP, ports)
        side = (str(key.first), key.first_port) != (source, ports[0])
        old = model.get(key, FlowTotals(now, now, (0, 0), (0, 0), (0, 0)))
        data = udp_frame(source, destination, ports, size)
        batch.append(Seen(now, data, size))
        expected.append(sum(old.wire_bytes) >= cutoff)
        cut_bytes += size * expected[-1]
        grown = [
            tuple(n + (i == side) * more for i, n in enumerate(pair))
            for pair, more in zip(old[2:5], (1, size - 42, size), strict=True)
        ]
        model[key] = FlowTotals(old.first_ns, now, *grown)  # type: ignore[arg-type]
    assert [verdict.is_cut for verdict in table.track(ETHERNET, batch)] == expected
    assert {key: table.get(key) for key in model} == model
    counts = table.counts()
    assert (counts.packets, counts.flows, counts.cut_packets) == (len(packets), len(model), sum(expected))
    assert counts.cut_bytes == cut_bytes


def test_an_unknown_flow_has_no_counts() -> None:
    """Asking creates nothing."""
    table = FlowTable(64)
    assert table.get(conn()) is None
    assert not table.unlift(conn())
    assert table.counts().flows == 0


def test_a_lifted_flow_is_not_cut_until_it_is_idle() -> None:
    """Evidence lifts a flow, before or after its first packet; others are cut on."""
    table = FlowTable(64, cutoff=100, idle_ns=10 * SECOND)
    frames = [udp_frame(CLIENT, SERVER, (1, 2), 100), udp_frame(CLIENT, SERVER, (3, 4), 100)]
    table.lift(flow_key(CLIENT, SERVER, UDP, (1, 2)), 0)

    def cut(ts_ns: int) -> list[bool]:
        return [verdict.is_cut for verdict in table.track(ETHERNET, [seen(frame, ts_ns) for frame in frames])]

    assert [cut(1), cut(2)] == [[False, False], [False, True]]
    table.lift(flow_key(SERVER, CLIENT, UDP, (4, 3)), 2)
    assert cut(3) == [False, False]
    assert table.unlift(flow_key(CLIENT, SERVER, UDP, (1, 2)))
    assert cut(4) == [True, False]
    assert table.counts().lifted == 1
    assert [cut(15 * SECOND), cut(16 * SECOND)] == [[False, False], [True, True]]
    assert table.counts().lifted == 0


def test_what_is_not_ip_is_never_cut() -> None:
    """ARP has no connection that could be long."""
    table = FlowTable(64, cutoff=1)
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    assert not any(verdict.is_cut for verdict in table.track(ETHERNET, [seen(arp)] * 10))
    assert table.counts().other == 10


def test_the_cutoff_can_change() -> None:
    """A reload applies to the flows that are there."""
    table, frame = FlowTable(64), udp_frame(CLIENT, SERVER, (1, 2), 100)
    verdicts = table.track(ETHERNET, [seen(frame)] * 5)
    table.set_cutoff(500)
    verdicts += table.track(ETHERNET, [seen(frame)])
    table.set_cutoff(None)
    verdicts += table.track(ETHERNET, [seen(frame)])
    assert [verdict.is_cut for verdict in verdicts] == [False] * 5 + [True, False]


@pytest.mark.parametrize("end", [FIN | ACK, RST])
def test_a_new_connection_between_the_same_ends_counts_anew(end: int) -> None:
    """A SYN after FIN or RST begins another connection, and so does a long silence."""
    table = FlowTable(64, cutoff=200, idle_ns=10 * SECOND)
    data, close, syn = (tcp_frame(CLIENT, SERVER, (1024, 80), flags, 100) for flags in (ACK, end, SYN))
    stream = [(data, 0), (data, 1), (data, 2), (close, 3), (data, 4), (syn, 5), (data, 6), (data, 12 * SECOND)]
    verdicts = table.track(ETHERNET, [seen(frame, ts_ns) for frame, ts_ns in stream])
    assert [verdict.is_cut for verdict in verdicts] == [False, False, True, True, True, False, False, False]
    totals = table.get(conn())
    assert totals is not None
    assert (totals.first_ns, sum(totals.packets)) == (12 * SECOND, 1)


def test_a_syn_flood_replaces_its_own_entries() -> None:
    """A table in a flood of many times its size keeps the connections of before it."""
    table, slots, conns, rounds = FlowTable(1024), 1024, 64, 30
    packets = list(itertools.chain.from_iterable(hello(1024 + i, i) for i in range(conns)))
    table.track(ETHERNET, packets)
    for i in range(rounds):
        table.track(ETHERNET, probes(i * slots, slots, SECOND + i))
    kept = [table.get(conn(1024 + i)) for i in range(conns)]
    assert all(totals is not None and totals.packets != (0, 0) for totals in kept)
    counts = table.counts()
    assert counts.flows == conns + rounds * slots
    assert counts.evicted_established == 0
    assert counts.evicted_young >= (rounds - 1) * slots
    assert counts.untracked == counts.expired == 0


def test_established_flows_give_way_when_there_is_nobody_else() -> None:
    """Among equals the one that was silent the longest goes; memory does not grow."""
    table, n = FlowTable(8), 20
    for i in range(n):
        table.track(ETHERNET, hello(1024 + i, i * SECOND))
    assert [table.get(conn(1024 + i)) is not None for i in range(n)] == [i >= n - 8 for i in range(n)]
    assert table.counts().evicted_established == n - 8


def test_idle_flows_go_first() -> None:
    """An idle connection gives way before a young one that is not."""
    table = FlowTable(8, idle_ns=SECOND)
    table.track(ETHERNET, hello(1, 0))
    table.track(ETHERNET, probes(0, 7, 5 * SECOND))
    table.track(ETHERNET, probes(7, 1, 5 * SECOND + 1))
    assert table.get(conn(1)) is None
    counts = table.counts()
    assert (counts.expired, counts.evicted_young, counts.evicted_established) == (1, 0, 0)


def test_lifted_flows_are_bounded_and_never_pushed_out() -> None:
    """A quarter of the table at most; a flood passes by."""
    table = FlowTable(64)
    for i in range(16):
        table.lift(conn(1 + i), 0)
    with pytest.raises(OSError, match="space") as caught:
        table.lift(conn(99), 0)
    assert caught.value.errno == errno.ENOSPC
    table.lift(conn(1), 0)
    table.track(ETHERNET, probes(0, 10_000, 1))
    assert all((totals := table.get(conn(1 + i))) is not None and totals.is_lifted for i in range(16))


def test_packets_without_a_place_are_kept_and_counted() -> None:
    """Of 24,576 lifted flows in 8,192 sets a hundred sets are full: what else belongs there is not tracked."""
    table, refused, flows = FlowTable(1 << 16, cutoff=1), 0, 3 << 13
    for i in range(flows):
        try:
            table.lift(flow_key(address(i), SERVER, UDP, (1, 2)), 0)
        except OSError:
            refused += 1
    assert table.counts().lifted == flows - refused
    packets = [packet for packet in probes(0, 1 << 13, 1) for _ in range(2)]
    verdicts = table.track(ETHERNET, packets)
    counts = table.counts()
    assert counts.untracked > 0
    assert counts.untracked + 2 * counts.cut_packets == len(packets)
    assert sum(verdict.is_cut for verdict in verdicts) == counts.cut_packets


def test_limits_are_checked() -> None:
    """Slots are a power of two in range."""
    for slots in (0, 4, 12, 1 << 27):
        with pytest.raises(ValueError, match="out of range"):
            FlowTable(slots)
