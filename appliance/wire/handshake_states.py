"""What a handshake accepts, and when: the transition table.

Source: Broker, ``internal/connector.cc``.
"""

from __future__ import annotations

import enum

from appliance.wire.handshake_messages import (
    DropConn,
    HandshakeMessage,
    Hello,
    OriginatorAck,
    OriginatorSyn,
    Probe,
    ResponderSynAck,
    VersionSelect,
)

__all__ = ["NEXT", "OVER", "HandshakeState"]


class HandshakeState(enum.StrEnum):
    """Where a handshake is."""

    IDLE = "idle"
    AWAIT_HELLO_OR_VERSION_SELECT = "await hello or version_select"
    AWAIT_HELLO = "await hello"
    AWAIT_VERSION_SELECT = "await version_select"
    AWAIT_DECISION = "await decision"
    AWAIT_ORIGINATOR_SYN = "await originator_syn"
    AWAIT_RESPONDER_SYN_ACK = "await responder_syn_ack"
    AWAIT_ORIGINATOR_ACK = "await originator_ack"
    ESTABLISHED = "established"
    REFUSED = "refused"
    FAILED = "failed"
    CLOSED = "closed"
    """We have refused the peer."""


_State = HandshakeState
OVER = frozenset((_State.ESTABLISHED, _State.REFUSED, _State.FAILED, _State.CLOSED))
"""States without a way on."""

NEXT: dict[HandshakeState, dict[type[HandshakeMessage], HandshakeState]] = {
    _State.AWAIT_HELLO_OR_VERSION_SELECT: {
        Probe: _State.AWAIT_HELLO_OR_VERSION_SELECT,
        Hello: _State.AWAIT_VERSION_SELECT,
        VersionSelect: _State.AWAIT_DECISION,
        DropConn: _State.REFUSED,
    },
    _State.AWAIT_HELLO: {
        Probe: _State.AWAIT_HELLO,
        Hello: _State.AWAIT_VERSION_SELECT,
        DropConn: _State.REFUSED,
    },
    _State.AWAIT_VERSION_SELECT: {
        Probe: _State.AWAIT_VERSION_SELECT,
        VersionSelect: _State.AWAIT_DECISION,
        DropConn: _State.REFUSED,
    },
    _State.AWAIT_ORIGINATOR_SYN: {OriginatorSyn: _State.AWAIT_ORIGINATOR_ACK, DropConn: _State.REFUSED},
    _State.AWAIT_RESPONDER_SYN_ACK: {ResponderSynAck: _State.ESTABLISHED, DropConn: _State.REFUSED},
    _State.AWAIT_ORIGINATOR_ACK: {OriginatorAck: _State.ESTABLISHED, DropConn: _State.REFUSED},
}
"""State → type of message → state that follows; what is missing closes the connection.

A hello is answered by a hello, unless we lead: then the owner decides. Broker closes the connection without looking at
a drop_conn in the last three states; what the peer has to say is worth more than "unexpected".
"""
