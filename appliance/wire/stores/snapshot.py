"""From the content that a clone has to the one that its master sends."""

from __future__ import annotations

from .commands import AckClone, Entity
from .content import Content
from .outputs import ChangeKind, StoreChange

__all__ = ["Snapshot"]


class Snapshot:
    """What an `AckClone` makes of a content; large ones are better made somewhere else than in an event loop.

    Args:
        handshake: has the new content.
        before: the one that it replaces.
        publisher: the master.
    """

    def __init__(self, handshake: AckClone, before: Content, publisher: Entity) -> None:
        self.content = Content((key, value, None) for key, value in handshake.entries)
        self._before, self._publisher = before, publisher
        self._changes = self._compare(before)

    def changes_to(self, before: Content) -> list[StoreChange]:
        """What has changed."""
        return self._changes if before is self._before else self._compare(before)

    def _compare(self, before: Content) -> list[StoreChange]:
        content, publisher = self.content, self._publisher
        changes = [
            StoreChange(ChangeKind.ERASE, key, None, before.get(key), None, publisher)
            for key in before
            if key not in content
        ]
        for key in content:
            old, value = before.get(key), content.get(key)
            if old != value:
                kind = ChangeKind.INSERT if old is None else ChangeKind.UPDATE
                changes.append(StoreChange(kind, key, value, old, None, publisher))
        return changes
