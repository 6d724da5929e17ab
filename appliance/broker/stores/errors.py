"""Why something that was asked of a store did not happen."""

from __future__ import annotations

import enum

from appliance.errors import ApplianceError

__all__ = ["StoreError", "StoreFailure"]


class StoreFailure(enum.StrEnum):
    """The reason of a `StoreError`."""

    TIMEOUT = "timeout"
    """No answer in time. A write may still come to pass."""
    STALE = "stale"
    """There has been no master for so long that the copy is not to be trusted, or there was none ever."""
    NO_MASTER = "no_master"
    """No master has come as long as writes wait for one; it was not written."""
    UNKNOWN = "unknown"
    """The master was lost before it could tell; it may be written or not."""
    TYPE_CLASH = "type_clash"
    """The value is of a type with which that cannot be done."""
    BAD_VALUE = "bad_value"
    """A key or value that Broker cannot hold, or an entry that cannot be read."""
    OVERFLOW = "overflow"
    """Too much waits for the master."""
    CLOSED = "closed"
    """The store is not open."""


class StoreError(ApplianceError):
    """Something that was asked of a store did not happen.

    Args:
        reason: why.
        store: its name.
        message: the same for people.
    """

    def __init__(self, reason: StoreFailure, store: str, message: str) -> None:
        super().__init__(f"store {store!r}: {message}")
        self.reason = reason
        self.store = store
