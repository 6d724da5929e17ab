"""What the files of evidence are called. Pure."""

from __future__ import annotations

from appliance.config.patterns import substitute

__all__ = ["FIELDS", "file_pattern"]

FIELDS = {"tag", "kind"}


def file_pattern(directory: str, name: str) -> str:
    """The path pattern of a table's PCAPs and notes: time of the first alarm, a tag to tell files of one second apart.

    No file of another table matches it, whatever the directory.
    """
    return substitute(f"{directory}/{{name}}-%Y%m%dT%H%M%SZ-{{tag}}.{{kind}}", {"name": name})
