"""A capture asked for while the appliance runs: judged as the file's are."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.config import ConfigError, Size
from appliance.config.request import parse_capture

GOOD: dict[str, Any] = {"name": "c", "conn_type": "udp", "address": ["", 8500], "handler": [{"name": "h"}]}


def test_plain_values_become_a_table() -> None:
    """Sizes as in the file, folders absolute, keys without a value left out."""
    handler = {"name": "h", "log_dir": "a/%Y", "rotate_size": "1MiB", "keep": None}
    capture = parse_capture({**GOOD, "filter": None, "handler": [handler]}, state_dir="/state/100%")
    assert capture.handler[0].log_dir == "/state/100%%/a/%Y"
    assert capture.handler[0].rotate_size == Size(1 << 20)
    assert capture.filter == ""


@pytest.mark.parametrize(
    ("change", "key", "told"),
    [
        ({"conn_tipe": "udp"}, "conn_tipe", 'unknown key, did you mean "conn_type"?'),
        ({"address": ["", 70000]}, "address[1]", "70000"),
        (
            {"handler": [{"name": "h", "log_dir": "{host.x}"}]},
            "handler[0].log_dir",
            "only the plain {host} is possible",
        ),
        ({"handler": [{"name": "h"}, {"name": "h"}]}, "handler[1].name", "used twice"),
        ({"multicast": ["10.0.0.1"]}, "multicast[0]", "is not a multicast address"),
    ],
)
def test_mistakes_are_told_by_key(change: dict[str, Any], key: str, told: str) -> None:
    """Of the request, without a file and a line."""
    with pytest.raises(ExceptionGroup) as caught:
        parse_capture({**GOOD, **change}, state_dir="/state")
    mistake = next(each for each in caught.value.exceptions if isinstance(each, ConfigError) and each.key == key)
    assert told in str(mistake)
    assert str(mistake).startswith(f"{key}: ")


@pytest.mark.parametrize("data", [None, 5, "x", [], {}])
def test_what_is_no_table_is_told(data: Any) -> None:
    """Whatever JSON holds."""
    with pytest.raises(ExceptionGroup):
        parse_capture(data, state_dir="/state")
