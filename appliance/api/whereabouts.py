"""A file in the state directory that says which Unix sockets are served: the configuration may name others by now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

__all__ = ["Whereabouts"]

log = structlog.get_logger("api")


class Whereabouts:
    """See the module.

    Args:
        file: gets a line for each; None: nobody is told.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._is_told = False

    def tell(self, served: Sequence[str]) -> None:
        """These are served now: paths, and addresses that are left out."""
        paths = [each for each in served if each.startswith("/")]
        if self._file is None or not paths:
            return
        part = self._file.with_name(self._file.name + ".part")
        try:
            self._file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            part.write_text("".join(f"{path}\n" for path in paths))
            part.replace(self._file)
        except OSError as exc:
            log.warning("cannot write which sockets are served", file=str(self._file), error=exc.strerror)
        else:
            self._is_told = True

    def forget(self) -> None:
        """Nothing is served any more. What somebody else has told stays."""
        if self._file is not None and self._is_told:
            self._is_told = False
            with suppress(OSError):
                self._file.unlink()
