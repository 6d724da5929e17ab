"""The table ``[[watch]]``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.config.table_parts import Name, Table
from appliance.units import Duration

__all__ = ["Watch"]


class Watch(Table, frozen=True, kw_only=True):
    """Hands on what appears in a folder when it is finished: files, e.g. captures, or whole folders, e.g. of logs."""

    name: Name
    directory: Annotated[str, Meta(description="the folder; it may come into being later")]
    what: Annotated[
        Literal["files", "folders"],
        Meta(description="files: file: items; folders: folder: items, each a folder with a file in it"),
    ] = "files"
    match: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="globs over the name; hidden names only if a glob begins with a dot, never *.part and *.tmp",
        ),
    ] = ("*",)
    recursive: Annotated[bool, Meta(description="folders within folders, too")] = True
    settle: Annotated[
        Duration, Meta(description="a thing that nobody closed or renamed is ready when unchanged for this long")
    ] = Duration(2 * 10**9)
    marker: Annotated[
        str, Meta(description="folders: the name of a file; a folder is ready when it is in it, and not before")
    ] = ""
    poll: Annotated[
        Duration, Meta(description="how often everything is looked at, although the kernel tells what happens")
    ] = Duration(60 * 10**9)
    attempts: Annotated[
        int,
        Meta(
            ge=1, le=1000, description="how often a hook gets a thing whose queue is in memory; others have their own"
        ),
    ] = 3
    on_success: Annotated[
        Literal["keep", "delete", "archive"],
        Meta(description="what happens to a thing when all hooks are done with it"),
    ] = "keep"
    archive: Annotated[str, Meta(description="archive: the folder that it is moved into")] = ""
    failed: Annotated[
        str, Meta(description="the folder that a thing is moved into when a hook has given up; empty: it stays")
    ] = ""
