"""What the files of evidence are called. Pure."""

from __future__ import annotations

__all__ = ["FIELDS", "file_pattern"]

FIELDS = {"name", "tag", "kind"}


def file_pattern(directory: str) -> str:
    """The path pattern of PCAPs and notes: time of the first alarm, a tag that tells files of one second apart."""
    return f"{directory}/{{name}}-%Y%m%dT%H%M%SZ-{{tag}}.{{kind}}"
