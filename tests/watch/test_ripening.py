"""When things are ready: pure, with the time as an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.watch.look import Seen
from appliance.watch.ripening import Ripening


def seen(size: int, relative: str = "a") -> Seen:
    return Seen(relative, 7, size, size * 1000)


def test_a_thing_is_ready_when_it_has_not_changed_for_a_while() -> None:
    """Each change begins the time anew."""
    ripening = Ripening(2.0)
    ripening.see(seen(1), 0.0)
    ripening.see(seen(1), 1.0)
    assert (ripening.next_s, ripening.take_due(1.9, 9)) == (2.0, [])
    assert ripening.take_due(2.0, 9) == ["a"]
    assert ripening.confirm("a", seen(2), 2.0) is None
    assert ripening.next_s == 4.0
    assert ripening.take_due(4.0, 9) == ["a"]
    assert ripening.confirm("a", seen(2), 4.0) == seen(2)
    assert len(ripening) == 0
    assert ripening.next_s is None


def test_what_is_gone_is_never_ready() -> None:
    """Forgotten, or not there when it is looked at."""
    ripening = Ripening(1.0)
    for name in "ab":
        ripening.see(seen(1, name), 0.0)
    ripening.forget("a")
    assert ripening.take_due(5.0, 9) == ["b"]
    assert ripening.confirm("b", None, 5.0) is None
    assert "b" not in ripening
    assert ripening.confirm("a", seen(1), 5.0) is None


def test_only_some_are_looked_at_in_one_go() -> None:
    """The others stay due."""
    ripening = Ripening(1.0)
    for name in "abc":
        ripening.see(seen(1, name), 0.0)
    assert sorted(ripening.take_due(1.0, 2) + ripening.take_due(1.0, 2)) == ["a", "b", "c"]


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.floats(0.0, 3.0)), max_size=30))
def test_nothing_is_ready_before_its_time_or_forgotten(steps: list[tuple[str, int, float]]) -> None:
    """Against the definition: a thing is ready when it was the same for as long as it must be."""
    ripening = Ripening(2.0)
    last: dict[str, tuple[Seen, float]] = {}
    now_s = 0.0
    for name, size, pause_s in steps:
        now_s += pause_s
        for relative in ripening.take_due(now_s, 9):
            current, since_s = last[relative]
            is_ready = now_s >= since_s + 2.0
            assert (ripening.confirm(relative, current, now_s) == current) == is_ready
            if is_ready:
                del last[relative]
        thing = seen(size, name)
        if name not in last or last[name][0] != thing:
            last[name] = (thing, now_s)
        ripening.see(thing, now_s)
        assert len(ripening) == len(last)
    assert sorted(ripening.take_due(now_s + 2.0, 9)) == sorted(last)
