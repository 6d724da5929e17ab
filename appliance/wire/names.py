"""How endpoints and reserved topics are called."""

from __future__ import annotations

import uuid
from typing import TypeAlias

__all__ = ["CONTROL_TOPIC", "ID_BYTES", "LOCAL_PREFIX", "NIL", "EndpointId", "endpoint_text"]

EndpointId: TypeAlias = bytes
"""16 bytes, compared as they are: the smaller of two endpoints leads their handshake."""

ID_BYTES = 16
NIL: EndpointId = bytes(ID_BYTES)
"""Nobody in particular: a message to it goes to everybody who subscribed."""

CONTROL_TOPIC = "<$>"
"""Topic of pings, pongs and routing updates."""

LOCAL_PREFIX = "<$>/local/"
"""Topics on which an endpoint talks to itself. Zeek believes what comes on them, so they neither leave nor enter."""


def endpoint_text(endpoint: EndpointId) -> str:
    """The text form of an endpoint's ID, that of a UUID.

    Raises:
        ValueError: not 16 bytes.

    Source: RFC 4122 section 3.
    """
    return str(uuid.UUID(bytes=endpoint))
