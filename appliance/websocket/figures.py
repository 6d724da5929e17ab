"""What a client says about itself. Connections look like Broker's peers, so that one table can show both."""

from __future__ import annotations

import msgspec

from appliance.runtime.dialing import DialerFigures

__all__ = ["ClientFigures", "PeerFigures"]


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One connection whose topics are acknowledged, at one moment."""

    peer: str
    """What the server calls us; another name after each reconnection."""
    address: str
    direction: str = "out"
    since_s: float
    """For how long the topics have been acknowledged."""
    filter_entries: int
    """Prefixes that we have subscribed to."""
    version: str
    """Of Zeek, or of Broker's library if its own server answers."""
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    queued: int
    """Messages that wait to be sent, or are being sent."""
    queued_bytes: int
    dropped: int
    """Messages that overflow has cost."""


class ClientFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A client at one moment."""

    peers: tuple[PeerFigures, ...]
    """The connection with the topics of the table first; further ones are for who asks for more for a while."""
    dialers: tuple[DialerFigures, ...]
    refused: int
    """Errors that the server answered with to what we had published."""
    mended: int
    """Events that were not JSON, or not UTF-8, and were read all the same."""

    @property
    def overdue(self) -> tuple[str, ...]:
        """See `appliance.runtime.dialing.Dials`."""
        return tuple(each.told for each in self.dialers if each.is_overdue)
