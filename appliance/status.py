"""What the appliance says about itself: one frozen document, for the endpoint, the command line and the log."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.attention import Concern
from appliance.runtime.intake import QueueFigures
from appliance.runtime.ledger import AccountFigures
from appliance.runtime.queues import JournalFigures
from appliance.runtime.rates import Rates
from appliance.runtime.reloads import ReloadOutcome
from appliance.runtime.supervisor import ServiceFigures

__all__ = ["LedgerLine", "ReloadOutcome", "ServiceLine", "Status"]


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
    lost_ago_s: float | None = None
    """Since something was lost for the last time, within a second; None: nothing ever was."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole appliance at one moment."""

    name: str
    node: str
    """Its name in the cluster, which is the same unless the configuration says otherwise."""
    version: str
    pid: int
    state: str
    """starting, running, reloading or draining."""
    generation: int
    """Grows by one with every reload that was applied."""
    applied_ns: int
    """When the configuration in force was applied, nanoseconds since the epoch."""
    uptime_s: float
    state_dir: str
    files: tuple[str, ...]
    """The configuration files in force."""
    last_reload: ReloadOutcome | None
    """How it ended; None: there was none."""
    services: tuple[ServiceLine, ...]
    ledger: tuple[LedgerLine, ...]
    journal: JournalFigures | None
    """What durable queues hold; None: there are none."""
    lost: int
    """What was dropped although it was valid and wanted, over all accounts."""
    attention: tuple[Concern, ...]
    """What somebody should look at; empty: all is well."""
