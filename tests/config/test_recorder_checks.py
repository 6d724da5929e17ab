"""Mistakes in recorders: limits of the ring, budgets too small, memory that is missing; and what is meant by none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.config import Limit, Loaded, Size

Mistakes = Callable[..., list[str]]
HEAD = "[[recorder]]\nname = 'edge'\ninterface = 'eth1'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ring = '1MiB'", "ring: must be 2MiB to 4GiB, got 1MiB"),
        ("segment_size = '64KiB'", "segment_size: must be 1MiB to 1TiB, got 64KiB"),
        ("segment_every = '10ms'", "segment_every: must be at least 1s, got 10ms"),
        ("segment_every = '0s'", "segment_every: must be more than 0"),
        ("cutoff = '0B'", 'cutoff: must be more than 0, write cutoff = "none" to keep all'),
        ("cutoff = 'all'", "cutoff: 'all' is not a size, write a number and a unit (B KiB MiB GiB TiB kB KB MB GB TB)"),
        ("budget = '1GiB'",
         ("budget: holds too few segments of 1GiB, a smaller segment_size, or 2GiB at least: a growing segment for "
          "each ring, and a finished one")),
        ("write = 'triggered'", 'write: needs the newest packets in memory, set memory, e.g. memory = "1GiB"'),
        ("memory = '1MiB'", "memory: must be at least 2MiB for 1 rings, got 1MiB"),
        ("interface = 'a-name-that-is-too-long'", None),
        ("fanout = 0", "fanout: expected 1 to 64, got 0"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_a_way_out(mistakes: Mistakes, text: str, told: str | None) -> None:
    """File, line, key, and what to write instead."""
    head = HEAD if told else HEAD.replace("interface = 'eth1'\n", "")
    found = mistakes(f"{head}{text}\n")
    assert len(found) == 1
    if told is not None:
        assert found == [f"site.toml:4: recorder[0].{told}"]


def test_recorder_of_the_documentation_has_no_mistakes(mistakes: Mistakes) -> None:
    """Every key, with values that differ from the defaults."""
    text = """
        promiscuous = false\nfilter = 'not port 22'\nsnaplen = 128\nhardware_time = true\nfanout = 2\nring = '64MiB'
        directory = '/data/edge'\nsegment_size = '512MiB'\nsegment_every = '5m'\ncompress = 'zstd'\nbudget = '500GiB'
        min_free = '10GiB'\ncutoff = '1MiB'\nmemory = '1GiB'\nwrite = 'triggered'\nindex = false
    """
    assert mistakes(HEAD + text) == []


def test_directory_is_of_the_state_directory(read: Callable[..., Loaded]) -> None:
    """And named after the recorder if it is not said."""
    text = "[appliance]\nstate_dir = '/s'\n" + HEAD + HEAD.replace("edge", "core") + "directory = 'c'\n"
    config = read(text).config
    assert [each.directory for each in config.recorder] == ["/s/recorder/edge", "/s/c"]


def test_a_limit_is_a_size_or_none() -> None:
    """Printed as it was written."""
    assert Limit.parse("none").bytes is None
    assert str(Limit.parse("none")) == "none"
    assert Limit.parse("1MiB").bytes == Size(1 << 20)
    assert str(Limit.count(1 << 20)) == "1MiB"
