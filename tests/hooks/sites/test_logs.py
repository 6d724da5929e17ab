"""What hooks of BroAPT get from ``logparser.parse``, without pandas."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.hooks.sites.logs import Frame, JSONInfo, TEXTInfo, parse

TSV = """#separator \\x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	x
#open	2026-11-21-02-24-11
#fields	ts	id.orig_h	id.orig_p	names	hosts	nets	text	on
#types	time	addr	port	set[string]	set[addr]	vector[count]	string	bool
1.5	10.0.0.1	80	a,b	::1	1,-	café	T
2	-	-	(empty)	-	(empty)	-	F
"""


@pytest.fixture(autouse=True)
def without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)


def test_each_column_has_its_own_type(tmp_path: Path) -> None:
    """Sets of two kinds in one log, sets that are empty or not set, text beyond ASCII, times with a zone."""
    (tmp_path / "x.log").write_text(TSV + "#close\t2026-11-21-02-24-12\n")
    log = parse(tmp_path / "x.log")
    assert isinstance(log, TEXTInfo)
    assert (log.format, log.path, log.exit_with_error) == ("text", "x", False)
    assert (log.close - log.open).total_seconds() == 1
    rows = [row for _, row in log.context.iterrows()]
    assert rows == [
        {
            "ts": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC),
            "id.orig_h": ipaddress.ip_address("10.0.0.1"),
            "id.orig_p": 80,
            "names": {"a", "b"},
            "hosts": {ipaddress.ip_address("::1")},
            "nets": [1, None],
            "text": "café",
            "on": True,
        },
        {
            "ts": datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
            "id.orig_h": None,
            "id.orig_p": None,
            "names": set(),
            "hosts": None,
            "nets": [],
            "text": None,
            "on": False,
        },
    ]


def test_log_without_its_end_says_so(tmp_path: Path) -> None:
    """And a line that is none is left out."""
    (tmp_path / "x.log").write_text(TSV + "nonsense\n")
    log = parse(str(tmp_path / "x.log"))
    assert isinstance(log, TEXTInfo)
    assert (log.exit_with_error, len(log.context)) == (True, 2)


def test_json_is_as_it_is(tmp_path: Path) -> None:
    """Times are numbers there; a column that a record does not have is None."""
    (tmp_path / "x.log").write_text(json.dumps({"ts": 1.5, "a": 1}) + "\n\n" + json.dumps({"ts": 2.5, "b": "x"}) + "\n")
    log = parse(tmp_path / "x.log")
    assert isinstance(log, JSONInfo)
    assert log.format == "json"
    assert [row for _, row in log.context.iterrows()] == [
        {"ts": 1.5, "a": 1, "b": None},
        {"ts": 2.5, "a": None, "b": "x"},
    ]


def test_empty_log_is_an_empty_frame(tmp_path: Path) -> None:
    """Of either format."""
    (tmp_path / "x.log").write_text("")
    assert parse(tmp_path / "x.log").context.empty
    (tmp_path / "x.log").write_text(TSV.rpartition("1.5")[0])
    assert list(parse(tmp_path / "x.log").context)[:2] == ["ts", "id.orig_h"]


def test_rows_can_be_chosen() -> None:
    """By a comparison of a column, as frames are."""
    frame = Frame(["uid", "n"], [{"uid": "a", "n": 1}, {"uid": "b", "n": 2}, {"uid": "a"}])
    assert [row.n for row in frame[lambda df: df.uid == "a"].itertuples()] == [1, None]
    assert list(frame[frame["uid"] != "a"].n) == [2]
    assert "n" in frame
    with pytest.raises(AttributeError):
        _ = frame.nothing
    with pytest.raises(KeyError):
        frame["nothing"]


def test_parsers_of_ones_own_are_refused(tmp_path: Path) -> None:
    """Rather than ignored."""
    (tmp_path / "x.log").write_text("")
    with pytest.raises(ValueError, match="no parsers"):
        parse(tmp_path / "x.log", {"addr": str})  # type: ignore[arg-type]
