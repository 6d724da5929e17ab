"""What is announced to each peer, by key."""

from __future__ import annotations

import pytest

from appliance.broker import publishing
from appliance.broker.publishing import Announcements


def test_news_are_what_was_not_heard() -> None:
    """A new message of a key is news again, and comes behind the others."""
    announcements = Announcements()
    first, second = b"first", b"second"
    announcements.put("a", "t", first)
    announcements.put("b", "u", first, unsolicited=True)
    assert list(announcements.news_for({})) == [("a", "t", first, False), ("b", "u", first, True)]
    assert list(announcements.news_for({"a": first, "b": first})) == []
    announcements.put("a", "v", second)
    assert list(announcements.news_for({"a": first, "b": first})) == [("a", "v", second, False)]
    assert [key for key, *_ in announcements.news_for({})] == ["b", "a"]


def test_a_bounded_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr(publishing, "_MAX_KEYS", 2)
    announcements = Announcements()
    for key in "abc":
        announcements.put(key, "t", b"x")
    assert [key for key, *_ in announcements.news_for({})] == ["b", "c"]
