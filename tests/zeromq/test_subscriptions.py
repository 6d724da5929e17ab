"""Whose subscription is whose, by what the proxy tells."""

from __future__ import annotations

from appliance.zeromq.subscriptions import MAX_HEARD, Heard, Wanted


def test_a_topic_is_subscribed_to_once() -> None:
    """Until the last one who wants it is gone."""
    wanted = Wanted()
    assert wanted.ask(["a", "b"]) == ["a", "b"]
    assert wanted.ask(["b", "c"]) == ["c"]
    assert wanted.forgo(["b", "a"]) == ["a"]
    assert wanted.topics == ("b", "c")
    assert (wanted.matches("bx"), wanted.matches("a"), wanted.has("bx")) == (True, False, False)
    assert wanted.forgo(["b"]) == ["b"]


def test_our_own_subscription_is_nobody_elses() -> None:
    """Told of twice, the second one is another's; his end cannot be seen."""
    wanted = Wanted()
    heard = Heard(wanted)
    wanted.ask(["own."])
    heard.begin("own.")
    assert not heard.matches("own.x")
    heard.begin("own.")
    assert heard.matches("own.x")
    heard.end("own.")
    assert not heard.matches("own.x")
    heard.begin("other.")
    assert heard.matches("other.x")
    assert len(heard) == 1


def test_after_another_connection_nothing_is_certain() -> None:
    """What may be somebody's counts."""
    wanted = Wanted()
    heard = Heard(wanted)
    wanted.ask(["own."])
    heard.begin("own.")
    heard.reconnect()
    assert heard.matches("own.x")


def test_not_more_topics_than_a_cluster_has() -> None:
    """Those beyond the bound are not remembered, and those that are still count."""
    heard = Heard(Wanted())
    for number in range(MAX_HEARD + 10):
        heard.begin(f"{number}.")
    assert len(heard) == MAX_HEARD
    heard.begin("0.")
    assert heard.matches("0.x")
    heard.end("none")
