"""What an operator should look at: the one rule of the headline, the exit code, the page and the metric. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from appliance.runtime.dialing import Dials
from appliance.runtime.ledger import AccountFigures
from appliance.runtime.losses import LATELY_S
from appliance.runtime.reloads import ReloadOutcome
from appliance.runtime.supervisor import ServiceFigures, State

__all__ = ["Concern", "find_concerns"]

_ILL = {State.BACKING_OFF.value, State.FAILED.value, State.STOPPED.value}
_RECORDS = {"recording", "starting"}


class Concern(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look at."""

    about: str
    """Where more about it is: ``service``, ``recorder``, ``evidence``, ``connection``, ``account`` or ``reload``."""
    text: str
    """What is the matter, and with what."""


class _Service(Protocol):
    @property
    def service(self) -> ServiceFigures: ...

    @property
    def figures(self) -> Any: ...


class _Account(Protocol):
    @property
    def account(self) -> AccountFigures: ...

    @property
    def lost_ago_s(self) -> float | None: ...


def find_concerns(
    services: Iterable[_Service], ledger: Iterable[_Account], last_reload: ReloadOutcome | None, *, is_running: bool
) -> tuple[Concern, ...]:
    """Everything that is not well, the gravest first.

    Args:
        services, ledger, last_reload: as in the status.
        is_running: whether the appliance neither starts nor ends nor reloads: meanwhile services come and go.
    """
    found: list[Concern] = []
    if is_running:
        for line in services:
            found += _about_service(line.service, line.figures)
    for each in ledger:
        found += _about_account(each.account, each.lost_ago_s)
    if last_reload is not None and not last_reload.ok:
        found.append(Concern(about="reload", text="the last reload was refused: " + "; ".join(last_reload.errors)))
    return tuple(found)


def _about_service(service: ServiceFigures, figures: Any) -> Iterator[Concern]:
    if service.state in _ILL:
        yield Concern(about="service", text=f"{service.name} is {service.state}")
        return
    if service.name.startswith("recorder.") and figures.state not in _RECORDS:
        yield Concern(about="recorder", text=f"{service.name} is {figures.state}")
    if service.name.startswith("evidence.") and figures.retrying:
        yield Concern(about="evidence", text=f"{service.name} waits with {figures.retrying:,}: {figures.last_error}")
    if isinstance(figures, Dials):
        for told in figures.overdue:
            yield Concern(about="connection", text=f"{service.name} does not reach {told}")


def _about_account(account: AccountFigures, lost_ago_s: float | None) -> Iterator[Concern]:
    ago_s = lost_ago_s or 0.0
    if account.lost and ago_s < LATELY_S:
        ago = f", the last {ago_s / 60:.0f} min ago" if ago_s >= 60 else ""
        yield Concern(about="account", text=f"{account.name} lost {account.lost:,}{ago}")
    if account.imbalance:
        yield Concern(about="account", text=f"the books of {account.name} do not balance by {account.imbalance:,}")
