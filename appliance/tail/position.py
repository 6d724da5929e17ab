"""How far each file was read, kept across restarts.

A file is known by device and inode and by its first bytes: an inode is used again for another file, a device gets
another number at the next boot, and an archive or a copy has the same bytes elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from appliance.zeek.tsv_header import TsvHeader

__all__ = ["Position", "fingerprint", "load_positions", "save_positions"]

VERSION = 1


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far one file was read. Bytes are those of its text, also in an archive."""

    device: int
    inode: int
    path: str
    """The last name it was seen under."""
    offset: int = 0
    """Where the next line begins."""
    head_len: int = 0
    """Bytes that the fingerprint covers; 0 while nothing was read."""
    head: str = ""
    """See `fingerprint`."""
    rows: int = 0
    """Lines read so far; while it is 0, the first bytes are a header at most and tell no file from another."""
    is_skipping: bool = False
    """The next line begins in the middle of one that is too long."""
    size: int = 0
    """Size of the file on the disk when it was read to the end, else 0."""
    mtime_ns: int = 0
    """Its modification time then; a file that still has both need not be opened again."""
    header: TsvHeader = TsvHeader()
    """What the directives up to `offset` said."""

    @property
    def identity(self) -> tuple[int, int]:
        return (self.device, self.inode)


def fingerprint(head: bytes) -> str:
    """A digest of a file's first bytes."""
    return hashlib.blake2b(head, digest_size=16).hexdigest()


def save_positions(path: Path, positions: Iterable[Position]) -> None:
    """Replace the file at `path` in one step; blocks until it is safe on the disk.

    Raises:
        OSError: the file is as before.
    """
    headers: dict[TsvHeader, int] = {}
    files = []
    for position in positions:
        entry = {name: getattr(position, name) for name in position.__struct_fields__ if name != "header"}
        header = msgspec.structs.replace(position.header, opened="")  # else each file would have one of its own
        entry["header"] = headers.setdefault(header, len(headers))
        files.append(entry)
    document = {"version": VERSION, "headers": [_plain(header) for header in headers], "files": files}
    # Not msgspec: names of files need not be UTF-8, and their surrogates survive only the standard library's escapes.
    data = json.dumps(document, separators=(",", ":")).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    finally:
        os.close(fd)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_positions(path: Path) -> list[Position] | None:
    """What was saved last, or None if nothing ever was; blocks.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `save_positions` writes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(data)
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r}")
        headers = [_header(plain) for plain in document["headers"]]
        return [msgspec.convert(entry | {"header": headers[entry["header"]]}, Position) for entry in document["files"]]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as exc:
        raise ValueError(f"{path}: not a file of positions: {exc}") from exc


def _plain(header: TsvHeader) -> dict[str, Any]:
    fields = {name: getattr(header, name) for name in header.__struct_fields__}
    return {name: value.decode("latin-1") if isinstance(value, bytes) else value for name, value in fields.items()}


def _header(plain: dict[str, Any]) -> TsvHeader:
    marks = ("separator", "set_separator", "empty_field", "unset_field")
    values = {name: value.encode("latin-1") if name in marks else value for name, value in plain.items()}
    return msgspec.convert(values, TsvHeader, builtin_types=(bytes,))
