"""Messages to the service manager, as sd_notify(3) describes them. Without NOTIFY_SOCKET nothing happens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping

import trio

__all__ = ["Notifier"]

_EXTENSION_S = 30
"""How long the manager waits for the next beat of a start or a stop that has taken longer than it was allowed."""


class Notifier:
    """Sends state to systemd; takes its variables out of `environ` so that no child inherits them.

    Source: sd_notify(3), "Notifying the service manager"; sd_watchdog_enabled(3).
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and ours else 0.0
        """Within which time the manager wants a sign of life; 0 if it does not."""

    def send(self, **fields: str | int) -> None:
        """Send the fields in one datagram; a manager that is gone is not our problem."""
        if not self._address:
            return
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # A full socket must never block the loop, least of all while the manager waits for us.
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError:
            return

    def ready(self, status: str) -> None:
        self.send(READY=1, STATUS=status, MAINPID=os.getpid())

    def reloading(self) -> None:
        # The stamp must be in the same datagram: Type=notify-reload compares it with the time of its signal.
        self.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self) -> None:
        self.send(STOPPING=1, STATUS="draining")

    async def run_heartbeat(
        self, status: Callable[[], str], *, is_busy: Callable[[], bool] = lambda: False, every_s: float = 10.0
    ) -> None:
        """Send STATUS and, if asked for, WATCHDOG from the event loop, so that a stuck loop is noticed.

        Args:
            is_busy: a start or a stop is going on, and may take as long as it goes on.
        """
        interval_s = min(every_s, self.watchdog_s / 2) if self.watchdog_s else every_s
        while True:
            fields: dict[str, str | int] = {"STATUS": status()}
            if self.watchdog_s:
                fields["WATCHDOG"] = 1
            if is_busy():
                fields["EXTEND_TIMEOUT_USEC"] = _EXTENSION_S * 1_000_000
            self.send(**fields)
            await trio.sleep(interval_s)
