"""``broappliance config``: the configuration in force."""

from __future__ import annotations

import argparse
import json

from appliance.errors import ApplianceError

from .client import ask, find_endpoint

__all__ = ["call"]

PATH = "/v1/config"


def call(arguments: argparse.Namespace) -> int:
    """Print it."""
    socket = find_endpoint(arguments)
    status, document = ask(socket, "GET", PATH)
    if status != 200 or not isinstance(document, dict) or not {"toml", "config", "generation"} <= document.keys():
        raise ApplianceError(f"{socket} answered with something that is no configuration")
    if arguments.json:
        print(json.dumps({key: document[key] for key in ("generation", "files", "config")}, indent=2))
    else:
        print(f"# generation {document['generation']} of {', '.join(document['files'])}")
        print(document["toml"], end="")
    return 0
