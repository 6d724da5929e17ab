"""``/v1/reload``: read the configuration again, and what became of it.

POST /v1/reload                     ask for a reload: answers at once, with its number
GET  /v1/reload                     the one that ended last
GET  /v1/reload/{number}?wait=S     one of the last; waits up to S seconds for its end
"""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec
import structlog

from appliance.runtime.reloads import Reloads

from .exchange import Answer, Request, problem

__all__ = ["PATH", "ReloadRoutes"]

log = structlog.get_logger("api")

PATH = "/v1/reload"
LONGEST_WAIT_S = 30.0


class ReloadRoutes:
    """See the module.

    Args:
        reloads: where they are asked for.
    """

    def __init__(self, reloads: Reloads) -> None:
        self._reloads = reloads

    @staticmethod
    def owns(path: str) -> bool:
        """Whether `answer` is for this path."""
        return path == PATH or path.startswith(f"{PATH}/")

    async def answer(self, request: Request) -> Answer:
        """Do what is asked for.

        Cancellation: nothing is taken back.
        """
        match [request.method, *request.path.removeprefix(PATH).split("/")[1:]]:
            case ["POST"]:
                number = self._reloads.request()
                log.info("reload requested", number=number)
                return Answer(202, msgspec.json.encode(self._reloads.look(number)))
            case ["GET" | "HEAD"]:
                return Answer(200, msgspec.json.encode(self._reloads.last))
            case ["GET" | "HEAD", text]:
                return await self._wait(text, request.query)
            case [_]:
                return problem(405, "not done here", allow=("GET", "HEAD", "POST"))
            case [_, _]:
                return problem(405, "not done here", allow=("GET", "HEAD"))
        return problem(404, "no such document")

    async def _wait(self, text: str, query: str) -> Answer:
        try:
            wait_s = float(parse_qs(query).get("wait", ["0"])[-1])
        except ValueError:
            wait_s = -1.0
        if not 0 <= wait_s <= LONGEST_WAIT_S:
            return problem(400, "this makes no sense", detail=f"wait is a number of seconds up to {LONGEST_WAIT_S:.0f}")
        is_number = text.isascii() and text.isdecimal() and len(text) < 19
        line = await self._reloads.wait(int(text), wait_s) if is_number else None
        if line is None:
            return problem(404, "there is no such reload", detail="never asked for, or long ago")
        return Answer(200, msgspec.json.encode(line))
