"""The JSON Schema for editors."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from appliance.config import Config, json_schema
from appliance.config.shape import toml_fields


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_it_is_a_closed_object_of_the_right_draft(schema: dict[str, Any]) -> None:
    """Unknown tables are marked by the editor."""
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "broappliance configuration"
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_tables_are_in_the_order_of_the_file(schema: dict[str, Any]) -> None:
    """`include` first; the rank is written down for tools that sort keys."""
    assert list(schema["properties"]) == ["include", *toml_fields(Config)]
    for table in (schema, *schema["$defs"].values()):
        assert [value["x-order"] for value in table["properties"].values()] == list(range(len(table["properties"])))


def test_include_is_an_array_of_strings(schema: dict[str, Any]) -> None:
    """It is no table, but it is allowed at the top."""
    assert schema["properties"]["include"]["items"] == {"type": "string"}


def test_tables_and_keys_are_described(schema: dict[str, Any]) -> None:
    """An editor has something to show for each."""
    for name, table in schema["$defs"].items():
        assert table["title"] == name
        assert table["description"]
        assert table["additionalProperties"] is False
        for key, value in table["properties"].items():
            assert value.get("description") or "$ref" in value, (name, key)


def test_names_are_as_in_the_file(schema: dict[str, Any]) -> None:
    """`from`, and what is always required."""
    hook = schema["$defs"]["Hook"]
    assert "from" in hook["properties"]
    assert "from_" not in hook["properties"]
    assert set(hook["required"]) == {"name", "on"}
    assert schema["properties"]["hook"]["items"] == {"$ref": "#/$defs/Hook"}
    assert schema["$defs"]["Capture"]["properties"]["handler"]["items"] == {"$ref": "#/$defs/Handler"}


@pytest.mark.parametrize(("text", "fits"), [("10s", True), ("1.5 h", True), ("${T}", True), ("10", False), ("", False)])
def test_durations_are_strings_with_units(schema: dict[str, Any], text: str, fits: bool) -> None:
    """With the default as users write it, and room for the environment."""
    timeout = schema["$defs"]["Hook"]["properties"]["timeout"]
    assert timeout["type"] == "string"
    assert timeout["default"] == "30s"
    assert bool(re.search(timeout["pattern"], text)) is fits


@pytest.mark.parametrize(("text", "fits"), [("64KiB", True), ("${S}", True), ("64 bytes", False)])
def test_sizes_are_strings_with_units_or_numbers(schema: dict[str, Any], text: str, fits: bool) -> None:
    """Plain integers are bytes."""
    size = schema["$defs"]["Capture"]["properties"]["receive_buffer"]
    string, integer = size["anyOf"]
    assert size["default"] == "8MiB"
    assert integer == {"type": "integer", "minimum": 0}
    assert bool(re.search(string["pattern"], text)) is fits


def test_there_is_no_null(schema: dict[str, Any]) -> None:
    """TOML has none: a key without a value is left out."""
    assert "null" not in json.dumps(schema)
    assert "default" not in schema["$defs"]["Handler"]["properties"]["rotate_size"]


def test_choices_and_limits_are_there(schema: dict[str, Any]) -> None:
    """The same that loading checks."""
    hook = schema["$defs"]["Hook"]["properties"]
    assert set(hook["queue"]["enum"]) == {"durable", "block", "drop_oldest", "drop_newest"}
    assert (hook["concurrency"]["minimum"], hook["concurrency"]["maximum"]) == (1, 256)
