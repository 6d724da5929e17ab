"""What the appliance and the process of a package say to each other: one JSON value in each packet of a connection that
keeps packets apart.

The appliance says `Setup` once, and is answered `Described` or `Broken`; then it says `Call`, one at a time, and is
answered `Result`.
"""

from __future__ import annotations

import os

import msgspec

__all__ = ["CONNECTION", "MAX_PACKET", "Broken", "Call", "Callee", "Described", "FromWorker", "Result", "Setup",
           "from_text", "to_text"]  # fmt: skip

CONNECTION = 3
"""Descriptor that the process starts with, besides the standard ones."""
MAX_PACKET = 1 << 17
"""Bytes. The kernel takes some 200 KiB for one packet unless it is told otherwise."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be loaded."""

    package: str
    """Its folder."""
    logs_path: str
    """What the package gets as ``const.LOGS_PATH``; empty: it has none."""
    import_path: tuple[str, ...] = ()


class Callee(msgspec.Struct, frozen=True, kw_only=True):
    """One of the callables of ``HOOK`` or ``EXIT``."""

    name: str
    """Differs from all others of its list; letters, digits, ``.``, ``_`` and ``-``."""
    module: str
    """Those of one module share a process."""


class Described(msgspec.Struct, frozen=True, kw_only=True, tag="described"):
    """The package is loaded."""

    hooks: tuple[Callee, ...]
    exits: tuple[Callee, ...]


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag="broken"):
    """It cannot be."""

    error: str
    """With file and line of the cause."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Call one of them."""

    is_exit: bool
    number: int
    """In its list."""
    name: str = ""
    """Of the folder."""
    path: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """How a call ended."""

    outcome: str
    """``done``, ``error``, ``retry`` or ``rejected``."""
    error: str = ""
    trace: str = ""
    after_s: float | None = None


FromWorker = Described | Broken | Result


def to_text(name: str) -> str:
    """A name of the file system, which need not be UTF-8, as text that JSON can hold: one character for each byte."""
    return os.fsencode(name).decode("latin-1")


def from_text(text: str) -> str:
    """The name again."""
    return os.fsdecode(text.encode("latin-1"))
