"""Converted tables as TOML."""

from __future__ import annotations

from typing import Any

import tomli_w

__all__ = ["render_captures"]


def render_captures(captures: list[dict[str, Any]], source: str) -> str:
    """The text of a file; `source` is the name of the file that the tables are from."""
    chunks = [f"# Made from {source.encode('unicode_escape').decode()} by broappliance import.\n"]
    for capture in captures:
        plain = {key: value for key, value in capture.items() if key != "handler"}
        address = "[{!s}]".format(", ".join(tomli_w.dumps({"x": each}).strip()[4:] for each in plain.pop("address")))
        chunks.append(f"[[capture]]\n{tomli_w.dumps(plain)}address = {address}\n")
        chunks += [f"[[capture.handler]]\n{tomli_w.dumps(handler)}" for handler in capture["handler"]]
    return "\n".join(chunks)
