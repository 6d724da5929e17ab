"""``/v1/events``: what its two methods do."""

from __future__ import annotations

from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet

from .exchange import Answer, Exchange, Request, problem
from .publish import BadInputError, answer_to, parse_publication
from .subscribers import Subscribers, parse_topics

__all__ = ["PATH", "EventsApi"]

PATH = "/v1/events"


class EventsApi:
    """See the module.

    Args:
        outlet: where events go, and what asks the peers for more.
        dispatcher: where they come from.
        ledger: where those that pass by here are booked, once there was a subscriber.
    """

    def __init__(self, *, outlet: Outlet, dispatcher: Dispatcher, ledger: Ledger) -> None:
        self._outlet = outlet
        self._subscribers = Subscribers(outlet=outlet, dispatcher=dispatcher, ledger=ledger)

    @property
    def subscribers(self) -> int:
        return self._subscribers.count

    @property
    def feeds(self) -> Subscribers:
        """Those who follow anything."""
        return self._subscribers

    def answer(self, request: Request) -> Answer | None:
        """The answer to a request, or None if it is to be followed by `follow`."""
        if request.method == "POST":
            return self._publish(request.body)
        if request.method != "GET":
            return problem(405, "only GET and POST are served here", allow=("GET", "POST"))
        try:
            parse_topics(request.query)
        except ValueError as exc:
            return problem(400, "not subscribed", where="topic", detail=str(exc))
        return self._subscribers.refuse()

    def _publish(self, body: bytes) -> Answer:
        try:
            topic, message, via = parse_publication(body)
        except BadInputError as exc:
            return problem(400, "not published", where=exc.where, detail=exc.what)
        return answer_to(self._outlet.publish_via(via, topic, [message]))

    async def follow(self, exchange: Exchange, request: Request) -> None:
        """Serve a subscriber to his end."""
        await self._subscribers.serve(exchange, parse_topics(request.query))

    async def close(self) -> None:
        """Let the subscribers read what waits for them, and tell them that it was all.

        Cancellation: some may not have got it.
        """
        self._subscribers.close()
        await self._subscribers.wait_left()
