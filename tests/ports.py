"""Ports for tests that must name one before it is bound."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A UDP port that nobody uses, below those that the kernel gives out: nobody gets it by chance meanwhile."""
    while True:
        port = random.randrange(10_240, 32_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
