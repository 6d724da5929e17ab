"""``/v1/events``: what its two methods do."""

from __future__ import annotations

from functools import partial

from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet

from .exchange import Answer, Reply, Request, problem
from .publish import BadInputError, Message, answer_to, parse_publication
from .roles import Role
from .schemas import PublishedTo
from .subscribers import EVENT_STREAM, Subscribers, Topics, parse_topics
from .table import Endpoint

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

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="POST", path=PATH, role=Role.OPERATE, summary="Publish an event or a print",
                handle=self._publish, body=Message, reply=PublishedTo, status=202, refusals=(409, 413),
                told=("topic", "event", "via"),
            ),
            Endpoint(
                method="GET", path=PATH, role=Role.READ, summary="Events and prints as they arrive",
                handle=self._follow, query=Topics, produces=EVENT_STREAM, refusals=(409, 503), is_stream=True,
            ),
        ]  # fmt: skip

    async def _follow(self, request: Request) -> Reply:
        try:
            topics = parse_topics(request.query)
        except ValueError as exc:
            return problem(400, "not subscribed", where="topic", detail=str(exc))
        return self._subscribers.refuse() or partial(self._subscribers.serve, prefixes=topics)

    async def _publish(self, request: Request) -> Answer:
        try:
            topic, message, via = parse_publication(request.body)
        except BadInputError as exc:
            return problem(400, "not published", where=exc.where, detail=exc.what)
        return answer_to(self._outlet.publish_via(via, topic, [message]))

    async def close(self) -> None:
        """Let the subscribers read what waits for them, and tell them that it was all.

        Cancellation: some may not have got it.
        """
        self._subscribers.close()
        await self._subscribers.wait_left()
