"""A client with its accounts."""

from __future__ import annotations

from appliance.config import Websocket
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.outlet import Outlet

from .client import WebsocketClient

__all__ = ["make_client"]


def make_client(
    key: str, table: Websocket, *, ledger: Ledger, dispatcher: Dispatcher, outlet: Outlet
) -> WebsocketClient:
    """A client that is not running yet; `key` is ``websocket.NAME``."""
    return WebsocketClient(
        table,
        records=ledger.account(key),
        messages=ledger.account(f"{key}.messages", unit="messages"),
        copies=ledger.account(f"{key}.out", unit="messages"),
        dispatcher=dispatcher,
        outlet=outlet,
    )
