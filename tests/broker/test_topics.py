"""Subscriptions, what peers are told of them, and what may be published."""

from __future__ import annotations

import pytest

from appliance.broker.topics import Topics

from .harness import table


@pytest.mark.parametrize(
    ("subscribe", "advertise", "told"),
    [
        (("a/", "b/"), None, ("a/", "b/")),
        (("a/", "b/"), ("a/",), ("a/",)),
        (("a/x/", "a/y/", "b/"), ("a/",), ("a/x/", "a/y/")),
        (("a/",), ("a/x", "a/y/z"), ("a/x", "a/y/z")),
        (("",), ("a/", "a/b"), ("a/",)),
        (("a/",), ("",), ("a/",)),
        (("a/",), (), ()),
        (("a/b", "a/", "<$>/local/x"), None, ("a/",)),
    ],
)
def test_peers_are_told_what_is_subscribed_and_may_be_advertised(
    subscribe: tuple[str, ...], advertise: tuple[str, ...] | None, told: tuple[str, ...]
) -> None:
    """The common part of both, in its shortest form; all of it is taken, told or not."""
    topics = Topics(table(subscribe=subscribe, advertise=advertise))
    assert topics.advertised == told
    assert all(topics.wanted.matches(prefix) for prefix in subscribe if not prefix.startswith("<$>"))


def test_more_is_asked_for_a_while() -> None:
    """Told as long as somebody wants it, whatever may be advertised otherwise; told to peers only if it is news."""
    topics = Topics(table(subscribe=("a/",), advertise=()))
    assert topics.ask(["b/"])
    assert not topics.ask(["b/", "b/c"])
    assert topics.advertised == ("b/",)
    assert topics.wanted.matches("b/x")
    assert not topics.forgo(["b/"])
    assert topics.forgo(["b/", "b/c"])
    assert not topics.advertised
    assert not topics.wanted.matches("b/x")


def test_another_table_keeps_what_was_asked_for() -> None:
    """A reload changes the file's part only."""
    topics = Topics(table(subscribe=("a/",)))
    topics.ask(["b/"])
    assert topics.configure(table(subscribe=("c/",)))
    assert topics.advertised == ("b/", "c/")
    assert not topics.configure(table(subscribe=("c/",), publish=("x",)))


@pytest.mark.parametrize(
    ("publish", "topic", "may"),
    [
        (None, "anything", True),
        ((), "anything", False),
        (("a",), "a", True),
        (("a",), "a/b", False),
        (("a/",), "a/", True),
        (("a/",), "a/b", True),
        (("a/",), "a", False),
        (("a/b", "c/"), "c/d/e", True),
    ],
)
def test_publishing_needs_permission(publish: tuple[str, ...] | None, topic: str, may: bool) -> None:
    """Exact topics, and whatever lies below those that end in a slash."""
    assert Topics(table(publish=publish)).may_publish(topic) is may
