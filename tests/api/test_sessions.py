"""Sessions of browsers: how long they last, and how many there are."""

from __future__ import annotations

import pytest

from appliance.api.sessions import LIFE_S, MAX_SESSIONS, Sessions, read_cookie


def test_a_session_ends_by_itself() -> None:
    """After its time, whether it is used or not."""
    now = 0.0
    sessions = Sessions(lambda: now)
    value = read_cookie(sessions.begin(b"token", is_tls=False).partition(";")[0])
    now = LIFE_S - 1.0
    assert sessions.find(value) == b"token"
    now += 1.0
    assert sessions.find(value) is None


def test_there_is_a_bound() -> None:
    """The oldest goes."""
    sessions = Sessions(lambda: 0.0)
    values = [read_cookie(sessions.begin(b"%d" % number, is_tls=True)) for number in range(MAX_SESSIONS + 1)]
    assert sessions.find(values[0]) is None
    assert [sessions.find(value) for value in (values[1], values[-1])] == [b"1", b"%d" % MAX_SESSIONS]


def test_over_tls_it_is_never_sent_without() -> None:
    """As the attribute says."""
    sessions = Sessions(lambda: 0.0)
    assert sessions.begin(b"t", is_tls=True).endswith("; Secure")
    assert not sessions.begin(b"t", is_tls=False).endswith("; Secure")


@pytest.mark.parametrize(
    ("header", "value"),
    [("", ""), ("broappliance", ""), ("a=b; broappliance=x=y ; c", "x=y"), ("xbroappliance=1", "")],
    ids=["none", "bare", "among-others", "other"],
)  # fmt: skip
def test_it_is_found_among_other_cookies(header: str, value: str) -> None:
    """By its whole name."""
    assert read_cookie(header) == value
