"""``/v1/reload``: read the configuration again, and what became of it.

POST /v1/reload                     ask for a reload: answers at once, with its number
GET  /v1/reload                     the one that ended last
GET  /v1/reload/{number}?wait=S     one of the last; waits up to S seconds for its end
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog

from appliance.runtime.reloads import ReloadLine, ReloadOutcome, Reloads

from .exchange import Answer, Request, parameters, problem, to_json
from .roles import Role
from .table import Endpoint

__all__ = ["PATH", "ReloadRoutes"]

log = structlog.get_logger("api")

PATH = "/v1/reload"
LONGEST_WAIT_S = 30.0


class ReloadWait(msgspec.Struct, frozen=True):
    wait: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_WAIT_S, description="seconds until it has ended")] = 0.0


class ReloadRoutes:
    """See the module.

    Args:
        reloads: where they are asked for.
    """

    def __init__(self, reloads: Reloads) -> None:
        self._reloads = reloads

    def endpoints(self) -> list[Endpoint]:
        """Cancellation: nothing is taken back."""
        return [
            Endpoint(
                method="POST", path=PATH, role=Role.OPERATE, summary="Read the configuration again",
                handle=self._ask, reply=ReloadLine, status=202,
            ),
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="The reload that ended last",
                handle=self._last, reply=ReloadOutcome | None,
            ),
            Endpoint(
                method="GET", path=f"{PATH}/{{number}}", role=Role.READ, summary="One of the last reloads",
                handle=self._wait, query=ReloadWait, reply=ReloadLine, refusals=(404,),
            ),
        ]  # fmt: skip

    async def _ask(self, request: Request) -> Answer:
        number = self._reloads.request()
        log.info("reload requested", number=number, who=request.who.name)
        return to_json(self._reloads.look(number), 202)

    async def _last(self, request: Request) -> Answer:
        del request
        return to_json(self._reloads.last)

    async def _wait(self, request: Request) -> Answer:
        wait_s, text = parameters(request, ReloadWait).wait, request.params["number"]
        is_number = text.isascii() and text.isdecimal() and len(text) < 19
        line = await self._reloads.wait(int(text), wait_s) if is_number else None
        if line is None:
            return problem(404, "there is no such reload", detail="never asked for, or long ago")
        return to_json(line)
