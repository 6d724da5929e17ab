"""What the appliance says about itself: one frozen document, for the endpoint, the command line and the log."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.runtime.intake import QueueFigures
from appliance.runtime.ledger import AccountFigures
from appliance.runtime.rates import Rates
from appliance.runtime.supervisor import ServiceFigures

__all__ = ["LedgerLine", "ReloadOutcome", "ServiceLine", "Status"]


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the last reload ended."""

    ok: bool
    at_ns: int
    """When, nanoseconds since the epoch."""
    errors: tuple[str, ...] = ()
    """Why it was refused; then nothing was changed."""


class ServiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One service."""

    service: ServiceFigures
    figures: Any
    """What the service itself counts; differs by kind."""
    queue: QueueFigures | None
    """The queue that feeds it; None for a door."""


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One account."""

    account: AccountFigures
    rates: Rates
    """Received per second."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole appliance at one moment."""

    name: str
    version: str
    pid: int
    state: str
    """starting, running, reloading or draining."""
    generation: int
    """Grows by one with every reload that was applied."""
    uptime_s: float
    state_dir: str
    files: tuple[str, ...]
    """The configuration files in force."""
    last_reload: ReloadOutcome | None
    services: tuple[ServiceLine, ...]
    ledger: tuple[LedgerLine, ...]
    lost: int
    """What was dropped although it was valid and wanted, over all accounts."""
