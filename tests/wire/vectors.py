"""Test vectors: frames that Broker makes and takes, by the names of the protocol's description."""

from __future__ import annotations

from appliance.wire.handshake_messages import (
    DropCode,
    DropConn,
    HandshakeMessage,
    Hello,
    OriginatorAck,
    OriginatorSyn,
    Probe,
    ResponderSynAck,
    VersionSelect,
)
from appliance.wire.node_messages import NIL, MessageKind, NodeMessage

A = bytes.fromhex("5746d8ee36445bd29f54d5a44c26c2a1")
B = bytes.fromhex("c0551e8d392b509ba47bae46f75befac")
"""The larger one of the two."""
C = bytes.fromhex("eeeeeeee392b409ba47bae46f75befac")

HANDSHAKE: dict[str, tuple[HandshakeMessage, str]] = {
    "hello-a": (Hello(A), "00000017065a45454b5746d8ee36445bd29f54d5a44c26c2a10101"),
    "hello-b": (Hello(B), "00000017065a45454bc0551e8d392b509ba47bae46f75befac0101"),
    "probe": (Probe(), "00000005075a45454b"),
    "version-select-a": (VersionSelect(A), "00000016085a45454b5746d8ee36445bd29f54d5a44c26c2a101"),
    "originator-syn": (
        OriginatorSyn(("zeek/cluster/logger", "zeek/logs/")),
        "000000210a02137a65656b2f636c75737465722f6c6f676765720a7a65656b2f6c6f67732f",
    ),
    "originator-syn-empty": (OriginatorSyn(()), "000000020a00"),
    "responder-syn-ack": (ResponderSynAck(("foo",)), "000000060b0103666f6f"),
    "originator-ack": (OriginatorAck(), "000000010c"),
    "drop-conn-redundant": (
        DropConn(A, DropCode.REDUNDANT_CONNECTION, "redundant connection"),
        "0000002b095a45454b5746d8ee36445bd29f54d5a44c26c2a12714726564756e64616e7420636f6e6e656374696f6e",
    ),
    "drop-conn-version": (
        DropConn(A, DropCode.PEER_INCOMPATIBLE, "unsupported versions offered"),
        (
            "00000033095a45454b5746d8ee36445bd29f54d5a44c26c2a1021c"
            "756e737570706f727465642076657273696f6e73206f666665726564"
        ),
    ),
}

NODE_MESSAGES: dict[str, tuple[NodeMessage, str]] = {
    "data-foobar": (
        NodeMessage(sender=A, receiver=B, topic="foobar", payload=b"\x05\x0bhello world"),
        (
            "000000385746d8ee36445bd29f54d5a44c26c2a1c0551e8d392b509ba47bae46f75befac"
            "0100100006666f6f626172050b68656c6c6f20776f726c64"
        ),
    ),
    "routing-update": (
        NodeMessage(
            sender=A,
            receiver=B,
            kind=MessageKind.ROUTING_UPDATE,
            topic="<$>",
            payload=b"\x02\x03foo\x0azeek/logs/",
        ),
        (
            "000000385746d8ee36445bd29f54d5a44c26c2a1c0551e8d392b509ba47bae46f75befac"
            "03001000033c243e0203666f6f0a7a65656b2f6c6f67732f"
        ),
    ),
    "ping-bye": (
        NodeMessage(
            sender=A, receiver=B, kind=MessageKind.PING, topic="<$>", payload=b"BYE\x07\x00\x00\x00\x00\x00\x00\x00"
        ),
        (
            "000000335746d8ee36445bd29f54d5a44c26c2a1c0551e8d392b509ba47bae46f75befac"
            "04001000033c243e4259450700000000000000"
        ),
    ),
    "pong-bye": (
        NodeMessage(
            sender=B, receiver=A, kind=MessageKind.PONG, topic="<$>", payload=b"BYE\x07\x00\x00\x00\x00\x00\x00\x00"
        ),
        (
            "00000033c0551e8d392b509ba47bae46f75befac5746d8ee36445bd29f54d5a44c26c2a1"
            "05001000033c243e4259450700000000000000"
        ),
    ),
    "event-pong": (
        NodeMessage(
            sender=A,
            receiver=NIL,
            topic="/topic/test",
            payload=bytes.fromhex(
                "0e030200000000000000010200000000000000010e020504706f6e670e0202000000000000002a05026869"
            ),
        ),
        (
            "0000005b5746d8ee36445bd29f54d5a44c26c2a100000000000000000000000000000000010010000b2f746f7069632f74657374"
            "0e030200000000000000010200000000000000010e020504706f6e670e0202000000000000002a05026869"
        ),
    ),
}
