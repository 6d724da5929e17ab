"""AIT's form, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ait.form import Start, parse_start

ROOT = "/data/captures"
LEAST = {"port": "8500", "conn_type": "udp"}


def parse(**fields: str) -> Start:
    return parse_start("raw", {**LEAST, **fields}, root=ROOT)


def test_two_fields_are_enough() -> None:
    """The others are as in AIT."""
    more = {"rotate_log_index": "day", "rotate_log_delta": 1}
    assert parse() == Start("raw", ("", 8500), "udp", f"{ROOT}/", more)


def test_the_form_of_the_tool_that_creates_handlers_is_understood() -> None:
    """It sends everything that it knows, the name included, and a backslash before each directive."""
    start = parse(
        name="raw", loc="127.0.0.1", service_host="localhost", service_port="8080", rotate_log="True",
        rotate_log_index="minutes", rotate_log_delta="5", file_name_pattern="\\%Y-\\%m-\\%d-{name}.pcap",
    )  # fmt: skip
    assert start.address == ("127.0.0.1", 8500)
    assert start.more == {
        "file_name_pattern": "%Y-%m-%d-{name}.pcap", "rotate_log_index": "minutes", "rotate_log_delta": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({"rotate_log": "true"}, {"rotate_log_index": "day", "rotate_log_delta": 1}),
        ({"rotate_log": "False"}, {"rotate_log": False}),
        ({"rotate_log": ""}, {"rotate_log": False}),
        ({"rotate_log_index": "fortnight"}, {"rotate_log_index": "day", "rotate_log_delta": 1}),
        ({"rotate_log_delta": "0"}, {"rotate_log": False, "rotate_packets": 1}),
        ({"rotate_log_delta": "1.5"}, {"rotate_log_index": "day", "rotate_log_delta": 2}),
        ({"site": "north"}, {"rotate_log_index": "day", "rotate_log_delta": 1}),
        (
            {"site": "north", "path": "{site}"},
            {"path": "{site}", "site": "north", "rotate_log_index": "day", "rotate_log_delta": 1},
        ),
        ({"pre_write_transforms": "identity_transform"}, {"rotate_log_index": "day", "rotate_log_delta": 1}),
        ({"keep": "1", "compress": "zstd"}, {"rotate_log_index": "day", "rotate_log_delta": 1}),
    ],
    ids=["true", "false", "empty", "unknown-unit", "every-packet", "fraction", "unused-field", "used-field",
         "identity", "ours"],
)  # fmt: skip
def test_fields_mean_what_they_say(fields: dict[str, str], more: dict[str, Any]) -> None:
    """Also where AIT means the opposite."""
    assert parse(**fields).more == more


@pytest.mark.parametrize(
    ("folder", "found"), [("sub", f"{ROOT}/sub"), ("/data/x", "/data/x"), ("~/x", "~/x"), ("", f"{ROOT}/")]
)
def test_a_folder_is_below_the_root_unless_it_is_absolute(folder: str, found: str) -> None:
    """Whether it is allowed is for somebody else to say."""
    assert parse(log_dir_path=folder).log_dir == found


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"port": ""}, "port: expected a number from 0 to 65535, got ''"),
        ({"port": "65536"}, "port: "),
        ({"port": "8500.5"}, "port: "),
        ({"conn_type": "serial"}, "conn_type: expected udp, tcp or ethernet, got 'serial'"),
        ({"conn_type": ""}, "conn_type: "),
        ({"name": "other"}, "name: the path says 'raw', the form 'other'"),
        ({"rotate_log": "perhaps"}, "rotate_log: expected true or false, got 'perhaps'"),
        ({"rotate_log_delta": "x"}, "rotate_log_delta: "),
        ({"rotate_log_delta": "nan"}, "rotate_log_delta: "),
        ({"rotate_log_delta": "1e9"}, "rotate_log_delta: "),
        ({"pre_write_transforms": "os:system"}, "pre_write_transforms: transforms can only be named in the file"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()),
)
def test_what_is_wrong_is_told(fields: dict[str, str], told: str) -> None:
    """With the field and what it holds."""
    with pytest.raises(ValueError, match="^" + told.replace("(", "\\(")):
        parse(**fields)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*LEAST, "loc", "path", "rotate_log", "rotate_log_delta", "x"]), st.text()))
def test_any_form_is_understood_or_refused(form: dict[str, str]) -> None:
    """And nothing else happens."""
    try:
        start = parse_start("raw", form, root=ROOT)
    except ValueError:
        return
    assert 0 <= start.address[1] <= 65535
