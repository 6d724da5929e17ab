"""The few errors that are shown to people; everything else is a built-in or Trio's own.

The class says who must act: the operator (`ConfigError`, `PrivilegeError`), the peer (`RemoteProtocolError`), or us.
"""

from __future__ import annotations

__all__ = [
    "ApplianceError",
    "ConfigError",
    "LocalProtocolError",
    "PrivilegeError",
    "ProtocolError",
    "RemoteProtocolError",
]


class ApplianceError(Exception):
    """Something a person must read: what happened and, if known, what to do.

    Args:
        message: what happened, lower case, no full stop.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(ApplianceError):
    """One mistake in a configuration; exit code 2.

    Args:
        message: what is wrong.
        file: the file as the user named it, or empty if the mistake has no place.
        line: 1-based line, 0 if unknown.
        key: the key path, e.g. ``capture[0].conn_type``.
        hint: what to do, e.g. ``did you mean "conn_type"?``.
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, key: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.key = key

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        key = f"{self.key}: " if self.key else ""
        hint = f", {self.hint}" if self.hint else ""
        return f"{place}{key}{self.message}{hint}"


class ProtocolError(ApplianceError):
    """Abstract: somebody broke a protocol."""


class LocalProtocolError(ProtocolError):
    """We asked for something illegal: our bug, fail loudly."""


class RemoteProtocolError(ProtocolError):
    """The peer did: count, log, and go on without what it sent."""


class PrivilegeError(ApplianceError):
    """A capability is missing; the message says which. Exit code 1."""
