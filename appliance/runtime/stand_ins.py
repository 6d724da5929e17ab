"""Importing a library without what it imports and nothing of ours needs: memory that would never be used."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

__all__ = ["ABSENT", "StandIn", "standing_in"]

ABSENT = cast("ModuleType", None)
"""In the place of a module that is not to be found."""


class StandIn(ModuleType):
    """In the place of a module: it has `facts`; whatever else is asked for comes from the module itself, imported then.

    Whoever imports it while it stands there, also another thread, has the module for all that he can see.

    Args:
        name: of the module.
        is_package: whether it has modules in it.
    """

    def __init__(self, name: str, *, is_package: bool = False, **facts: object) -> None:
        super().__init__(name)
        self.__dict__.update(facts)
        spec = find_spec(name) if is_package else None
        if spec is not None and spec.submodule_search_locations is not None:
            self.__path__ = list(spec.submodule_search_locations)

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # asked for by each `from ... import`
            raise AttributeError(name)
        _leave(self.__name__, self)
        return getattr(import_module(self.__name__), name)


@contextmanager
def standing_in(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """While the body imports, these are in the places of those modules that nobody has imported yet."""
    placed = {name: module for name, module in modules.items() if sys.modules.setdefault(name, module) is module}
    try:
        yield
    finally:
        for name, module in placed.items():
            _leave(name, module)


def _leave(name: str, module: ModuleType) -> None:
    if name in sys.modules and sys.modules[name] is module:
        del sys.modules[name]
