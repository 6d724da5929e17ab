"""The way out to the cluster, whoever carries it."""

from __future__ import annotations

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
    outlet.publisher = publisher
    assert outlet.publish("t", [b"m"], unsolicited=True) == Published(1)
    assert outlet.announce("k", "u", b"a", unsolicited=True) == Published(1)
    assert (publisher.calls, publisher.published) == ([("t", 1, True)], [("t", b"m"), ("u", b"a")])


def test_topics_that_are_asked_for_are_asked_of_the_next_one() -> None:
    """Each is asked of whoever carries messages, as long as somebody wants it."""
    outlet, first, second = Outlet(), FakePublisher(), FakePublisher()
    with outlet.subscribed(["before"]):
        outlet.publisher = first
        with outlet.subscribed(["a", "b"]):
            assert first.prefixes == ["before", "a", "b"]
            outlet.publisher = second
            assert (first.prefixes, second.prefixes) == ([], ["before", "a", "b"])
        assert second.prefixes == ["before"]
        outlet.publisher = None
        assert second.prefixes == []
    outlet.publisher = first
    assert first.prefixes == []
