"""The book of reloads, and what it says of each."""

from __future__ import annotations

import trio
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.config import Api, Appliance, Capture, Config, Duration, Handler, Hook, Journal, Log, Zmq, diff
from appliance.errors import ConfigError
from appliance.runtime.reloads import KEPT, Done, Mistake, ReloadOutcome, Reloads, list_changes, list_mistakes

BASE = Config(
    appliance=Appliance(name="n"),
    zmq=(Zmq(name="a", bind=("tcp://*:0",)), Zmq(name="b", bind=("tcp://*:0",))),
    hook=(Hook(name="s", on=("folder:x",), sites="/x"),),
)


def outcome(number: int) -> ReloadOutcome:
    return ReloadOutcome(number=number, ok=True, generation=number + 1, at_ns=1, took_s=0.0)


def capture(name: str) -> Capture:
    return Capture(name=name, conn_type="udp", address=("", 5000), handler=(Handler(name=name),))


async def test_a_reload_from_its_request_to_its_end(autojump_clock: MockClock) -> None:
    """Who waits for its number learns of its end, and of nothing before."""
    book = Reloads()
    assert book.look(1) is None
    assert book.request() == book.request() == 1
    seen = []

    async def wait() -> None:
        line = await book.wait(1, 60.0)
        assert line is not None
        seen.append(line.outcome)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await book.wait_wanted()
        assert (line := book.look(1)) is not None
        assert line.state == "waiting"
        assert book.begin() == 1
        assert (line := book.look(1)) is not None
        assert line.state == "running"
        await wait_all_tasks_blocked()
        assert not seen
        book.end(outcome(1))
    assert seen == [outcome(1)] == [book.last]


async def test_who_asks_during_a_reload_gets_the_next_one() -> None:
    """The one that runs may have read the file already."""
    book = Reloads()
    book.request()
    book.begin()
    assert book.request() == 2
    book.end(outcome(1))
    assert (line := book.look(2)) is not None
    assert line.state == "waiting"
    assert book.look(3) is None


async def test_waiting_has_an_end(autojump_clock: MockClock) -> None:
    """The line as it is then; nobody waits for a number that nobody was given."""
    book = Reloads()
    book.request()
    line = await book.wait(1, 5.0)
    assert line is not None
    assert (line.state, trio.current_time()) == ("waiting", 5.0)
    for unknown in (0, -1, 2):
        assert await book.wait(unknown, 5.0) is None
    assert trio.current_time() == 5.0


async def test_nobody_waits_for_what_is_not_done_any_more(autojump_clock: MockClock) -> None:
    """The appliance ends: everybody who waits learns it at once."""
    book = Reloads()
    book.request()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.wait, 1, 60.0)
        await wait_all_tasks_blocked()
        book.close()
    assert trio.current_time() == 0
    assert (line := book.look(1)) is not None
    assert line.state == "dropped"


async def test_old_outcomes_are_forgotten() -> None:
    """A bounded number is kept."""
    book = Reloads()
    for _ in range(KEPT + 1):
        book.request()
        book.end(outcome(book.begin()))
    assert book.look(1) is None
    assert all(book.look(number) is not None for number in range(2, KEPT + 2))


def test_what_became_of_every_service() -> None:
    """Tables that are no services come first, then the new file's order, then what is gone."""
    new = replace(
        BASE,
        zmq=(Zmq(name="c", bind=("tcp://*:0",)), replace(BASE.zmq[0], hwm=5)),
        hook=(replace(BASE.hook[0], timeout=Duration(5)),),
        log=Log(level="debug"),
        journal=Journal(dead_letters=5),
        api=Api(listen=()),
    )
    done = {"zmq.c": "added", "zmq.a": "applied", "sites.s": "restarted", "hook.s.x": "restarted", "api": "restarted"}
    changes = list_changes(diff(BASE, new), new, Done(done))  # type: ignore[arg-type]
    assert [(change.name, change.how, change.keys) for change in changes] == [
        ("log", "applied", ("level",)),
        ("journal", "applied", ("dead_letters",)),
        ("zmq.c", "added", ()),
        ("zmq.a", "applied", ("hwm",)),
        ("hook.s", "restarted", ("timeout",)),
        ("api", "restarted", ("listen",)),
        ("zmq.b", "removed", ()),
    ]


def test_what_shares_a_socket_shares_its_fate() -> None:
    """A capture is known by the first one of its socket."""
    old = replace(BASE, capture=(capture("one"), capture("two")))
    new = replace(BASE, capture=(capture("one"), replace(capture("two"), handler=(Handler(name="other"),))))
    changes = {
        change.name: change.how for change in list_changes(diff(old, new), new, Done({"capture.one": "restarted"}))
    }
    assert (changes["capture.one"], changes["capture.two"]) == ("restarted", "restarted")


def test_a_service_can_be_started_again_although_its_table_is_the_same() -> None:
    """It was down since an earlier way back failed, or another table changed what it is made from."""
    for did, told in (("added", "restarted"), ("restarted", "restarted"), ("applied", "applied")):
        changes = {change.name: change.how for change in list_changes(diff(BASE, BASE), BASE, Done({"zmq.a": did}))}  # type: ignore[dict-item]
        assert changes == {"zmq.a": told, "zmq.b": "unchanged", "hook.s": "unchanged", "api": "unchanged"}


def test_files_that_were_read_again_are_told() -> None:
    """Of a table that is the same, too; how it was done stays as it was."""
    files = {"api": ("token_file",), "zmq.a": ("key",), "zmq.b": ("key",)}
    new = replace(BASE, zmq=(replace(BASE.zmq[0], hwm=5), BASE.zmq[1]))
    changes = list_changes(diff(BASE, new), new, Done({"zmq.b": "restarted"}, files))
    assert [(each.name, each.how, each.keys, each.files) for each in changes if each.how != "unchanged"] == [
        ("zmq.a", "applied", ("hwm",), ("key",)),
        ("zmq.b", "restarted", (), ("key",)),
        ("api", "applied", (), ("token_file",)),
    ]


def test_mistakes_have_their_place() -> None:
    """Others have their text."""
    leaves = [ConfigError("is wrong", file="x.toml", line=5, key="zmq[0].bind", hint="mend it"), OSError("no")]
    assert list_mistakes(leaves, [str(leaf) for leaf in leaves]) == (
        Mistake(message="is wrong", file="x.toml", line=5, key="zmq[0].bind", hint="mend it"),
        Mistake(message="no"),
    )
