"""A master and its clones over a bad network: once it heals, all are equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.wire.stores.clone import CloneOptions, Fate
from appliance.wire.stores.commands import Add, Clear, Erase, Put, PutUnique, Subtract
from appliance.wire.stores.content import Content
from appliance.wire.stores.outputs import ChangeKind
from appliance.zeek.binary import encode
from appliance.zeek.values import Count

from .network import TICK_NS, Network, key_of, plain

HEAL_TICKS = 700
"""Longer than anybody remembers a silent peer."""


def put(network: Network, clone: int, key: str, value: int, expiry_ns: int | None = None) -> int | None:
    who = network.links[clone].clone
    return who.write(Put(key_of(key.encode()), encode(Count(value)), expiry_ns, who.me))


def test_a_clone_gets_the_content_and_follows() -> None:
    """The snapshot first, then what happens, from wherever it comes."""
    network = Network(2)
    network.master.apply(Put(key_of(b"a"), encode(Count(1)), None, network.master.me), 0)
    network.tick(5)
    put(network, 0, "b", 2)
    network.tick(1)
    for link in network.links:
        assert link.clone.is_attached
        assert plain(link.clone.content) == {b"a": Count(1), b"b": Count(2)}
    assert network.links[0].clone.fates == [Fate(1, "")]
    assert network.links[1].clone.changes[-1].kind is ChangeKind.INSERT


def test_what_is_written_before_there_is_a_master_waits() -> None:
    """As long as the option says, then its writer is told."""
    network = Network(1, options=CloneOptions(mutation_buffer=50))
    link = network.links[0]
    link.is_cut = True
    assert put(network, 0, "early", 1) == 1
    network.tick(30)
    assert put(network, 0, "late", 2) == 2
    network.tick(30)
    assert link.clone.fates == [Fate(1, "no_master")]
    link.is_cut = False
    network.tick(30)
    assert plain(network.master.content) == {b"late": Count(2)} == plain(link.clone.content)
    assert link.clone.fates[1:] == [Fate(2, "")]


def test_values_expire_at_the_master() -> None:
    """Exact to a tick, and a put without a time ends that of before."""
    network = Network(1)
    network.tick(5)
    begin = network.now
    put(network, 0, "short", 1, 10 * TICK_NS)
    put(network, 0, "kept", 1, 10 * TICK_NS)
    network.tick(1)
    put(network, 0, "kept", 2)
    while b"short" in plain(network.links[0].clone.content):
        network.tick(1)
    assert 10 <= network.now - begin <= 11
    network.tick(50)
    assert plain(network.links[0].clone.content) == {b"kept": Count(2)}
    assert [change.kind for change in network.links[0].clone.changes][-1] is ChangeKind.EXPIRE


def test_put_unique_is_answered() -> None:
    """To whoever asked, once for each request."""
    network = Network(2)
    network.tick(5)
    tickets = []
    for link in network.links:
        action = PutUnique(key_of(b"u"), encode(True), None, link.clone.me, 0, link.clone.me)
        tickets.append(link.clone.write(action))
    network.tick(5)
    assert network.links[0].clone.results == [(tickets[0], True)]
    assert network.links[1].clone.results == [(tickets[1], False)]


def test_a_master_that_starts_again_is_found_again() -> None:
    """Broker's clones never do; what was written meanwhile arrives, what may have been done twice is told."""
    network = Network(2)
    network.tick(5)
    put(network, 0, "a", 1)
    network.tick(5)
    kept = Content((key, value, None) for key, value in network.master.content.pairs())
    network.new_master(kept)
    for link in network.links:
        link.packets.clear()
        link.is_cut = True
    me = network.links[0].clone.me
    put(network, 0, "b", 2)
    network.links[0].clone.write(Add(key_of(b"n"), encode(Count(1)), 2, None, me))
    network.tick(10)
    for link in network.links:
        link.is_cut = False
    network.tick(200)
    for link in network.links:
        assert link.clone.is_attached
        assert link.clone.master == network.master.me
        assert plain(link.clone.content) == plain(network.master.content) == {b"a": Count(1), b"b": Count(2)}
    assert Fate(3, "unknown") in network.links[0].clone.fates
    assert Fate(2, "") in network.links[0].clone.fates
    assert network.links[0].clone.me != me


def test_content_without_a_master_becomes_stale() -> None:
    """After the time that the option says, and no more when there is one again."""
    network = Network(1, options=CloneOptions(stale=60))
    clone = network.links[0].clone
    assert clone.is_stale
    network.tick(5)
    assert not clone.is_stale
    network.links[0].is_cut = True
    network.tick(40)
    assert not clone.is_attached
    assert not clone.is_stale
    network.tick(60)
    assert clone.is_stale
    network.links[0].is_cut = False
    network.tick(120)
    assert not clone.is_stale


@pytest.mark.parametrize("loss", [0.1, 0.4])
def test_losses_are_repaired_without_a_new_snapshot(loss: float) -> None:
    """By what the two ask each other for again."""
    network = Network(3, seed=1)
    network.tick(5)
    for link in network.links:
        link.loss = loss
    for n in range(100):
        put(network, n % 3, f"k{n}", n)
        network.tick(1)
    for link in network.links:
        link.loss = 0.0
    network.tick(20)
    assert len(network.master.content) == 100
    for link in network.links:
        assert plain(link.clone.content) == plain(network.master.content)
        assert link.clone.resyncs == 0
        assert not link.clone.unsettled


