"""``broappliance schema``: the JSON Schema of the TOML file."""

from __future__ import annotations

import argparse
import json

from appliance.config import json_schema

__all__ = ["call"]


def call(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its arguments
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2))
    return 0
