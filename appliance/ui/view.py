"""What the page shows at one moment: documents of the API, as far as somebody may see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from appliance.api.roles import Identity
from appliance.runtime.history import Point

from .asking import Asking
from .gallery import Gallery
from .markup import Html

__all__ = ["LETTERS", "View", "look"]

LETTERS = 5
"""Dead letters that are shown; there may be any number."""
STATUS = "/v1/status"
CAPTURES = "/v1/captures"
HOOKS = "/v1/hooks"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """See the module."""

    status: dict[str, Any]
    captures: list[dict[str, Any]]
    hooks: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    points: Callable[[str], list[Point]]
    """The last hour of an account."""
    spark: Callable[[str], Html | None]
    """Its small plot."""
    plotted: str = ""
    """The account that has a plot of its own; empty: the busiest."""
    may_capture: bool = False
    may_retry: bool = False

    def figures(self, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
        """Name and figures of the services of these kinds."""
        named = ((line["service"]["name"], line["figures"]) for line in self.status["services"])
        return [(name, figures) for name, figures in named if figures and name.partition(".")[0] in kinds]


async def look(asking: Asking, who: Identity, gallery: Gallery, plotted: str = "") -> View | None:
    """Ask for everything; None: there is no status."""
    status = await asking.get(who, STATUS)
    if status is None:
        return None
    await gallery.refresh([line["account"]["name"] for line in status["ledger"]])
    captures = await asking.get(who, CAPTURES) or {}
    hooks = await asking.get(who, HOOKS) or {}
    letters: dict[str, Any] = {}
    if any(hook["dead"] for hook in hooks.get("hooks", ())):
        letters = await asking.get(who, f"{HOOKS}/dead", f"limit={LETTERS}") or {}
    return View(
        status=status,
        captures=captures.get("captures", []),
        hooks=hooks.get("hooks", []),
        letters=letters.get("letters", []),
        points=gallery.points,
        spark=gallery.spark,
        plotted=plotted,
        may_capture=asking.may(who, "POST", CAPTURES),
        may_retry=asking.may(who, "POST", f"{HOOKS}/retry"),
    )
