"""From ``[[store]]`` tables to services, and what they share: the way to the peers, and the names under which hooks and
the API find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from appliance.config import Config, StorePlan, first_manager, node_name, plan_store
from appliance.runtime.dispatcher import Dispatcher
from appliance.runtime.ledger import Ledger
from appliance.runtime.stores import Stores

if TYPE_CHECKING:
    from appliance.api.stores import StoreRoutes
    from appliance.api.subscribers import Subscribers
    from appliance.broker.stores.hub import StoreHub
    from appliance.broker.stores.service import StoreService

__all__ = ["StoreParts", "store_tables"]


def store_tables(config: Config) -> dict[str, StorePlan]:
    """What each ``[[store]]`` is, by the key of its service."""
    appliance, defaults, size = config.appliance, config.cluster.stores, int(config.broker.max_message)
    return {
        f"store.{store.name}": plan_store(
            store,
            defaults,
            node=node_name(config),
            state_dir=appliance.state_dir,
            max_message=size,
            manager=first_manager(config.cluster),
        )
        for store in config.store
    }


class StoreParts:
    """Builds stores.

    Args:
        ledger: where accounts are opened.
        dispatcher: takes what happens to them.
    """

    def __init__(self, *, ledger: Ledger, dispatcher: Dispatcher) -> None:
        self._ledger, self._dispatcher = ledger, dispatcher
        self._hub: StoreHub | None = None
        self.known = Stores()
        """Those that are open or will be."""

    @property
    def hub(self) -> StoreHub:
        from appliance.broker.stores.hub import StoreHub

        self._hub = self._hub or StoreHub()
        return self._hub

    def make(self, key: str, plan: StorePlan) -> StoreService:
        """A service that is not running yet."""
        from appliance.broker.stores.service import StoreService

        account = self._ledger.account(key)
        return StoreService(plan, hub=self.hub, stores=self.known, account=account, dispatcher=self._dispatcher)

    def routes(self, running: Callable[[], Iterable[Any]], feeds: Subscribers) -> StoreRoutes:
        """What ``/v1/stores`` does.

        Args:
            running: gives every unit that runs.
            feeds: serves those who watch.
        """
        from appliance.api.stores import StoreRoutes

        def figures() -> dict[str, Any]:
            return {unit.table.name: unit.service.statistics() for unit in running() if unit.kind == "store"}

        return StoreRoutes(self.known, figures, feeds)
