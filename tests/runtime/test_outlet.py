"""The way out to the cluster, whoever carries it."""

from __future__ import annotations

import pytest

from appliance.runtime.outlet import Outlet, Published
from tests.fakes import FakePublisher


def test_nobody_carries_anything() -> None:
    """Without an endpoint everything is refused, and topics may be asked for all the same."""
    outlet = Outlet()
    assert outlet.publish("t", [b"m"]) == Published(0, "no_broker")
    assert outlet.announce("k", "t", b"m") == Published(0, "no_broker")
    with outlet.subscribed(["a"]):
        pass


def test_what_is_published_goes_to_who_carries_it_now() -> None:
    """With everything that was said about it."""
    outlet, publisher = Outlet(), FakePublisher()
    outlet.open("broker", publisher)
    assert outlet.publish("t", [b"m"], unsolicited=True) == Published(1)
    assert outlet.announce("k", "u", b"a", unsolicited=True) == Published(1)
    assert (publisher.calls, publisher.published) == ([("t", 1, True)], [("t", b"m"), ("u", b"a")])


def test_topics_that_are_asked_for_are_asked_of_the_next_one() -> None:
    """Each is asked of whoever carries messages, as long as somebody wants it."""
    outlet, first, second = Outlet(), FakePublisher(), FakePublisher()
    with outlet.subscribed(["before"]):
        outlet.open("broker", first)
        with outlet.subscribed(["a", "b"]):
            assert first.prefixes == ["before", "a", "b"]
            outlet.open("broker", second)
            assert (first.prefixes, second.prefixes) == ([], ["before", "a", "b"])
        assert second.prefixes == ["before"]
        outlet.close("broker")
        assert second.prefixes == []
    outlet.open("broker", first)
    assert first.prefixes == []


def test_what_is_published_goes_out_through_every_door() -> None:
    """Who publishes is told for how many peers it was queued, behind all doors together."""
    outlet, first, second = Outlet(), FakePublisher(), FakePublisher(peers=2)
    outlet.open("broker", first)
    outlet.open("websocket.manager", second)
    assert outlet.publish("t", [b"m"]) == Published(3)
    assert outlet.announce("k", "u", b"a") == Published(3)
    assert first.published == second.published == [("t", b"m"), ("u", b"a")]


def test_who_publishes_may_choose_the_doors() -> None:
    """By globs over their names; what it asks for is asked of all of them."""
    outlet, first, second = Outlet(), FakePublisher(), FakePublisher()
    outlet.open("broker", first)
    outlet.open("websocket.manager", second)
    route = outlet.via(["websocket.*", "cluster"])
    assert route.publish("t", [b"m"], unsolicited=True) == Published(1)
    assert route.announce("k", "u", b"a", unsolicited=True) == Published(1)
    assert (first.published, second.published) == ([], [("t", b"m"), ("u", b"a")])
    assert outlet.via(["cluster"]).publish("t", [b"m"]) == Published(0, "no_broker")
    assert outlet.via([]) is outlet
    with route.subscribed(["a"]):
        assert first.prefixes == second.prefixes == ["a"]


@pytest.mark.parametrize(
    ("refusals", "told"),
    [
        (("not_allowed", "no_peer"), "no_peer"),
        (("events_only", "no_subscriber"), "no_subscriber"),
        (("too_large", "not_allowed"), "too_large"),
        (("something_else", "bad_topic"), "bad_topic"),
        (("something_else",), "something_else"),
    ],
)
def test_of_several_refusals_the_closest_is_told(refusals: tuple[str, ...], told: str) -> None:
    """The one of the door through which it had the best prospects."""
    outlet = Outlet()
    for number, refusal in enumerate(refusals):
        publisher = FakePublisher()
        publisher.refusal = refusal
        outlet.open(f"websocket.{number}", publisher)
    assert outlet.publish("t", [b"m"]) == Published(0, told)


def test_one_refusal_does_not_hide_that_another_door_took_it() -> None:
    """It is published if one door takes it."""
    outlet, first = Outlet(), FakePublisher()
    first.refusal = "not_allowed"
    outlet.open("broker", first)
    outlet.open("cluster", FakePublisher())
    assert outlet.publish("t", [b"m"]) == Published(1)


def test_a_door_is_closed_by_who_opened_it() -> None:
    """A predecessor that ends late does not close the door of its successor; every change has a number of its own."""
    outlet, first, second = Outlet(), FakePublisher(), FakePublisher()
    with outlet.subscribed(["a"]):
        outlet.open("broker", first)
        outlet.open("broker", second)
        before = outlet.generation
        outlet.close("broker", first)
        assert (dict(outlet.doors), outlet.generation) == ({"broker": second}, before)
        outlet.close("broker", second)
        assert (dict(outlet.doors), second.prefixes) == ({}, [])
        assert outlet.generation > before


def test_one_member_of_a_pool() -> None:
    """Through the door that knows the pool, and through no other; nobody up is nobody who asked."""
    outlet, node = Outlet(), FakePublisher()
    assert outlet.publish_to_pool("proxy", "k", [b"m"], by_hash=True) == Published(0, "no_broker")
    outlet.open("cluster", node)
    assert outlet.publish_to_pool("proxy", "k", [b"m"], by_hash=True) == Published(1)
    assert outlet.via(["clus*"]).publish_to_pool("worker", 7, [b"m"], by_hash=False) == Published(1)
    assert outlet.via(["broker"]).publish_to_pool("worker", 7, [b"m"], by_hash=False) == Published(0, "no_broker")
    assert node.published == [("hrw/proxy/'k'", b"m"), ("rr/worker/7", b"m")]
    node.peers = 0
    assert outlet.publish_to_pool("proxy", "k", [b"m"], by_hash=True) == Published(0, "no_subscriber")