actions = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 2), st.sampled_from("abcd"), st.integers(0, 9)),
    st.tuples(st.just("master_put"), st.sampled_from("abcd"), st.integers(0, 9)),
    st.tuples(st.just("expiring"), st.sampled_from("abcd"), st.integers(0, 9), st.integers(1, 30)),
    st.tuples(st.just("add"), st.integers(0, 2), st.sampled_from("nm")),
    st.tuples(st.just("subtract"), st.integers(0, 2), st.sampled_from("nm")),
    st.tuples(st.just("erase"), st.integers(0, 2), st.sampled_from("abcdnm")),
    st.tuples(st.just("clear"), st.integers(0, 2)),
    st.tuples(st.just("loss"), st.integers(0, 2), st.sampled_from([0.0, 0.3, 0.9])),
    st.tuples(st.just("delay"), st.integers(0, 2), st.integers(0, 8)),
    st.tuples(st.just("cut"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("restart")),
    st.tuples(st.just("ticks"), st.sampled_from([1, 3, 25, 120, 600])),
)


class Model:
    """Does what a step says."""

    def __init__(self, seed: int) -> None:
        self.network = Network(3, seed=seed)
        self.written = [0, 0, 0]

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, name)(*arguments)
        self.network.settle()

    def _write(self, index: int, make: Any) -> None:
        clone = self.network.links[index].clone
        assert clone.write(make(clone.me)) is not None
        self.written[index] += 1

    def put(self, index: int, key: str, value: int) -> None:
        self._write(index, lambda me: Put(key_of(key.encode()), encode(Count(value)), None, me))

    def master_put(self, key: str, value: int) -> None:
        master = self.network.master
        master.apply(Put(key_of(key.encode()), encode(Count(value)), None, master.me), self.network.now_ns)

    def expiring(self, key: str, value: int, ticks: int) -> None:
        master = self.network.master
        put = Put(key_of(key.encode()), encode(Count(value)), ticks * TICK_NS, master.me)
        master.apply(put, self.network.now_ns)

    def add(self, index: int, key: str) -> None:
        self._write(index, lambda me: Add(key_of(key.encode()), encode(Count(1)), 2, None, me))

    def subtract(self, index: int, key: str) -> None:
        self._write(index, lambda me: Subtract(key_of(key.encode()), encode(Count(1)), None, me))

    def erase(self, index: int, key: str) -> None:
        self._write(index, lambda me: Erase(key_of(key.encode()), me))

    def clear(self, index: int) -> None:
        self._write(index, Clear)

    def loss(self, index: int, share: float) -> None:
        self.network.links[index].loss = share

    def delay(self, index: int, ticks: int) -> None:
        self.network.links[index].delay = ticks

    def cut(self, index: int, is_cut: bool) -> None:
        link = self.network.links[index]
        link.is_cut = is_cut
        if is_cut:
            link.packets.clear()

    def restart(self) -> None:
        content = self.network.master.content
        kept = [(key, value, content.expiry_ns(key)) for key, value in content.pairs()]
        self.network.new_master(Content(kept))
        for link in self.network.links:
            link.packets.clear()

    def ticks(self, count: int) -> None:
        self.network.tick(count)

    def heal(self) -> None:
        for link in self.network.links:
            link.is_cut, link.loss, link.delay = False, 0.0, 0
        self.network.tick(HEAL_TICKS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(actions, max_size=25))
def test_all_are_equal_once_the_network_heals(seed: int, steps: list[tuple[Any, ...]]) -> None:
    """Whatever was lost, delayed, cut or restarted; and every write has its fate, once."""
    model = Model(seed)
    for step in steps:
        model.step(*step)
    model.heal()
    expected = plain(model.network.master.content)
    for link, written in zip(model.network.links, model.written, strict=True):
        assert link.clone.is_attached
        assert plain(link.clone.content) == expected
        assert not link.clone.unsettled
        assert sorted(fate.ticket for fate in link.clone.fates) == list(range(1, written + 1))
        # What the clone told of changes is the content, too.
        told: dict[bytes, bytes] = {}
        for change in link.clone.changes:
            if change.kind is ChangeKind.CLEAR:
                told.clear()
            elif change.value is None:
                del told[change.key]
            else:
                told[change.key] = change.value
        assert told == dict(link.clone.content.pairs())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(actions.filter(lambda step: step[0] != "restart"), max_size=25))
def test_nothing_is_done_twice(seed: int, steps: list[tuple[Any, ...]]) -> None:
    """As long as the master lives: a counter that several clones increment is the number of increments whose fate is
    good, give or take those whose fate is unknown."""
    model = Model(seed)
    for step in steps:
        if step[0] in ("add", "loss", "delay", "cut", "ticks"):
            model.step(*step)
    model.heal()
    fates = [fate.reason for link in model.network.links for fate in link.clone.fates]
    counted = sum(value.value for value in plain(model.network.master.content).values() if isinstance(value, Count))
    assert fates.count("") <= counted <= fates.count("") + fates.count("unknown")
